"""The forms of what is done to accounts."""

from typing import Any

from django import forms
from django.contrib.auth.models import Group, User
from django.http import QueryDict
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from billing.admin.forms import OperationForm, TargetsField
from billing.operations.accounts import (
    PREFIX,
    ChangeRights,
    ResetSecondFactor,
    SwitchOffAccount,
    SwitchOnAccount,
    roles_of,
)

ACCOUNT_HELP = "The user name."
THERE, NEW = "there", "new"


def role_names() -> list[tuple[str, str]]:
    return [(name, name) for name in Group.objects.order_by("name").values_list("name", flat=True)]


class ChangeRightsForm(OperationForm):
    operation = ChangeRights
    intro = (
        "Says which roles an account has from now on. Another person has to agree before anything"
        " changes, and it takes effect at the next page that is opened then."
    )

    target = TargetsField(label="Account", help_text=ACCOUNT_HELP)
    which = forms.ChoiceField(
        choices=[(THERE, "An account that is there"), (NEW, "A new account")],
        widget=UnfoldAdminSelectWidget,
        help_text="The person of a new one sets a password by the letter of the log-in page.",
    )
    roles = forms.MultipleChoiceField(
        label="Roles, all that it is to have",
        required=False,
        choices=role_names,
        widget=forms.CheckboxSelectMultiple,
    )
    superuser = forms.BooleanField(
        label="Superuser: may do everything", required=False, widget=UnfoldBooleanWidget
    )
    email = forms.EmailField(
        label="Email address",
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Who has it may log in by OpenID Connect, and reset the password. As it is,"
        " where it is left empty.",
    )
    field_order = ("target", "which", "roles", "superuser", "email")

    @classmethod
    def asking(cls, answers: QueryDict) -> OperationForm:
        """With the rights that the account has now."""
        form = super().asking(answers)
        named = answers.get("target", "").strip().removeprefix(PREFIX)
        user = User.objects.filter(username=named).first() if "\x00" not in named else None
        if user and "roles" not in answers:
            form.initial.update(roles=roles_of(user), superuser=user.is_superuser)
        elif answers.getlist("roles"):
            form.initial["roles"] = answers.getlist("roles")
        return form

    def arguments(self) -> dict[str, Any]:
        names = ("roles", "superuser", "email")
        said = {name: self.cleaned_data[name] for name in names}
        return {**said, "new": self.cleaned_data["which"] == NEW}


class SwitchOffForm(OperationForm):
    operation = SwitchOffAccount
    intro = (
        "Keeps somebody out at once: all sessions of the account end, pages that are open included."
        " Nothing is deleted. To switch it on again takes two."
    )

    target = TargetsField(label="Account", help_text=ACCOUNT_HELP)


class SwitchOnForm(OperationForm):
    operation = SwitchOnAccount
    intro = "Lets somebody in again, with the rights that they had. Another person has to agree."

    target = TargetsField(label="Account", help_text=ACCOUNT_HELP)


class ResetSecondFactorForm(OperationForm):
    operation = ResetSecondFactor
    intro = (
        "For somebody who has lost the telephone and the recovery codes. All of the account's"
        " sessions end, and another second factor has to be set up at the next log-in."
    )

    target = TargetsField(label="Account", help_text=ACCOUNT_HELP)

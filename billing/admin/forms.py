"""The forms of the operations: what each asks for, and how it is built from the answers."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import QueryDict
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from billing.models import ReasonCode
from billing.operations.base import MAX_REASON, MAX_TICKET, Actor, AnyOperation, Plan, new_key
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.replay import ReplayEvents
from billing.operations.subscriptions import ReactivateSubscription
from billing.operations.sync import SyncFromStripe

MOST_TARGETS = 100
MAX_ID = 255  # characters
WHY = ("reason_code", "reason", "ticket")  # asked for when it is clear what for

User = AbstractBaseUser | AnonymousUser


class TargetsField(forms.Field):
    """What an operation is about: one or many users' or Stripe ids, each once."""

    widget = UnfoldAdminTextInputWidget
    hidden_widget = forms.MultipleHiddenInput

    def to_python(self, value: Any) -> list[str]:
        texts = [value] if isinstance(value, str) else list(value or [])
        targets = list(dict.fromkeys(text.strip() for text in texts if text.strip()))
        if len(targets) > MOST_TARGETS:
            raise forms.ValidationError(
                f"That is too many at once: at most {MOST_TARGETS}. Choose fewer."
            )
        if any(len(target) > MAX_ID or "\x00" in target for target in targets):
            raise forms.ValidationError(f"An id has at most {MAX_ID} characters, and no NUL.")
        return targets


class ReasonCodeField(forms.ChoiceField):
    """One of the reasons that are in use."""

    def __init__(self) -> None:
        super().__init__(label="Reason", choices=active_reasons, widget=UnfoldAdminSelectWidget)


def active_reasons() -> list[tuple[str, str]]:
    """The choices, with an empty one first: nobody is to pick by accident."""
    active = ReasonCode.objects.filter(is_active=True)
    return [("", "Choose…"), *active.values_list("code", "label")]


class OperationForm(forms.Form):
    """What every operation asks for. Subclasses add what theirs needs besides."""

    operation: ClassVar[type[AnyOperation]]
    intro: ClassVar[str]
    usual: ClassVar[Mapping[str, str]] = {}  # reasons that are filled in, to be changed

    target = TargetsField()
    reason = forms.CharField(
        max_length=MAX_REASON,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        label="In your own words",
        help_text="It stands in the audit log for good.",
    )
    reason_code = ReasonCodeField()
    ticket = forms.CharField(
        required=False,
        max_length=MAX_TICKET,
        widget=UnfoldAdminTextInputWidget,
        help_text="The support ticket, if there is one: its number or its address.",
    )
    seen = forms.JSONField(required=False, widget=forms.HiddenInput)
    key = forms.RegexField(
        r"^op_[0-9a-f]{32}$",
        widget=forms.HiddenInput,
        error_messages={"invalid": "This form was damaged on its way. Open it again."},
    )
    back = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.targets) > 1:
            self.fields["target"].widget = forms.MultipleHiddenInput()

    @property
    def targets(self) -> list[str]:
        """The targets as they were given, right or wrong."""
        if isinstance(self.data, QueryDict):
            return self.data.getlist("target")
        initial = self.initial.get("target", [])
        return [initial] if isinstance(initial, str) else list(initial)

    @property
    def hidden_errors(self) -> list[str]:
        """What is wrong with fields that are not shown."""
        return [str(error) for field in self.hidden_fields() for error in field.errors]

    @classmethod
    def answered(cls, answers: QueryDict, *, need_reason: bool) -> "OperationForm":
        """The form with answers in it, and a key where they have none yet."""
        data = answers.copy()
        data.setdefault("key", new_key())
        if not need_reason:
            for name, value in cls.usual.items():
                data.setdefault(name, value)
        form = cls(data)
        for name in WHY:
            form.fields[name].required = need_reason and name != "ticket"
        return form

    @classmethod
    def asking(cls, answers: QueryDict) -> "OperationForm":
        """The form with answers filled in to be changed, and nothing said of them."""
        initial: dict[str, Any] = {
            name: answers[name] for name in cls.base_fields if answers.get(name)
        }
        targets = answers.getlist("target")
        if targets:
            initial["target"] = targets if len(targets) > 1 else targets[0]
        return cls(initial={"key": new_key(), **cls.usual, **initial})

    def freeze(self) -> None:
        """Keeps all answers but the reasons as they are: what was previewed is applied."""
        for name, field in self.fields.items():
            if name not in WHY:
                field.widget = field.hidden_widget()

    def keep_targets(self, targets: list[str]) -> None:
        """Only these targets stay."""
        assert isinstance(self.data, QueryDict)  # noqa: S101  (narrows the type)
        data = self.data.copy()
        data.setlist("target", targets)
        self.data = data

    def remember(self, plans: Mapping[str, Plan]) -> None:
        """Notes what was shown of each target, so that nothing else is applied."""
        assert isinstance(self.data, QueryDict)  # noqa: S101  (narrows the type)
        data = self.data.copy()
        data["seen"] = json.dumps({target: plan.digest for target, plan in plans.items()})
        self.data = data

    @property
    def digests(self) -> dict[str, str]:
        """The digest of the plan that was shown, by target."""
        seen = self.cleaned_data.get("seen")
        return {str(k): str(v) for k, v in seen.items()} if isinstance(seen, dict) else {}

    def operations(self, user: User) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each target, with the actor, reason and key of its operation.

        Each target's key is made from the form's, so that it is the same whatever other
        targets come with it.
        """
        for target in self.cleaned_data["target"]:
            digest = hashlib.sha256(target.encode()).hexdigest()[:16]
            yield (
                target,
                {
                    "actor": Actor.of(user),
                    "reason": self.cleaned_data["reason"],
                    "reason_code": self.cleaned_data["reason_code"],
                    "ticket": self.cleaned_data["ticket"],
                    "key": f"{self.cleaned_data['key']}-{digest}",
                },
            )

    def arguments(self) -> dict[str, Any]:
        """The operation's own arguments, besides its target. Raises InvalidInputError."""
        return {}

    def build(self, target: str, common: Mapping[str, Any]) -> AnyOperation:
        """The operation on one target. Raises InvalidInputError."""
        return self.operation.on(target, **self.arguments(), **common)


class SyncForm(OperationForm):
    operation = SyncFromStripe
    intro = (
        "Fetches it from Stripe as it is now, with what belongs to it, and brings our rows"
        " up to date. Nothing changes at Stripe. Credits that were paid for and not granted"
        " are granted."
    )

    target = TargetsField(label="Id", help_text="Stripe's id, or the user's.")
    kind = forms.ChoiceField(
        label="What",
        widget=UnfoldAdminSelectWidget,
        choices=[
            ("subscription", "A subscription"),
            ("customer", "A customer with all that is theirs"),
            ("invoice", "An invoice"),
            ("payment", "A payment, by its intent or charge"),
            ("user", "A user, by our own id"),
        ],
    )
    field_order = ("kind", "target")

    def arguments(self) -> dict[str, Any]:
        return {"kind": self.cleaned_data["kind"]}


class GrantForm(OperationForm):
    operation = GrantCredits
    intro = (
        "Gives a user credits. Name the purchase if it is for one: then neither a later"
        " webhook nor a replay can grant it again."
    )

    target = TargetsField(label="User", help_text="Our own id of the user.")
    amount = forms.IntegerField(label="Credits", widget=UnfoldAdminIntegerFieldWidget)
    purchase = forms.CharField(
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="A checkout session (cs_), invoice (in_) or payment intent (pi_). Optional.",
    )
    field_order = ("target", "amount", "purchase")

    def arguments(self) -> dict[str, Any]:
        purchase = self.cleaned_data["purchase"] or None
        return {"amount": self.cleaned_data["amount"], "purchase": purchase}


class CorrectForm(OperationForm):
    operation = CorrectBalance
    intro = (
        "Sets a user's balance to a value. The difference is computed when it is applied, so"
        " credits that come or go meanwhile are not lost sight of."
    )

    target = TargetsField(label="User", help_text="Our own id of the user.")
    balance = forms.IntegerField(label="New balance", widget=UnfoldAdminIntegerFieldWidget)
    field_order = ("target", "balance")

    def arguments(self) -> dict[str, Any]:
        return {"balance": self.cleaned_data["balance"]}


class ReactivateForm(OperationForm):
    operation = ReactivateSubscription
    intro = (
        "Does at Stripe what the subscription's status asks for (it may charge the customer),"
        " then brings our rows up to date."
    )

    target = TargetsField(label="Subscription", help_text="Stripe's id, sub_.")


class ReplayForm(OperationForm):
    operation = ReplayEvents
    intro = (
        "Processes the event again, now. What it brings is granted once at most, however"
        " often it is replayed."
    )

    target = TargetsField(label="Event", help_text="Stripe's id, evt_.")


class EverythingForm(OperationForm):
    operation = SyncFromStripe
    intro = (
        "Fetches all customers, subscriptions, invoices, payments and what belongs to them"
        " from Stripe, and brings our rows up to date. Nothing changes at Stripe."
    )

    target = TargetsField(widget=forms.HiddenInput, initial="everything")

    def arguments(self) -> dict[str, Any]:
        return {"kind": "everything"}

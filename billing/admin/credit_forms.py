"""What the operations on purchases, claims and people ask for."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.claims import RefundClaim
from billing.operations.credits import TakeBackCredits
from billing.operations.erasure import EraseCustomer
from billing.operations.people import MergeCustomers
from billing.operations.purchases import AttributePayment, GrantPurchase
from billing.operations.tying import TieOutBalance

PURCHASE = "A checkout session (cs_), invoice (in_) or payment intent (pi_)."


class GrantPurchaseForm(OperationForm):
    operation = GrantPurchase
    intro = (
        "Looks the purchase up at Stripe and grants exactly what our prices say that it is"
        " worth, once: neither a later webhook nor a replay grants it again."
    )

    target = TargetsField(label="Purchase", help_text=PURCHASE)
    user_id = forms.CharField(
        label="User",
        required=False,
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Our own id of the user. Only where nobody knows who bought it.",
    )
    field_order = ("target", "user_id")

    def arguments(self) -> dict[str, Any]:
        return {"user_id": self.cleaned_data["user_id"] or None}


class AttributeForm(OperationForm):
    operation = AttributePayment
    intro = (
        "Says which user made a payment that nobody is known for. The Stripe customer becomes"
        " theirs too, and what was bought is granted."
    )

    target = TargetsField(label="Purchase", help_text=PURCHASE)
    user_id = forms.CharField(
        label="User",
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Our own id of the user. An email is a hint, and no proof.",
    )
    field_order = ("target", "user_id")

    def arguments(self) -> dict[str, Any]:
        return {"user_id": self.cleaned_data["user_id"]}


class RefundClaimForm(OperationForm):
    operation = RefundClaim
    intro = "Gives back what a failed claim cost, once for each claim."

    target = TargetsField(label="Claim", help_text="The number of the lead claim.")


class TakeBackForm(OperationForm):
    operation = TakeBackCredits
    intro = (
        "Takes back credits that were granted by hand, such as for a purchase that was granted"
        " by itself too, while the balance still has them. It undoes the grant, once."
    )

    target = TargetsField(label="User", help_text="Our own id of the user.")
    amount = forms.IntegerField(
        label="Credits",
        max_value=-1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="As many as were granted, with a minus: -50 takes 50 back.",
    )
    grant = forms.CharField(
        label="Granted by operation",
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="The key of the operation that granted them, op_.",
    )
    field_order = ("target", "amount", "grant")

    def arguments(self) -> dict[str, Any]:
        return {"amount": self.cleaned_data["amount"], "grant": self.cleaned_data["grant"]}


class TieOutForm(OperationForm):
    operation = TieOutBalance
    intro = (
        "Brings a balance that differs from its ledger back to what the ledger says. What the"
        " ledger never saw is entered first, so that both steps can be seen for good."
    )

    target = TargetsField(label="User", help_text="Our own id of the user.")


class EraseForm(OperationForm):
    operation = EraseCustomer
    intro = (
        "What is stored about one person, because they asked for it. The books, their ids and"
        " amounts stay. Do not name them in the reason. Another person has to approve it."
    )

    target = TargetsField(
        label="Customer", help_text="Stripe's id, cus_, or our own id of the user."
    )


class MergeForm(OperationForm):
    operation = MergeCustomers
    intro = (
        "Two customers at Stripe that are one person: what the other one has, credits included,"
        " becomes the kept one's user's. Another person has to approve it."
    )

    target = TargetsField(label="Customer to keep", help_text="Stripe's id, cus_.")
    gone = forms.CharField(
        label="Other customer",
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Stripe's id, cus_. It stays at Stripe, and becomes the same user's here.",
    )
    field_order = ("target", "gone")

    def arguments(self) -> dict[str, Any]:
        return {"gone": self.cleaned_data["gone"]}

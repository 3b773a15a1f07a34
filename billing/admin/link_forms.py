"""The forms of the links with which customers help themselves."""

from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextInputWidget

from billing.admin.forms import MAX_ID, OperationForm, TargetsField
from billing.operations.billing_page import DEFAULT_HOURS, MOST_HOURS, CreateBillingLink
from billing.operations.links import CreateCheckoutLink, CreatePortalLink


class LinkForm(OperationForm):
    target = TargetsField(label="Customer", help_text="Stripe's id, cus_, or our own of the user.")


class PortalLinkForm(LinkForm):
    operation = CreatePortalLink
    intro = (
        "Makes a link to Stripe's billing portal, where the customer updates the card, pays open"
        " invoices and manages the subscription."
    )


class BillingLinkForm(LinkForm):
    operation = CreateBillingLink
    intro = (
        "Makes a link to the customer's own billing page: plan, credits and invoices, what is wrong"
        " and what to do, and the way into Stripe's billing portal. It needs no log-in."
    )

    hours = forms.IntegerField(
        min_value=1,
        max_value=MOST_HOURS,
        initial=DEFAULT_HOURS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=f"For how long it can be used: from 1 to {MOST_HOURS} hours.",
    )
    field_order = ("target", "hours")

    def arguments(self) -> dict[str, Any]:
        return {"hours": self.cleaned_data["hours"]}


class CheckoutLinkForm(LinkForm):
    operation = CreateCheckoutLink
    intro = (
        "Makes a link to Stripe's checkout, where the customer buys a subscription or a pack. What"
        " they buy is theirs: the link names their user."
    )

    price = forms.CharField(
        max_length=MAX_ID,
        widget=UnfoldAdminTextInputWidget,
        help_text="Stripe's id of what is to be bought, price_.",
    )
    field_order = ("target", "price")

    def arguments(self) -> dict[str, Any]:
        return {"price": self.cleaned_data["price"]}

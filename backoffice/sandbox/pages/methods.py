"""The payment methods that a buyer may choose from, each with what it does."""

from collections.abc import Iterable
from dataclasses import dataclass

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid
from backoffice.sandbox.lifecycle import cards
from backoffice.sandbox.pages.html import Html, h
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


@dataclass(frozen=True, slots=True)
class Choice:
    """A test payment method: its token or kind, its name, and how it behaves."""

    value: str
    name: str
    behaviour: str
    kind: str = "card"


CHOICES = (
    Choice("pm_card_visa", "Visa •••• 4242", "is paid"),
    Choice("pm_card_mastercard", "Mastercard •••• 4444", "is paid"),
    Choice("pm_card_chargeDeclined", "Visa •••• 0002", "is declined"),
    Choice(
        "pm_card_chargeDeclinedInsufficientFunds",
        "Visa •••• 9995",
        "is declined: insufficient funds",
    ),
    Choice("pm_card_chargeDeclinedExpiredCard", "Visa •••• 0069", "is declined: expired"),
    Choice(
        "pm_card_chargeDeclinedIncorrectCvc", "Visa •••• 0127", "is declined: wrong security code"
    ),
    Choice("pm_card_chargeCustomerFail", "Visa •••• 0341", "can be saved, fails when charged"),
    Choice("pm_card_createDispute", "Visa •••• 0259", "is paid, then disputed"),
    Choice("us_bank_account", "Bank debit •••• 6789", "is paid days later", "us_bank_account"),
    Choice("sepa_debit", "SEPA debit •••• 3000", "is paid days later", "sepa_debit"),
)
CARDS = tuple(choice for choice in CHOICES if choice.kind == "card")


def offered(kinds: Iterable[str]) -> list[Choice]:
    """The choices of these Stripe payment method types."""
    wanted = set(kinds)
    return [choice for choice in CHOICES if choice.kind in wanted]


def describe(method: Json) -> str:
    """A payment method in words: Visa •••• 4242."""
    kind = method["type"]
    digits = f"•••• {cards.last4(method)}"
    if kind == "card":
        expiry = f"{method['card']['exp_month']:02}/{method['card']['exp_year']}"
        return f"{method['card']['brand'].title()} {digits}, expires {expiry}"
    names = {"us_bank_account": "Bank debit", "sepa_debit": "SEPA debit"}
    return f"{names.get(kind, kind)} {digits}"


def picker(legend: str, choices: Iterable[Choice], chosen: str = "") -> Html:
    """Radio buttons for the choices; the first is chosen unless `chosen` says otherwise."""
    known = list(choices)
    if not known:
        return h("p", "The sandbox has none of the payment methods that are taken here.")
    if chosen not in {choice.value for choice in known}:
        chosen = known[0].value
    return h(
        "fieldset.methods",
        h("legend", legend),
        [
            h(
                "label.method",
                h(
                    "input",
                    type="radio",
                    name="method",
                    value=choice.value,
                    checked=choice.value == chosen,
                ),
                h("span", h("strong", choice.name), h("small", choice.behaviour)),
            )
            for choice in known
        ],
    )


def make(work: Work, value: str, choices: Iterable[Choice], **billing: str) -> Json:
    """A new payment method as chosen among `choices`; `billing` is who owns it."""
    chosen = next((choice for choice in choices if choice.value == value), None)
    if chosen is None:
        raise invalid("Choose one of the payment methods.", "method")
    if chosen.kind == "card":
        method = cards.from_token(work, chosen.value, "method")
    else:
        details = cards.bank_account("6789")
        if chosen.kind == "sepa_debit":
            details = cards.sepa_account("3000")
        made = shapes.payment_method(work.new_id("pm_"), work.now, chosen.kind, details)
        method = work.add(made)
    given = {name: text for name, text in billing.items() if text}
    return work.change(method, billing_details=method["billing_details"] | given)

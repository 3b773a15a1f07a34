"""Stripe's test cards and bank accounts, and how each behaves.

The behaviour belongs to the number, so it is recognised by brand and last four digits.
Source: https://docs.stripe.com/testing
"""

from dataclasses import dataclass
from hashlib import sha256

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import no_such
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a payment failed."""

    code: str
    decline_code: str | None
    message: str


GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")
INSUFFICIENT = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
EXPIRED = Decline("expired_card", None, "Your card has expired.")
CVC = Decline("incorrect_cvc", None, "Your card's security code is incorrect.")
PROCESSING = Decline(
    "processing_error",
    None,
    "An error occurred while processing your card. Try again in a little bit.",
)
LOST = Decline("card_declined", "lost_card", "Your card was declined.")
STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.")
BANK_REFUSED = Decline(
    "payment_intent_payment_attempt_failed",
    None,
    "The payment failed: the customer's bank refused the debit.",
)

# name -> (brand, last four digits, funding)
TOKENS = {
    "visa": ("visa", "4242", "credit"),
    "visa_debit": ("visa", "5556", "debit"),
    "mastercard": ("mastercard", "4444", "credit"),
    "mastercard_debit": ("mastercard", "3222", "debit"),
    "amex": ("amex", "8431", "credit"),
    "discover": ("discover", "9424", "credit"),
    "jcb": ("jcb", "0505", "credit"),
    "chargeDeclined": ("visa", "0002", "credit"),
    "chargeDeclinedInsufficientFunds": ("visa", "9995", "credit"),
    "chargeDeclinedLostCard": ("visa", "9987", "credit"),
    "chargeDeclinedStolenCard": ("visa", "9979", "credit"),
    "chargeDeclinedExpiredCard": ("visa", "0069", "credit"),
    "chargeDeclinedIncorrectCvc": ("visa", "0127", "credit"),
    "chargeDeclinedProcessingError": ("visa", "0119", "credit"),
    "chargeCustomerFail": ("visa", "0341", "credit"),
    "createDispute": ("visa", "0259", "credit"),
    "createDisputeProductNotReceived": ("visa", "2685", "credit"),
    "createDisputeInquiry": ("visa", "1976", "credit"),
    "refundFail": ("visa", "5126", "credit"),
    "pendingRefund": ("visa", "7726", "credit"),
}
# Cards that cannot even be attached; 0341 attaches, and fails when it is charged.
REFUSED_ON_ATTACH = {"0002", "9995", "9987", "9979", "0069", "0127", "0119"}
DECLINES = {
    "0002": GENERIC,
    "0341": GENERIC,
    "9995": INSUFFICIENT,
    "9987": LOST,
    "9979": STOLEN,
    "0069": EXPIRED,
    "0127": CVC,
    "0119": PROCESSING,
}
# IBANs whose debits are decided at once, and whether they succeed; other debits take days.
PROMPT_DEBITS = {
    "AT611904300234573201": True,
    "AT861904300235473202": False,
    "DE89370400440532013000": True,
    "DE62370400440532013001": False,
    "IT60X0542811101000000123456": False,  # what the official CLI lets fail
}
# American bank accounts whose debits fail once the bank answers.
FAILING_ACCOUNTS = {"1113", "1116", "2227"}
DISPUTES = {"0259": "fraudulent", "2685": "product_not_received", "1976": "fraudulent"}
INQUIRY = "1976"
REFUND_FAILS = "5126"
REFUND_PENDS = "7726"


def last4(method: Json | None) -> str:
    """The last four digits of a payment method."""
    if method is None:
        return ""
    return str(method[method["type"]].get("last4") or "")


def decline_of(method: Json) -> Decline | None:
    """Why charging this card always fails, or None."""
    return DECLINES.get(last4(method)) if method["type"] == "card" else None


def is_token(id: str) -> bool:  # noqa: A002
    """Whether `id` is one of Stripe's test tokens and not an object's id."""
    return id.startswith(("pm_card_", "tok_"))


def from_token(work: Work, token: str, param: str) -> Json:
    """A new payment method for `pm_card_visa`, `tok_visa` and their like."""
    name = token.removeprefix("pm_card_").removeprefix("tok_")
    if name not in TOKENS:
        name = name.removeprefix("visa_")  # Stripe's `pm_card_visa_chargeDeclined` and the like
    if name not in TOKENS:
        raise no_such("payment_method", token, param, 400)
    brand, digits, funding = TOKENS[name]
    return work.add(
        shapes.payment_method(work.new_id("pm_"), work.now, "card", card(brand, digits, funding))
    )


def card(brand: str, digits: str, funding: str) -> Json:
    """A card as a payment method shows it."""
    return {
        "brand": brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "US",
        "display_brand": {"amex": "american_express"}.get(brand, brand),
        "exp_month": 8,
        "exp_year": 2034,
        "fingerprint": f"Sandbox{brand[:4].title():x<5}{digits}",
        "funding": funding,
        "generated_from": None,
        "last4": digits,
        "networks": {"available": [brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def bank_account(digits: str) -> Json:
    """An American bank account as a payment method shows it; its debits take days."""
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": f"SandboxBank{digits}",
        "last4": digits,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


def sepa_account(iban: str) -> Json:
    """The European bank account `iban` as a payment method shows it."""
    return {
        "bank_code": iban[4:12],
        "branch_code": "",
        "country": iban[:2],
        "fingerprint": _fingerprint(iban),
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": iban[-4:],
    }


def _fingerprint(iban: str) -> str:
    return sha256(iban.encode()).hexdigest()[:16]


OUTCOMES = {_fingerprint(iban): succeeds for iban, succeeds in PROMPT_DEBITS.items()}


def prompt_outcome(method: Json) -> bool | None:
    """Whether a debit of this bank account succeeds; None if that takes days to know."""
    return OUTCOMES.get(method[method["type"]].get("fingerprint") or "")


def debit_succeeds(method: Json) -> bool:
    """What the bank says in the end to a debit of this account."""
    outcome = prompt_outcome(method)
    return last4(method) not in FAILING_ACCOUNTS if outcome is None else outcome


def charge_details(method: Json, amount: int) -> Json:
    """How a charge describes the payment method that paid it."""
    kind = method["type"]
    names: tuple[str, ...]
    own = method[kind]
    if kind == "us_bank_account":
        names = (
            "account_holder_type",
            "account_type",
            "bank_name",
            "fingerprint",
            "last4",
            "routing_number",
        )
        details = {name: own[name] for name in names} | {"mandate": None, "payment_reference": None}
        return {"type": kind, kind: details}
    if kind == "sepa_debit":
        names = ("bank_code", "branch_code", "country", "fingerprint", "last4")
        return {"type": kind, kind: {name: own[name] for name in names} | {"mandate": None}}
    names = (
        "brand",
        "checks",
        "country",
        "exp_month",
        "exp_year",
        "fingerprint",
        "funding",
        "last4",
        "regulated_status",
        "wallet",
    )
    details = {name: own[name] for name in names} | {
        "amount_authorized": amount,
        "authorization_code": "123456",
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": own["brand"],
        "network_token": {"used": False},
        "network_transaction_id": "104557651805572",
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": None,
        "transaction_link_id": None,
    }
    return {"type": "card", "card": details}

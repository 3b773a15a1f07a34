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
VELOCITY = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount"
    " limit.",
)
FRAUDULENT = Decline("card_declined", "fraudulent", "Your card was declined.")
DO_NOT_HONOR = Decline("card_declined", "do_not_honor", "Your card was declined.")
AUTHENTICATION = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
BY_CODE = {
    decline.decline_code or decline.code: decline
    for decline in (
        GENERIC, INSUFFICIENT, EXPIRED, CVC, PROCESSING, LOST, STOLEN, VELOCITY, FRAUDULENT,
        DO_NOT_HONOR, AUTHENTICATION,
    )
}  # fmt: skip
"""Declines by Stripe's decline code, or where there is none, by the error's code."""
BANK_REFUSED = Decline(
    "payment_intent_payment_attempt_failed",
    None,
    "The payment failed: the customer's bank refused the debit.",
)

# Visa cards of countries other than the United States -> last four digits.
ABROAD = {
    "ae": "0001", "ar": "0021", "at": "0008", "au": "0006", "be": "0004", "bg": "0000",
    "br": "0002", "by": "0005", "ca": "0000", "ch": "0009", "cl": "0001", "cn": "0002",
    "co": "0003", "cr": "0005", "cy": "0008", "cz": "0002", "de": "0016", "dk": "0001",
    "ec": "0000", "ee": "0009", "es": "0007", "fi": "0001", "fr": "0003", "gb": "0000",
    "gi": "0005", "gr": "0030", "hk": "0004", "hr": "0009", "hu": "0005", "ie": "0005",
    "in": "0008", "it": "0008", "jp": "0003", "li": "0004", "lt": "0000", "lu": "0006",
    "lv": "0005", "mt": "0007", "mx": "8001", "my": "0002", "nl": "0002", "no": "0007",
    "nz": "0008", "pa": "0000", "pe": "0068", "pl": "0005", "pt": "0007", "py": "0066",
    "ro": "0001", "sa": "0007", "se": "0008", "sg": "0003", "si": "0006", "sk": "0001",
    "tw": "0008", "uy": "0003",
}  # fmt: skip

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
    "chargeDeclinedVelocityLimitExceeded": ("visa", "6975", "credit"),
    "radarBlock": ("visa", "0019", "credit"),
    "chargeCustomerFail": ("visa", "0341", "credit"),
    "createDispute": ("visa", "0259", "credit"),
    "createDisputeProductNotReceived": ("visa", "2685", "credit"),
    "createDisputeInquiry": ("visa", "1976", "credit"),
    "refundFail": ("visa", "5126", "credit"),
    "pendingRefund": ("visa", "7726", "credit"),
    "us": ("visa", "4242", "credit"),
    **{country: ("visa", digits, "credit") for country, digits in ABROAD.items()},
}
# Cards that cannot even be attached; others attach, and fail when they are charged.
REFUSED_ON_ATTACH = {"0002", "9995", "9987", "9979", "0069", "0127", "0119", "6975"}
DECLINES = {
    "0002": GENERIC,
    "0341": GENERIC,
    "9995": INSUFFICIENT,
    "9987": LOST,
    "9979": STOLEN,
    "0069": EXPIRED,
    "0127": CVC,
    "0119": PROCESSING,
    "6975": VELOCITY,
    "0019": FRAUDULENT,
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


def behavior(method: Json | None) -> str:
    """The last four digits of a card that may behave in some way; '' for other methods.

    The cards of other countries than the United States all work.
    """
    own = method and method["type"] == "card" and method["card"]["country"] == "US"
    return last4(method) if own else ""


def decline_of(work: Work, method: Json) -> Decline | None:
    """Why charging this card always fails, or None."""
    refused = work.remembered(method["id"]).get("decline_code")
    return BY_CODE[refused] if refused else DECLINES.get(behavior(method))


def let_fail(work: Work, method: Json, code: str | None) -> None:
    """From now on every charge of this card fails for the reason `code`; None makes it good."""
    work.remember(method["id"], {"decline_code": code})


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
    details = card(*TOKENS[name], country=name.upper() if name in ABROAD else "US")
    return work.add(shapes.payment_method(work.new_id("pm_"), work.now, "card", details))


def card(brand: str, digits: str, funding: str, country: str = "US") -> Json:
    """A card as a payment method shows it."""
    issued = "" if country == "US" else country
    return {
        "brand": brand,
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": country,
        "display_brand": {"amex": "american_express"}.get(brand, brand),
        "exp_month": 8,
        "exp_year": 2034,
        "fingerprint": f"Sandbox{brand[:4].title():x<5}{issued}{digits}",
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

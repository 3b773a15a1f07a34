"""Currencies, fees, and what reaches the balance in settlement currency."""

from backoffice.sandbox import shapes
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv",
     "xaf", "xof", "xpf")
)  # fmt: skip
THREE_DECIMAL = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
SETTLEMENT = "usd"
# Dollars for one whole unit; fixed, so that a world is the same every time.
RATES = {"eur": 1.08, "gbp": 1.27, "cad": 0.73, "jpy": 0.0067}
DAY = 86400
PAYOUT_DELAY = 2 * DAY
DISPUTE_FEE = 1500


def exponent(currency: str) -> int:
    """How many decimal digits the minor unit of `currency` stands for."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def settled(amount: int, currency: str) -> tuple[int, float | None]:
    """(`amount` in cents of the settlement currency, the exchange rate if there is one)."""
    if currency == SETTLEMENT:
        return amount, None
    rate = RATES.get(currency, 1.0)
    return round(amount * rate * 10 ** (2 - exponent(currency))), rate


def processing_fee(cents: int) -> int:
    """Stripe's fee for a card payment in the United States: 2.9 % and 30 cents."""
    return round(cents * 0.029) + 30


def book(
    work: Work,
    source: Json,
    amount: int,
    currency: str,
    *,
    kind: str,
    category: str,
    fee: int | None = 0,
    description: str | None = None,
) -> Json:
    """A balance transaction for `amount` (minor units of `currency`, negative for money out).

    `fee` is in cents; None means the fee for processing a payment.
    """
    cents, rate = settled(amount, currency)
    if fee is None:
        fee = processing_fee(cents)
    purpose = "Dispute fee" if category == "dispute" else "Stripe processing fees"
    detail = {"amount": fee, "application": None, "currency": SETTLEMENT,
              "description": purpose, "type": "stripe_fee"}  # fmt: skip
    available_on = (work.now + PAYOUT_DELAY) // DAY * DAY
    return work.add(
        shapes.balance_transaction(
            work.new_id("txn_"),
            work.now,
            amount=cents,
            available_on=available_on,
            currency=SETTLEMENT,
            description=description,
            exchange_rate=rate,
            fee=fee,
            fee_details=[detail] if fee else [],
            reporting_category=category,
            source=source["id"],
            status="pending",
            type=kind,
        )
    )

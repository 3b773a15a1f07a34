"""What somebody typed into the search, read: a Stripe id, or a card's last four digits with more.

Pure functions of a text. Nothing here looks anything up.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import Q

from billing.formatting import THREE_DECIMAL, ZERO_DECIMAL

# The kinds of Stripe's objects (billing.gateway.client.PATHS) by the beginning of their ids.
KINDS = {
    "acct": "account",
    "ch": "charge",
    "cs": "checkout.session",
    "cus": "customer",
    "dp": "dispute",
    "du": "dispute",
    "evt": "event",
    "ii": "invoiceitem",
    "in": "invoice",
    "inpay": "invoice_payment",
    "pi": "payment_intent",
    "pm": "payment_method",
    "price": "price",
    "prod": "product",
    "py": "charge",
    "pyr": "refund",
    "re": "refund",
    "seti": "setup_intent",
    "si": "subscription_item",
    "sub": "subscription",
    "txn": "balance_transaction",
}
MAX_ID = 255  # characters of an id of Stripe's

SYMBOLS = {"$": "", "¥": "", "€": "eur", "£": "gbp"}  # dollars and yuan are many
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = rf"(?P<month>{'|'.join(MONTHS)})[a-z]*\.?"
DATES = tuple(
    re.compile(rf"(?<![\w.]){pattern}(?![\w.])", re.IGNORECASE)
    for pattern in (
        r"(?P<year>\d{4})-(?P<number>\d{1,2})-(?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})\.(?P<number>\d{1,2})\.(?P<year>\d{4})",
        rf"(?P<day>\d{{1,2}})\.?\s+{MONTH},?\s+(?P<year>20\d\d)",
        rf"{MONTH}\s+(?P<day>\d{{1,2}}),?\s+(?P<year>20\d\d)",
        rf"(?P<day>\d{{1,2}})\.?\s+{MONTH}",
        rf"{MONTH}\s+(?P<day>\d{{1,2}})",
    )
)
LAST4 = re.compile(r"(?:[x*•]+)?(\d{4})", re.IGNORECASE)
AMOUNT = re.compile(
    r"(?P<symbol>[$€£¥])?(?P<whole>\d{1,3}(?:[,']\d{3})+|\d{1,12})(?:[.,](?P<part>\d{1,3}))?"
    r"(?P<code>[a-z]{3}|[$€£¥])?",
    re.IGNORECASE,
)
CURRENCY = re.compile(r"[a-z]{3}", re.IGNORECASE)
FILLING = frozenset(["card", "ending", "in", "on", "for", "of", "at", "and", "with"])
# A day on the customer's calendar, wherever on Earth that hangs: UTC-12 to UTC+14.
EAST, WEST = timedelta(hours=14), timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Card:
    """A card by its last four digits, with what was paid and when, as far as it was said.

    `amount` is the number as it was typed: whole and decimals, in major units. `currency` is
    an ISO code in lower case, '' for any.
    """

    last4: str
    amount: tuple[int, str] | None = None
    currency: str = ""
    day: date | None = None

    @property
    def is_enough(self) -> bool:
        """Thousands of cards end in the same four digits."""
        return self.amount is not None or self.day is not None

    def matches(self) -> Q:
        """The payments (BillingPayment) that fit."""
        found = Q(last4=self.last4)
        if self.amount is not None:
            found &= self._amounts(*self.amount)
        if self.currency:
            found &= Q(currency=self.currency)
        if self.day is not None:
            start = datetime.combine(self.day, time(), UTC)
            found &= Q(created_at__gte=start - EAST, created_at__lt=start + timedelta(1) + WEST)
        return found

    @staticmethod
    def _amounts(whole: int, part: str) -> Q:
        """The minor units that it is in currencies of each exponent (STRIPE.md, Invoices)."""
        exact = part.rstrip("0")
        found = Q(pk__in=())
        if not exact:
            found |= Q(amount=whole, currency__in=ZERO_DECIMAL)
        if len(exact) <= 2:
            minor = whole * 100 + int(exact.ljust(2, "0"))
            found |= Q(amount=minor) & ~Q(currency__in=ZERO_DECIMAL | THREE_DECIMAL)
        minor = whole * 1000 + int(exact.ljust(3, "0"))
        return found | Q(amount=minor, currency__in=THREE_DECIMAL)


def kind_of(term: str) -> str:
    """The kind of object whose Stripe id this looks like; '' if it looks like none."""
    prefix, _, rest = term.partition("_")
    fits = len(term) <= MAX_ID and term.isascii() and rest.replace("_", "").isalnum()
    return KINDS.get(prefix, "") if fits else ""


def cards(term: str, today: date) -> list[Card]:
    """The cards that a term can mean: two where either of its numbers may be the last four.

    None where anything in the term is not understood: it is a name, or something else.
    """
    rest, day = without_date(term, today)
    words = [word for word in re.split(r"[\s;/]+|,\s+", rest) if word]
    words = [word for word in words if word.lower() not in FILLING]
    if not 0 < len(words) <= 4:
        return []
    return list(_readings(words, day))


def _readings(words: list[str], day: date | None) -> Iterator[Card]:
    for position, word in enumerate(words):
        digits = LAST4.fullmatch(word)
        if digits is None:
            continue
        others = words[:position] + words[position + 1 :]
        codes = [other.lower() for other in others if CURRENCY.fullmatch(other)]
        amounts = [other for other in others if other.lower() not in codes]
        if len(codes) > 1 or len(amounts) > 1 or (codes and not amounts):
            continue
        if not amounts:
            yield Card(digits[1], day=day)
        elif found := AMOUNT.fullmatch(amounts[0]):
            whole = int(re.sub(r"\D", "", found["whole"]))
            sign = found["symbol"] or found["code"] or ""
            currency = codes[0] if codes else SYMBOLS.get(sign, sign.lower())
            yield Card(digits[1], (whole, found["part"] or ""), currency, day)


def without_date(term: str, today: date) -> tuple[str, date | None]:
    """The term without the first date in it, and that date; one without a year is the latest."""
    for pattern in DATES:
        found = pattern.search(term)
        if found and (day := _day(found.groupdict(), today)):
            return f"{term[: found.start()]} {term[found.end() :]}", day
    return term, None


def _day(parts: dict[str, str], today: date) -> date | None:
    month = int(parts.get("number") or MONTHS.index(parts["month"].lower()) + 1)
    years = [int(parts["year"])] if "year" in parts else range(today.year, today.year - 5, -1)
    for year in years:
        try:
            day = date(year, month, int(parts["day"]))
        except ValueError:
            continue
        if "year" in parts or day <= today + timedelta(1):
            return day
    return None

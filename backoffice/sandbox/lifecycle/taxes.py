"""Tax by tax rates: on each line of an invoice, rounded there, and as an invoice adds it up."""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal

from backoffice.sandbox.types import Json

UNTAXED = {"exempt": "customer_exempt", "reverse": "reverse_charge"}
"""Why a customer with this `tax_exempt` pays no tax."""


def on(amount: int, rates: Sequence[Json], exempt: str = "none") -> list[Json]:
    """The taxes on `amount` (minor units), as a line shows them, by tax rate objects.

    Inclusive ones are a part of the amount, exclusive ones come on top of what is left of it.
    `exempt` is the customer's `tax_exempt`.
    """
    if exempt in UNTAXED:
        return [_tax(rate, 0, amount, UNTAXED[exempt]) for rate in rates]
    inclusive = [rate for rate in rates if rate["inclusive"]]
    taken = sum((_factor(rate) for rate in inclusive), Decimal(0))
    base = _rounded(amount / (1 + taken))
    left = amount - base
    taxes = []
    for rate in rates:
        due = _rounded(base * _factor(rate))
        if rate["inclusive"]:
            due = left if rate is inclusive[-1] else due
            left -= due
        taxes.append(_tax(rate, due, base))
    return taxes


def _factor(rate: Json) -> Decimal:
    return Decimal(str(rate["percentage"])) / 100


def _rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))


def _tax(rate: Json, amount: int, taxable: int, reason: str = "not_available") -> Json:
    return {
        "amount": amount,
        "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
        "tax_rate_details": {"tax_rate": rate["id"]},
        "taxability_reason": reason,
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def ids(taxes: Iterable[Json]) -> list[str]:
    """The tax rates of a line's taxes."""
    return [str(tax["tax_rate_details"]["tax_rate"]) for tax in taxes]


def added_up(lines: Iterable[Json]) -> list[Json]:
    """The taxes of all `lines`, one for each tax rate, as an invoice shows them."""
    totals: dict[str, Json] = {}
    for line in lines:
        for id_, tax in zip(ids(line["taxes"]), line["taxes"], strict=True):
            so_far = totals.setdefault(id_, tax | {"amount": 0, "taxable_amount": 0})
            for name in ("amount", "taxable_amount"):
                so_far[name] += tax[name]
    return list(totals.values())


def sums(taxes: Iterable[Json]) -> tuple[int, int]:
    """(what is inclusive, what is exclusive) of taxes."""
    by_behavior = {"inclusive": 0, "exclusive": 0}
    for tax in taxes:
        by_behavior[tax["tax_behavior"]] += tax["amount"]
    return by_behavior["inclusive"], by_behavior["exclusive"]

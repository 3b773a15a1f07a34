"""How a payment is split over the lines of its invoice, once more and in plain loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """A line that takes a part: what is negative on the invoice is off the largest already."""

    price: str
    weight: int
    tax: int


def lines_of(invoice: Any) -> list[Line]:
    """The lines, in the invoice's own order."""
    given = invoice["lines"]["data"]
    taken = sum(-line["amount"] for line in given if line["amount"] < 0)
    left = {}
    for line in sorted(given, key=lambda line: -line["amount"]):
        off = min(taken, max(line["amount"], 0))
        taken -= off
        left[line["id"]] = max(line["amount"], 0) - off
    return [
        Line(
            line["pricing"]["price_details"]["price"],
            left[line["id"]],
            max(sum(tax["amount"] for tax in line["taxes"] or []), 0),
        )
        for line in given
        if left[line["id"]] > 0
    ]


def shares(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in proportion to weights; the largest remainders get what is left over."""
    total, sign = sum(weights), -1 if amount < 0 else 1
    whole = [abs(amount) * weight // total for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda n: (-(abs(amount) * weights[n] % total), n)
    )
    for n in by_remainder[: abs(amount) - sum(whole)]:
        whole[n] += 1
    return [sign * share for share in whole]

"""Money added up by day and currency, item by item, with what the items do not explain."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

MOST_CAUSES = 50  # that a bridge names


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the bridge: `items`, in order, add up to `result` but for a remainder.

    `besides` are amounts that are shown and not added: they are inside another item.
    """

    name: str
    items: Sequence[str]
    result: str
    besides: Sequence[str] = ()

    def row(self, amounts: Counter[str]) -> dict[str, int]:
        """Every item, and `remainder`: what the items do not explain of the result."""
        shown = {name: amounts[name] for name in (*self.items, self.result, *self.besides)}
        explained = sum(amounts[name] for name in self.items)
        return {**shown, "remainder": amounts[self.result] - explained}


@dataclass(slots=True)
class Sums:
    """Amounts in minor units by (day, currency) and item. Currencies are never added."""

    _by: dict[tuple[date, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, day: date | None, currency: str, item: str, amount: int) -> None:
        """Adds to an item. What has no day is outside of the window."""
        if day is not None and amount:
            self._by[day, currency][item] += amount

    def rows(self, part: Part) -> Iterator[dict[str, Any]]:
        """A row for each day and currency in which anything of this part moved."""
        names = {*part.items, part.result, *part.besides}
        for (day, currency), amounts in sorted(self._by.items()):
            if any(amounts[name] for name in names):
                yield {"date": day.isoformat(), "currency": currency, **part.row(amounts)}

    def totals(self, part: Part) -> dict[str, dict[str, int]]:
        """The sums of all days, by currency."""
        totals: dict[str, Counter[str]] = defaultdict(Counter)
        for row in self.rows(part):
            amounts = {name: value for name, value in row.items() if isinstance(value, int)}
            totals[row["currency"]].update(amounts)
        return {currency: part.row(amounts) for currency, amounts in sorted(totals.items())}


@dataclass(slots=True)
class Causes:
    """Ids that a remainder comes from, as far as they can be known, and how many more."""

    listed: list[dict[str, Any]] = field(default_factory=list)
    more: int = 0

    def add(self, id_: str, day: date | None, currency: str, amount: int, why: str) -> None:
        """`amount` is what it adds to the remainder of its day."""
        if day is None:
            return
        if len(self.listed) == MOST_CAUSES:
            self.more += 1
            return
        self.listed.append(
            {
                "id": id_,
                "date": day.isoformat(),
                "currency": currency,
                "amount": amount,
                "why": why,
            }
        )

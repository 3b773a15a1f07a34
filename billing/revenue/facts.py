"""The derived tables of finance: how each is kept up, built anew, and checked."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from billing.revenue import balance_days, dunning, entries, revenue_days
from billing.revenue.credits import checking, lots
from billing.revenue.mrr import facts as subscriptions
from billing.revenue.mrr.derived import Kept


@dataclass(frozen=True, slots=True)
class Family:
    """A derived table, or several that belong together.

    `refresh` derives what is new and `rebuild` everything; both answer with how much changed
    (rows; of credits, users), and may be run again at any time. `check` derives everything and
    compares: each difference names the `fact`, what is `here` and what is `derived`, null where
    there is none.
    """

    name: str
    refresh: Callable[[], int]
    rebuild: Callable[[], int]
    check: Callable[[], Iterable[dict[str, Any]]]


def _kept(name: str, sums: Kept) -> Family:
    return Family(name, sums.refresh, sums.rebuild, sums.check)


FAMILIES = (
    _kept("balance", balance_days.DAYS),
    Family("revenue", entries.refresh, entries.rebuild, entries.check),
    _kept("revenue_days", revenue_days.DAYS),
    _kept("revenue_hours", revenue_days.HOURS),
    Family("subscriptions", subscriptions.refresh, subscriptions.rebuild, subscriptions.check),
    Family("dunning", dunning.refresh, dunning.rebuild, dunning.check),
    Family("credits", lots.refresh, lots.rebuild, checking.check),
)


def refresh_all() -> dict[str, int]:
    """Refreshes every family; the rows that changed, by its name."""
    return {family.name: family.refresh() for family in FAMILIES}

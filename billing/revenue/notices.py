"""What is to be known before figures are believed: how fresh they are, which month is closed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.formatting import format_age, format_money, format_time
from billing.models import MonthClose
from billing.projection.balance_sync import read_up_to
from billing.revenue.asked import Asked
from billing.revenue.report import Report

FRESH = timedelta(hours=1)  # what was read within it is as fresh as it is to be
MEND = "See on the home page whether the worker runs, or run manage.py sync_balance."


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence above a report; a warning says that its figures may be wrong."""

    words: str
    is_warning: bool = False


def notices(report: Report, asked: Asked, now: datetime) -> list[Notice]:
    """What stands above a report of these days."""
    said = [freshness(now)]
    return [*said, *closed_months(asked)] if report.is_closed else said


def freshness(now: datetime) -> Notice:
    """Up to when Stripe's balance is here."""
    moment = read_up_to()
    if moment is None:
        return Notice(f"Stripe's balance has never been read to its end. {MEND}", is_warning=True)
    said = f"{format_time(moment)} ({format_age(moment, now)})"
    if now - moment > FRESH:
        return Notice(
            f"Stripe's balance is read only up to {said}: what came since is missing. {MEND}",
            is_warning=True,
        )
    return Notice(f"Stripe's balance is read up to {said}; it is read every ten minutes.")


def closed_months(asked: Asked) -> Iterator[Notice]:
    """The closed months among these days that entries have come to since."""
    closed = MonthClose.objects.filter(
        state=MonthClose.State.CLOSED, month__range=(asked.first.replace(day=1), asked.last)
    )
    for close in closed.defer("figures", "checklist").order_by("month"):
        changed = (close.later or {}).get("changed", [])
        if changed:
            count = sum(row["count"] for row in changed)
            sums = ", ".join(format_money(row["amount"], row["currency"]) for row in changed)
            yield Notice(
                f"{close} is closed, and what came since would change its net by {sums} (entries:"
                f" {count:,}). These figures have it in them; what was signed has not. See Closed"
                " months.",
                is_warning=True,
            )

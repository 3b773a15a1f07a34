"""Credits granted and spent, and what was paid, by the day."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, Count, Q, QuerySet, Sum, When
from django.db.models.functions import TruncDay

from billing.admin import cells
from billing.admin.charts import Chart, Series, counted
from billing.admin.charts import money as money_unit
from billing.admin.home import buckets
from billing.admin.home.figures import Section
from billing.diagnosis.facts import DEBITS
from billing.formatting import format_money
from billing.models import BillingPayment, CreditEntry, PaymentReversal

CREDIT_DAYS = 14
WEEK = timedelta(days=7)
Net = Counter[tuple[datetime, bool]]  # minor units by day, and by whether later than now was
MOST = 6  # currencies with a chart of their own, those with the most payments


def credits_by_day(now: datetime) -> Chart:
    """What came to balances, what claims (and the application's own SQL) spent, and the rest."""
    zone = buckets.report_zone()
    starts = buckets.days(now, zone, CREDIT_DAYS)
    came, spent = Q(delta__gt=0), Q(delta__lt=0, kind__in=DEBITS)
    sums = (
        CreditEntry.objects.filter(created_at__gte=starts[0])
        .order_by()
        .annotate(day=TruncDay("created_at", tzinfo=zone))
        .values_list("day")
        .annotate(
            granted=Sum("delta", filter=came, default=0),
            spent=Sum("delta", filter=spent, default=0),
            taken=Sum("delta", filter=~came & ~spent, default=0),
        )
    )
    found = {day: tuple(map(abs, totals)) for day, *totals in sums}
    return Chart(
        title="Credits by day",
        about=(
            f"The past {CREDIT_DAYS} days, {zone}. Spent is what lead claims and SQL took; taken"
            " back is what refunds, disputes and corrections took."
        ),
        unit=counted("credits"),
        labels=[f"{start:%Y-%m-%d}" for start in starts],
        ticks=[f"{start:%m-%d}" for start in starts],
        heading="Day",
        series=[
            Series(name, [found[start][n] if start in found else 0 for start in starts])
            for n, name in enumerate(("granted", "spent", "taken back"))
        ],
        url=cells.changelist_url(CreditEntry),
        links=buckets.links(CreditEntry, "created_at", starts, now),
        empty=f"No credits came or went in the past {CREDIT_DAYS} days.",
    )


def revenue(now: datetime) -> Section:
    """What was paid in these seven days against the seven before: a chart for each currency."""
    zone = buckets.report_zone()
    starts = buckets.days(now, zone, 14)
    net = net_by_day(starts[0], now)
    section = Section("Revenue against the week before", {})
    section.charts = [compared(currency, net[currency], starts, now) for currency in [*net][:MOST]]
    section.note = (
        "Payments that succeeded, less the refunds and disputes of the day, by the day on which"
        f" Stripe made them ({zone}). What was paid outside Stripe is not in it. Today is not over."
        if net
        else "Nothing was paid or refunded in the past 14 days."
    )
    if left_out := ", ".join(currency.upper() for currency in [*net][MOST:]):
        section.note += f" Not shown: {left_out}."
    return section


def net_by_day(since: datetime, now: datetime) -> dict[str, Net]:
    """What moved through Stripe, by currency, those with the most payments first.

    Payments that succeeded, less the refunds and the disputes, lost or undecided, of the day.
    """
    net: defaultdict[str, Net] = defaultdict(Counter)
    payments: Counter[str] = Counter()
    paid = BillingPayment.objects.filter(status="succeeded")
    taken_back = PaymentReversal.objects.filter(active=True)
    for day, later, currency, amount, count in by_day(paid, since, now):
        net[currency][day, later] += amount
        payments[currency] += count
    for day, later, currency, amount, _ in by_day(taken_back, since, now):
        net[currency][day, later] -= amount
    order = sorted(net, key=lambda currency: (-payments[currency], currency))
    return {currency: net[currency] for currency in order}


def by_day(
    rows: QuerySet[Any], since: datetime, now: datetime
) -> QuerySet[Any, tuple[datetime, bool, str, int, int]]:
    """Sums by day and currency, apart what came later in the week than it is now."""
    found: QuerySet[Any, tuple[datetime, bool, str, int, int]] = (
        rows.filter(created_at__gte=since, created_at__lte=now)
        .order_by()
        .annotate(
            day=TruncDay("created_at", tzinfo=buckets.report_zone()),
            later=Case(When(created_at__gt=now - WEEK, then=True), default=False),
        )
        .values_list("day", "later", "currency")
        .annotate(Sum("amount"), Count("id"))
    )
    return found


def compared(currency: str, net: Net, starts: list[datetime], now: datetime) -> Chart:
    """One currency's seven days beside the seven before."""
    before, these = starts[:7], starts[7:]
    so_far = sum(net[start, True] for start in these)
    by_then = sum(net[start, False] for start in before)
    change = f" ({(so_far - by_then) / by_then:+.0%})" if by_then > 0 else ""
    return Chart(
        title=f"Paid in {currency.upper() or 'no currency'}",
        about=(
            f"{format_money(so_far, currency)} in these seven days so far, and"
            f" {format_money(by_then, currency)} by this time a week before{change}."
        ),
        unit=money_unit(currency),
        labels=[
            f"{start:%a %Y-%m-%d} (and {earlier:%Y-%m-%d})"
            for earlier, start in zip(before, these, strict=True)
        ],
        ticks=[f"{start:%a %d}" for start in these],
        heading="Day",
        series=[
            Series("these seven days", [total(net, start) for start in these]),
            Series("the seven before", [total(net, start) for start in before]),
        ],
        url=cells.changelist_url(BillingPayment, status="succeeded", currency=currency),
        links=buckets.links(
            BillingPayment, "created_at", these, now, status="succeeded", currency=currency
        ),
        empty="What was paid was taken back on the same day.",
    )


def total(net: Net, day: datetime) -> int:
    return net[day, False] + net[day, True]

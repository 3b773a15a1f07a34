"""What is looked at before a month is closed: each point done, or open with what is missing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from django.db.models import Q

from billing.database import rows
from billing.formatting import format_money, format_time
from billing.models import BalanceReading, FindingRecord, ReconciliationRun
from billing.revenue import bridge_days, closing
from billing.revenue.months import Month
from billing.revenue.net_to_payouts import payouts
from billing.revenue.stripes import PAYOUTS

GRAVE = 1  # the rank of findings up to which money or access is at stake
SHOWN = 5  # days, ids or amounts that a sentence names
READ = ("balance_transactions", "payouts", "revenue_entries")
State = FindingRecord.State


@dataclass(frozen=True, slots=True)
class Point:
    """One thing to be so before a month is closed; `said` is what was found, in words."""

    name: str
    title: str
    done: bool
    said: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def checklist(month: Month, figures: Mapping[str, Any] | None = None) -> list[Point]:
    """Every point of a month, as it is now; `figures` are the month's, where they are known."""
    known = closing.figures(month) if figures is None else figures
    points = [point(month) for point in POINTS]
    return [*points, copied(known), added_up(month), paid_out(month, known)]


def reconciled(month: Month) -> Point:
    """That runs which came to their end have compared every day."""
    missing = list(_not_reconciled(month))
    said = _listed("Not compared with Stripe", [str(day) for day in missing])
    return Point("reconciled", "Every day is reconciled", not missing, said or "All days are.")


def _not_reconciled(month: Month) -> Iterator[date]:
    """The days that the windows of finished runs, joined, do not cover from end to end."""
    done = ReconciliationRun.objects.filter(
        Q(since__lt=month.until) | Q(since__isnull=True),
        status=ReconciliationRun.Status.DONE,
        until__gt=month.since,
    )
    windows: list[list[datetime]] = []
    found = done.values_list("since", "until")
    for since, until in sorted((since or month.since, until) for since, until in found):
        if windows and since <= windows[-1][1]:
            windows[-1][1] = max(windows[-1][1], until)
        else:
            windows.append([since, until])
    for day, (begins, ends) in zip(month.days.dates, month.days.spans, strict=True):
        if not any(since <= begins and ends <= until for since, until in windows):
            yield day


def bridged(month: Month) -> Point:
    """That Stripe's own lists were read for every day, once it was over."""
    missing = bridge_days.not_read(month.days)
    said = _listed("Not read from Stripe yet", [str(day) for day in missing])
    return Point("bridged", "Every day is read from Stripe", not missing, said or "All days are.")


def explained(month: Month) -> Point:
    """That the first two bridges leave nothing, or only what an accepted finding explains."""
    left = [
        f"{format_money(row['remainder'], row['currency'])} on {row['date']} ({part})"
        for part in bridge_days.PARTS
        for row in _unexplained(month, part)
    ]
    said = _listed("Not explained", left)
    title = "Invoices to charges to net: no remainder"
    return Point("explained", title, not left, said or "The items explain all that was read.")


def _unexplained(month: Month, part: str) -> list[dict[str, Any]]:
    """The days on which a remainder is left that no accepted finding explains."""
    left = [
        row
        for row in bridge_days.kept_rows(part, month.first, month.last, month.timezone)
        if row["remainder"]
    ]
    causes = {cause["id"] for row in left for cause in row["causes"]}
    accepted = set(
        FindingRecord.objects.filter(state=State.ACCEPTED, subject__in=causes).values_list(
            "subject", flat=True
        )
    )
    return [
        row
        for row in left
        if row["remainder"] != sum(c["amount"] for c in row["causes"] if c["id"] in accepted)
    ]


def read_to_the_end(month: Month) -> Point:
    """That our copy of Stripe's balance and payouts reaches past the month's end."""
    reached = dict(BalanceReading.objects.values_list("what", "read_up_to"))
    short = [
        f"{name.replace('_', ' ')}" + (f" up to {format_time(reached[name])}" if name in reached
                                       else " not read at all")
        for name in READ
        if name not in reached or reached[name] < month.until
    ]  # fmt: skip
    said = _listed("Read too little", short)
    title = "Stripe's balance is read past the month's end"
    return Point("balance_read", title, not short, said or "It is.")


_NETS = """
    SELECT currency, sum(stripes)::bigint AS stripes, sum(ours)::bigint AS ours FROM (
        SELECT currency, net AS stripes, 0 AS ours FROM billing_balance_transactions
        WHERE created_at >= %(since)s AND created_at < %(until)s
          AND NOT category = ANY(%(payouts)s)
        UNION ALL
        SELECT settled_currency, 0, settled_amount - settled_fee FROM billing_revenue_entries
        WHERE at >= %(since)s AND at < %(until)s AND item <> 'out_of_band'
    ) both_sides GROUP BY 1 HAVING sum(stripes) <> sum(ours) ORDER BY 1
"""


def added_up(month: Month) -> Point:
    """That the entries of revenue add up to the net of the balance, in each currency."""
    window = {"since": month.since, "until": month.until, "payouts": sorted(PAYOUTS)}
    off = [
        f"{format_money(row['ours'] - row['stripes'], row['currency'])}"
        for row in rows(_NETS, window)
    ]
    said = _listed("The entries differ from the balance by", off)
    return Point(
        "added_up", "Revenue adds up to the balance", not off, said or "To the minor unit."
    )


def copied(figures: Mapping[str, Any]) -> Point:
    """That our copy of the balance has the net which Stripe's list had when it was read."""
    read = figures["bridges"]["settled"]
    here = {row["currency"]: row["net"] for row in figures["balance"]}
    off = [
        format_money(here.get(row["currency"], 0) - row["net"], row["currency"])
        for row in read
        if here.get(row["currency"], 0) != row["net"]
    ]
    said = _listed("Our copy differs from what Stripe told by", off)
    title = "Our copy of the balance is Stripe's"
    return Point("copied", title, not off, said or "It is, on the days that were read.")


def paid_out(month: Month, figures: Mapping[str, Any]) -> Point:
    """That the third bridge leaves nothing, and each payout is the sum of its contents."""
    left = [
        format_money(row["remainder"], row["currency"])
        for row in figures["balance"]
        if row["remainder"]
    ]
    made = payouts(month.since, month.until)
    left += [
        f"{format_money(row['remainder'], row['currency'])} of {row['payout']}"
        for row in made
        if row["remainder"]
    ]
    untold = [row["payout"] for row in made if row["automatic"] and row["remainder"] is None]
    words = [_listed("Not explained", left), _listed("Contents not read yet", untold)]
    said = " ".join(filter(None, words))
    return Point("paid_out", "Net to payouts: no remainder", not said, said or "All is explained.")


def grave_findings(month: Month) -> Point:
    """That nothing is open by which somebody lacks money or access."""
    open_ = _open_findings(month).filter(rank__lte=GRAVE).count()
    said = (
        f"Open: {open_:,}. Mend them, or accept them with a reason." if open_ else "None is open."
    )
    return Point("grave_findings", "No grave finding is open", not open_, said)


def other_findings(month: Month) -> Point:
    """That every other finding was mended or accepted."""
    open_ = _open_findings(month).filter(rank__gt=GRAVE).count()
    said = f"Open: {open_:,}." if open_ else "All are mended or accepted."
    return Point("other_findings", "Other findings are mended or accepted", not open_, said)


def _open_findings(month: Month) -> Any:
    """Findings, open or put off, seen in the month or by a run that looked at its days."""
    looked_at = Q(first_seen_at__lt=month.until) | Q(run__since__lt=month.until)
    return FindingRecord.objects.filter(
        looked_at | Q(run__isnull=False, run__since__isnull=True),
        state__in=(State.OPEN, State.SNOOZED),
        last_seen_at__gte=month.since,
    )


POINTS: tuple[Callable[[Month], Point], ...] = (
    reconciled,
    grave_findings,
    other_findings,
    bridged,
    explained,
    read_to_the_end,
)


def _listed(what: str, found: list[str]) -> str:
    """A sentence that names the first few; '' for none."""
    if not found:
        return ""
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return f"{what}: {', '.join(found[:SHOWN])}{more}."

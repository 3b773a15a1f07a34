"""Stripe's balance, read into our rows: its transactions, its payouts, and who paid out what.

Each page is one statement, and nothing is held but the page, so that a reading may be killed at
any point, or run twice at once: what was read stays, and the next one goes on from there.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from billing.database import cursor
from billing.gateway.client import Gateway, gateway
from billing.models import BalanceReading, Payout
from billing.projection import balance
from billing.projection.intake import bring_in, fetch

TRANSACTIONS, PAYOUTS = "balance_transactions", "payouts"  # of BalanceReading
EXPANDED = {"expand": ["data.source"]}
WINDOW = timedelta(days=31)  # of transactions that are one list: how much is read anew if it fails
OVERLAP = timedelta(hours=2)  # of a reading with the one before it
STILL_CHANGING = timedelta(days=10)  # for which a payout that was paid can still fail
A_YEAR = timedelta(days=366)

Tell = Callable[[str, int], None]
Span = tuple[datetime, datetime | None]


@dataclass(slots=True)
class BalanceReport:
    """What a reading has read; `changed` are rows that were made or differed."""

    transactions: int = 0
    changed: int = 0
    payouts: int = 0
    resolved: int = 0
    api_calls: int = 0


def read_up_to(what: str = TRANSACTIONS) -> datetime | None:
    """The time, UTC, up to which everything is here; None where it was never read whole."""
    found = BalanceReading.objects.filter(what=what).values_list("read_up_to", flat=True)
    return found.first()


def sync(
    *, actor: str, since: datetime | None = None, on_progress: Tell | None = None
) -> BalanceReport:
    """Brings in what is new on Stripe's balance, everything for the first time.

    `since` (UTC) is from when on it is read again. `on_progress` is told what is read, and how
    much of it. Raises a GatewayError where Stripe does not tell all; what came before it is kept.
    Not to be called inside a transaction.
    """
    stripe = gateway()
    before = stripe.calls
    report = BalanceReport()
    tell = on_progress or (lambda what, count: None)
    _read_transactions(stripe, since, report, tell)
    _read_payouts(stripe, since, actor, report, tell)
    _resolve_payouts(stripe, report, tell)
    report.api_calls = stripe.calls - before
    return report


def _read_transactions(
    stripe: Gateway, since: datetime | None, report: BalanceReport, tell: Tell
) -> None:
    """Windows of time, the oldest first, some at once; notes up to where all of them are here."""
    now = stripe.page(f"/v1/{TRANSACTIONS}", {"limit": 1}).not_before
    known = read_up_to()
    begin = known - OVERLAP if known else _beginning(stripe, now)
    spans = _spans(min(begin, since) if since else begin, now)
    done: set[int] = set()
    following = 0
    for number, page in stripe.lists_at_once(_lists(spans)):
        report.transactions += len(page.data)
        report.changed += len(balance.store(page.data))
        tell("balance transactions", report.transactions)
        if page.has_more:
            continue
        done.add(number)
        while following in done:
            note_reading(TRANSACTIONS, spans[following][1] or now)
            following += 1


def _beginning(stripe: Gateway, now: datetime) -> datetime:
    """A time before which nothing moved on the balance."""
    begin = now
    while stripe.page(f"/v1/{TRANSACTIONS}", {"limit": 1, "created": _before(begin)}).data:
        begin -= A_YEAR
    return begin


def _spans(begin: datetime, now: datetime) -> list[Span]:
    """From `begin` on, without an end: while it is read, more is booked."""
    starts = [begin]
    while starts[-1] + WINDOW < now:
        starts.append(starts[-1] + WINDOW)
    return list(zip(starts, [*starts[1:], None], strict=True))


def _lists(spans: list[Span]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for number, (begin, end) in enumerate(spans):
        created = {"gte": int(begin.timestamp())} | (_before(end) if end else {})
        yield number, f"/v1/{TRANSACTIONS}", {"created": created, **EXPANDED}


def _before(moment: datetime) -> dict[str, int]:
    return {"lt": int(moment.timestamp())}


def note_reading(what: str, moment: datetime) -> None:
    """Notes up to when it was read; never earlier than another reading has got."""
    with cursor() as bound:
        bound.execute(
            """
            INSERT INTO billing_balance_readings AS r (what, read_up_to) VALUES (%s, %s)
            ON CONFLICT (what) DO UPDATE
            SET read_up_to = greatest(r.read_up_to, excluded.read_up_to), finished_at = now()
            """,
            [what, moment],
        )


def _read_payouts(
    stripe: Gateway, since: datetime | None, actor: str, report: BalanceReport, tell: Tell
) -> None:
    """Payouts since the last reading, and again those that can still change."""
    known = read_up_to(PAYOUTS)
    begin = known - STILL_CHANGING if known else None
    if begin and since:
        begin = min(begin, since)
    now = None
    params = {"created": {"gte": int(begin.timestamp())}} if begin else {}
    for page in stripe.pages(f"/v1/{PAYOUTS}", params):
        now = now or page.not_before
        report.payouts += len(page.data)
        bring_in(page.observations(), actor=actor)
        tell("payouts", report.payouts)
    if begin:
        under_way = Payout.objects.exclude(status__in=Payout.FINAL).filter(created_at__lt=begin)
        for payout_id in list(under_way.values_list("stripe_id", flat=True)):
            bring_in([fetch("payout", payout_id, stripe=stripe)], actor=actor)
    if now:
        note_reading(PAYOUTS, now)


def _resolve_payouts(stripe: Gateway, report: BalanceReport, tell: Tell) -> None:
    """Asks which movements each automatic payout paid out, once Stripe has worked it out."""
    worked_out = Payout.objects.filter(
        automatic=True, resolved_at=None, reconciliation_status__in=("completed", "")
    )
    payout_ids = worked_out.order_by("created_at").values_list("stripe_id", flat=True)
    lists = (
        (payout_id, f"/v1/{TRANSACTIONS}", {"payout": payout_id, **EXPANDED})
        for payout_id in list(payout_ids)
    )
    for payout_id, page in stripe.lists_at_once(lists):
        report.changed += len(balance.store(page.data))
        balance.pay_out(payout_id, page.data)
        if not page.has_more:
            Payout.objects.filter(stripe_id=payout_id).update(resolved_at=Now(), updated_at=Now())
            report.resolved += 1
            tell("payouts resolved", report.resolved)

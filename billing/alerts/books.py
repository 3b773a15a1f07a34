"""Do the books agree? Rules on findings, on balances against the ledger, on reconciliation."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Count, Max, Min, Sum

from billing.alerts.firing import Firing, Look, counted, list_page
from billing.database import TEXTS, as_json
from billing.diagnosis.findings import Severity as FindingSeverity
from billing.formatting import format_age, format_money, format_time
from billing.models import FindingRecord, LeadCredits, ReconciliationRun
from billing.reconciliation.worklist import open_findings

Run = ReconciliationRun

WORDS = {
    FindingSeverity.ACCESS: "Customers lack what they paid for, or have what they did not pay for",
    FindingSeverity.MONEY: "Money or credits are not where they belong",
}

RECENT = timedelta(minutes=15)  # longer than the transactions that write entries
WHOLE_EVERY = timedelta(hours=1)
MOST_REMEMBERED = 1_000  # users
SHOWN = 5  # users
OVERDUE = timedelta(hours=26)  # a day, and time to run

# Users whose balance, or what they owe, their entries do not add up to: of some, and of all.
DIFFERS = """coalesce(c.balance, 0) <> coalesce(e.delta, 0)
    OR coalesce(c.owed, 0) <> coalesce(e.owed_delta, 0)"""
OF_SOME = f"""
    SELECT u.user_id
    FROM (SELECT user_id FROM credit_entries WHERE created_at >= %s
          UNION SELECT unnest({TEXTS})) AS u
    LEFT JOIN lead_credits AS c USING (user_id)
    CROSS JOIN LATERAL (
        SELECT sum(delta) AS delta, sum(owed_delta) AS owed_delta
        FROM credit_entries WHERE user_id = u.user_id) AS e
    WHERE {DIFFERS}
    ORDER BY user_id LIMIT %s
"""  # noqa: S608  (both parts are this project's own)
OF_ALL = f"""
    SELECT user_id
    FROM lead_credits AS c
    FULL JOIN (
        SELECT user_id, sum(delta) AS delta, sum(owed_delta) AS owed_delta
        FROM credit_entries GROUP BY user_id) AS e USING (user_id)
    WHERE {DIFFERS}
    ORDER BY user_id LIMIT %s
"""  # noqa: S608


def findings(look: Look) -> Iterator[Firing]:
    """Findings about access or money are open: one firing a severity, with what is at stake.

    One that is put off counts again once its time is over; an accepted one does not count.
    """
    for severity, words in WORDS.items():
        rows = open_findings().filter(severity=severity)
        by_currency = list(
            rows.order_by()
            .values_list("currency")
            .annotate(Count("id"), Sum("amount"), Sum("credits"), Min("first_seen_at"))
            .order_by("currency")
        )
        if by_currency:
            number = sum(count for _, count, *_ in by_currency)
            stake = at_stake([(currency, money, n) for currency, _, money, n, _ in by_currency])
            oldest = min(first for *_, first in by_currency)
            yield Firing(
                words,
                f"{counted(number, 'open finding')}, the oldest since {format_time(oldest)}{stake}."
                " Each says what is wrong and how to mend it.",
                list_page(FindingRecord, state="open"),
                key=severity,
            )


def at_stake(rows: Sequence[tuple[str, int | None, int | None]]) -> str:
    """`; at stake: 10.00 EUR, 45.00 USD, 50 credits`, each currency by itself; '' for nothing."""
    parts = [format_money(money, currency) for currency, money, _ in rows if money]
    credits_ = sum(n or 0 for *_, n in rows)
    parts += [counted(credits_, "credit")] if credits_ else []
    return f"; at stake: {', '.join(parts)}" if parts else ""


def ledger(look: Look) -> Iterator[Firing]:
    """A balance, or what a user owes, is not what the user's ledger entries add up to.

    Each minute it adds up the entries of the users who got one in the past 15 minutes, and of
    those who differed the last time; once an hour everybody's, which also finds what was changed
    without leaving an entry. What it remembers: when that was, and who differed.
    """
    before: list[str] = look.memory.get("differing", [])
    whole_at = look.memory.get("whole_at")
    is_due = whole_at is None or look.now - datetime.fromisoformat(whole_at) >= WHOLE_EVERY
    with connection.cursor() as cursor:
        if is_due or len(before) >= MOST_REMEMBERED:
            cursor.execute(OF_ALL, [MOST_REMEMBERED])
            look.memory["whole_at"] = look.now.isoformat()
        else:
            cursor.execute(OF_SOME, [look.now - RECENT, as_json(before), MOST_REMEMBERED])
        users = [row[0] for row in cursor.fetchall()]
    look.memory["differing"] = users
    if not users:
        return
    more = " or more" if len(users) == MOST_REMEMBERED else ""
    yield Firing(
        "Balances differ from the ledger",
        f"{counted(len(users), 'user')}{more}: {', '.join(users[:SHOWN])}"
        f"{', …' if len(users) > SHOWN else ''}. Something wrote past the triggers, such as a"
        " restore. The customer's page shows both sums; Tie out balance brings them together.",
        list_page(LeadCredits, q=users[0]) if len(users) == 1 else list_page(LeadCredits),
    )


def reconciliation(look: Look) -> Iterator[Firing]:
    """No daily reconciliation has ended well for 26 hours, after one ever did; or the last failed.

    Neither is said of one that runs, nor of one that was given up for it.
    """
    last = Run.objects.order_by("-started_at", "-id").first()
    if last is not None and last.status == Run.Status.FAILED:
        yield Firing(
            "The last reconciliation failed",
            f"The {last.get_kind_display().lower()} run of {format_time(last.started_at)}:"
            f" {last.error[:300].rstrip('. ')}. Run it again, it goes on where it was: manage.py"
            f" reconcile {last.kind}.",
            list_page(ReconciliationRun),
            key="failed",
        )
    good = Run.objects.filter(kind=Run.Kind.DAILY, status=Run.Status.DONE)
    done_at = good.aggregate(last=Max("finished_at"))["last"]
    if done_at is not None and look.now - done_at > OVERDUE:
        yield Firing(
            "The daily reconciliation is overdue",
            f"The last one that came to its end did so at {format_time(done_at)},"
            f" {format_age(done_at, look.now)}. The worker starts it once a day: is one running?"
            " By hand: manage.py reconcile daily.",
            list_page(ReconciliationRun),
            key="overdue",
        )

"""Do the books agree? Rules on findings, on balances against the ledger, on reconciliation."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from django.db import connection
from django.db.models import Count, Max, Min, Sum

from billing.alerts.firing import Firing, Look, counted, list_page
from billing.database import TEXTS, as_json
from billing.diagnosis.findings import Severity as FindingSeverity
from billing.diagnosis.kinds import label_of
from billing.formatting import format_age, format_money, format_time
from billing.models import Assessment, FindingRecord, ReconciliationRun
from billing.reconciliation.worklist import open_findings

Run = ReconciliationRun

WORDS = {
    FindingSeverity.ACCESS: "Customers lack what they paid for, or have what they did not pay for",
    FindingSeverity.MONEY: "Money or credits are not where they belong",
}

RECENT = timedelta(minutes=15)  # longer than the transactions that write entries
IN_TURN = 2_000  # users a minute, at least
MOST_REMEMBERED = 1_000  # users
SHOWN = 5  # users, or kinds of findings
OVERDUE = timedelta(hours=26)  # a day, and time to run

# Of the users whose turn it is, those with a recent entry and those named: whose balance, or what
# they owe, is not what their entries add up to. And the last one whose turn it was, null where the
# round is over. With no row in lead_credits a user has 0.
DIFFERING = f"""
    WITH turn AS MATERIALIZED (
        SELECT greatest(%(in_turn)s, ceil(reltuples / 60))::bigint AS size
        FROM pg_class WHERE oid = 'lead_credits'::regclass),
    in_turn AS MATERIALIZED (
        (SELECT user_id FROM lead_credits WHERE user_id > %(after)s
         ORDER BY user_id LIMIT (SELECT size FROM turn))
        UNION
        (SELECT DISTINCT user_id FROM credit_entries WHERE user_id > %(after)s
         ORDER BY user_id LIMIT (SELECT size FROM turn))
        ORDER BY user_id LIMIT (SELECT size FROM turn)),
    looked_at AS (
        SELECT user_id FROM in_turn
        UNION SELECT user_id FROM credit_entries WHERE created_at >= %(since)s
        UNION SELECT unnest({TEXTS.replace("%s", "%(named)s")}))
    SELECT
        ARRAY(
            SELECT user_id
            FROM looked_at
            LEFT JOIN lead_credits AS c USING (user_id)
            CROSS JOIN LATERAL (
                SELECT sum(delta) AS delta, sum(owed_delta) AS owed_delta
                FROM credit_entries WHERE user_id = looked_at.user_id) AS e
            WHERE coalesce(c.balance, 0) <> coalesce(e.delta, 0)
               OR coalesce(c.owed, 0) <> coalesce(e.owed_delta, 0)
            ORDER BY user_id LIMIT %(most)s),
        CASE WHEN (SELECT count(*) FROM in_turn) >= (SELECT size FROM turn)
             THEN (SELECT max(user_id) FROM in_turn) END
"""  # noqa: S608  (the statement stands above)


def findings(look: Look) -> Iterator[Firing]:
    """Findings about access or money are open: one firing a severity, with what is at stake.

    One that is put off counts again once its time is over; an accepted one does not count.
    """
    for severity, words in WORDS.items():
        rows = open_findings().filter(severity=severity)
        sums = list(
            rows.order_by()
            .values_list("currency", "kind")
            .annotate(Count("id"), Sum("amount"), Sum("credits"), Min("first_seen_at"))
            .order_by("currency", "kind")
        )
        if sums:
            kinds: Counter[str] = Counter()
            for _, kind, count, *_ in sums:
                kinds[kind] += count
            stake = at_stake([(currency, money, n) for currency, _, _, money, n, _ in sums])
            oldest = min(first for *_, first in sums)
            yield Firing(
                words,
                f"{counted(kinds.total(), 'open finding')}, the oldest since"
                f" {format_time(oldest)}{stake}. {in_words(kinds)}. Each says what is wrong and how"
                " to mend it.",
                list_page(FindingRecord, state="open", severity=severity),
                key=severity,
            )


def in_words(kinds: Counter[str]) -> str:
    """How many findings of the most frequent kinds."""
    listed = sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    said = [f"{number:,} × {label_of(kind)}" for kind, number in listed[:SHOWN]]
    return ", ".join([*said, *(["others"] if len(listed) > SHOWN else [])])


def at_stake(rows: Sequence[tuple[str, int | None, int | None]]) -> str:
    """`; at stake: 10.00 EUR, 45.00 USD, 50 credits`, each currency by itself; '' for nothing."""
    sums: Counter[str] = Counter()
    for currency, money, _ in rows:
        sums[currency] += money or 0
    parts = [format_money(money, currency) for currency, money in sums.items() if money]
    credits_ = sum(n or 0 for *_, n in rows)
    parts += [counted(credits_, "credit")] if credits_ else []
    return f"; at stake: {', '.join(parts)}" if parts else ""


def ledger(look: Look) -> Iterator[Firing]:
    """A balance, or what a user owes, is not what the user's ledger entries add up to.

    Each minute it adds up the entries of those who got one in the past 15 minutes, of those who
    differed the last time, and of a sixtieth of all users in turn (2,000 at least): everybody's
    turn comes once an hour, also theirs whose balance was changed without an entry. It remembers
    who differed and whose turn it was last.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            DIFFERING,
            {
                "in_turn": IN_TURN,
                "after": look.memory.get("after", ""),
                "since": look.now - RECENT,
                "named": as_json(look.memory.get("differing", [])),
                "most": MOST_REMEMBERED,
            },
        )
        users, last = cursor.fetchone()
    look.memory |= {"differing": users, "after": last or ""}
    if not users:
        return
    more = " or more" if len(users) == MOST_REMEMBERED else ""
    yield Firing(
        "Balances differ from the ledger",
        f"{counted(len(users), 'user')}{more}: {', '.join(users[:SHOWN])}"
        f"{', …' if len(users) > SHOWN else ''}. Something wrote past the triggers. Assess the"
        " database first: it names everybody whom it concerns. The customer's page shows both sums;"
        " Tie out balance brings them together.",
        list_page(Assessment),
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

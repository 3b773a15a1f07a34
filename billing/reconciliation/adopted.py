"""What is wrong in tables that were adopted, found anew by each run until somebody mends it.

The rows that adopting has set apart are seen by nobody but the application: here they are named,
with the statuses that nobody knows, the events without an id, and the opening balances that
purchases and claims do not explain.
"""

from collections.abc import Callable, Iterator

from django.db import models, transaction

from billing.adoption import catalog
from billing.adoption.catalog import OURS, quoted, theirs
from billing.adoption.mapping import KEYS
from billing.adoption.obstacles import OURS_BY_TYPE, STATUSES
from billing.database import rows, stream
from billing.diagnosis.facts import Person
from billing.diagnosis.findings import Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import (
    Adoption,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    FindingRecord,
    ReconciliationRun,
)
from billing.reconciliation import worklist

KINDS = frozenset(
    {Kind.ROW_SET_APART, Kind.STATUS_UNKNOWN, Kind.EVENTS_WITHOUT_ID, Kind.OPENING_DIFFERS}
)
Found = tuple[str, Finding]  # the user's id, '' for nobody's


def keep(run: ReconciliationRun) -> None:
    """Keeps all of it as the run's findings."""
    with transaction.atomic():
        for user, finding in findings():
            worklist.keep([finding], Person(user or None, ()), run)


def is_so(record: FindingRecord) -> bool:
    """Whether a finding of these kinds is still true."""
    wanted = (record.kind, record.subject)
    return any((each.kind, each.subject) == wanted for _, each in findings(record.kind))


def findings(kind: str | None = None) -> Iterator[Found]:
    """All that is found, or what is of one kind; nothing where no table was adopted."""
    adoption = Adoption.objects.first()
    if adoption is None:
        return
    of_kind: dict[str, Callable[[], Iterator[Found]]] = {
        Kind.ROW_SET_APART: set_apart,
        Kind.STATUS_UNKNOWN: unknown_statuses,
        Kind.EVENTS_WITHOUT_ID: events_without_id,
        Kind.OPENING_DIFFERS: openings,
    }
    for name, find in of_kind.items():
        if kind in (None, name):
            yield from find()


def set_apart() -> Iterator[Found]:
    """Rows that have no key, or one that another row has, too."""
    for model, key in KEYS.items():
        table = catalog.read(model._meta.db_table)
        companion = f"{OURS}{key}"
        if table is None or companion not in table.columns:
            continue
        row = next((f"{n}::text" for n in ("id", "user_id") if n in table.columns), "ctid::text")
        user = "coalesce(user_id::text, '')" if "user_id" in table.columns else "''"
        has_key = f"{quoted(key)} IS NOT NULL"
        where = f"{quoted(companion)} IS NULL"
        if model is BillingEvent:  # which may have none
            where += f" AND {has_key}"
        query = (
            f"SELECT {row} AS row, {quoted(key)}::text AS key, {user} AS user_id"  # noqa: S608
            f" FROM {theirs(table.name)} WHERE {where} ORDER BY 2, 1"
        )
        for one in stream(query):
            yield one["user_id"], _apart(table.name, key, one["row"], one["key"])


def _apart(table: str, key: str, row: str, value: str | None) -> Finding:
    why = f"another row has the {key} {value}, too" if value else f"it has no {key}"
    return Finding(
        Kind.ROW_SET_APART,
        Severity.WARNING,
        f"{table}:{row}",
        f"The application's {table} has a row that the back office does not see: {why}. The"
        " application may still read it: let it delete one of the two, or give it a key.",
        (Evidence("Row", row, value or ""),),
    )


def unknown_statuses() -> Iterator[Found]:
    """Subscriptions and invoices in a state that Stripe has no name for."""
    named: tuple[tuple[type[models.Model], str], ...] = (
        (BillingSubscription, "subscription"),
        (BillingInvoice, "invoice"),
    )
    for model, kind in named:
        key = KEYS[model]
        odd = model._default_manager.exclude(status__in=STATUSES[model]).order_by("id")
        for found, status, user in odd.values_list(key, "status", "user_id").iterator():
            said = f"“{status}”" if status else "none"
            yield (
                user or "",
                Finding(
                    Kind.STATUS_UNKNOWN,
                    Severity.ACCESS,
                    found,
                    f"The {kind} has the status {said}, which Stripe does not know.",
                    (Evidence("Status here", status or "none", found),),
                    Fix("sync_from_stripe", {"kind": kind, "id": found}),
                ),
            )


def events_without_id() -> Iterator[Found]:
    """One finding for all of them: nothing can be replayed from such an event."""
    where = f"stripe_event_id IS NULL AND NOT {OURS_BY_TYPE}"
    [sums] = rows(
        "SELECT count(*) AS number, min(created_at) AS first, max(created_at) AS last"  # noqa: S608
        f" FROM billing_events WHERE {where}"
    )
    if not sums["number"]:
        return
    examples = rows(f"SELECT id, type FROM billing_events WHERE {where} ORDER BY id LIMIT 5")  # noqa: S608
    yield (
        "",
        Finding(
            Kind.EVENTS_WITHOUT_ID,
            Severity.WARNING,
            "billing_events",
            f"{sums['number']:,} of Stripe's events stand in the log without Stripe's id: nobody"
            " can say whether one is missing or is there twice. A sync brings what they told of.",
            (
                Evidence("The first", "logged", time=sums["first"]),
                Evidence("The last", "logged", time=sums["last"]),
                *(Evidence("Event", each["type"], f"event:{each['id']}") for each in examples),
            ),
        ),
    )


_OPENINGS = """
    WITH opened AS (
        SELECT user_id, delta FROM credit_entries
        WHERE kind = 'opening' AND source = 'opening:' || user_id
    ), bought AS (
        SELECT user_id, -sum(delta)::bigint AS credits FROM credit_entries
        WHERE kind = 'opening' AND source <> 'opening:' || user_id GROUP BY user_id
    ), claimed AS (
        SELECT c.user_id, sum(c.credits_spent)::bigint AS credits
        FROM lead_claims c, billing_adoption a
        WHERE c.status = 'succeeded' AND c.claimed_at < a.adopted_at GROUP BY c.user_id
    ), people AS (
        SELECT user_id FROM opened UNION SELECT user_id FROM bought
    )
    SELECT p.user_id, coalesce(o.delta, 0) AS opening, coalesce(b.credits, 0) AS bought,
           coalesce(c.credits, 0) AS claimed
    FROM people p LEFT JOIN opened o USING (user_id) LEFT JOIN bought b USING (user_id)
    LEFT JOIN claimed c USING (user_id)
    WHERE EXISTS (SELECT FROM bought)
      AND coalesce(o.delta, 0) <> coalesce(b.credits, 0) - coalesce(c.credits, 0)
    ORDER BY p.user_id
"""


def openings() -> Iterator[Found]:
    """Balances that were not what had been bought less what had been claimed.

    Only once a sync has told what was bought: before, every balance would look wrong.
    """
    for each in stream(_OPENINGS):
        expected = each["bought"] - each["claimed"]
        off = each["opening"] - expected
        way = "more" if off > 0 else "fewer"
        yield (
            each["user_id"],
            Finding(
                Kind.OPENING_DIFFERS,
                Severity.MONEY,
                each["user_id"],
                f"The balance was {each['opening']:,} when it was adopted, {abs(off):,} {way} than"
                f" what was bought ({each['bought']:,}, less refunds) less what was claimed"
                f" ({each['claimed']:,}). If the purchases are right, correct the balance or give"
                " the credits; if they were a present, accept this.",
                (
                    Evidence("Opening balance", f"{each['opening']:,} credits"),
                    Evidence("Bought before, less refunds", f"{each['bought']:,} credits"),
                    Evidence("Claimed before", f"{each['claimed']:,} credits"),
                ),
                credits=abs(off),
            ),
        )

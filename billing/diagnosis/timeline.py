"""Everything that happened to a person, the newest first, a page at a time.

One statement reads a page: each source by its own index, as many rows as the page shows, and
the newest of them all. What a customer with years of events costs is what a new one costs.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import TextChoices
from django.utils.timesince import timesince

from billing.diagnosis.causes import NOT_RECEIVED, causes_of
from billing.diagnosis.facts import Facts
from billing.models import BillingEvent, CreditEntry, InboxEvent, LeadClaim, Note, OperationRecord

SHOWN = 50  # entries on a page
LATE = timedelta(minutes=5)  # after which an event's arrival is worth a word


class Kind(TextChoices):
    """What can be shown by itself."""

    EVENT = "event", "Stripe's events"
    DELIVERY = "delivery", "Deliveries that failed"
    LEDGER = "ledger", "Credits"
    CLAIM = "claim", "Lead claims"
    OPERATION = "operation", "Operations"
    NOTE = "note", "Notes"
    AUDIT = "audit", "Raw SQL and the system"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry stands: by time (UTC), then by kind and row, so that no two are equal."""

    at: datetime
    kind: str
    id: int

    def __str__(self) -> str:
        return f"{self.at.astimezone(UTC):%Y%m%dT%H%M%S.%f}-{self.kind}-{self.id}"

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """A place as it was written into an address; None for anything else."""
        moment, _, rest = text.partition("-")
        kind, _, number = rest.partition("-")
        if kind not in Kind.values or not (number.isascii() and number.isdigit()):
            return None
        if len(number) > 18:
            return None
        try:
            at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
        except ValueError:
            return None
        return cls(at, kind, int(number))


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: what, and what more there is to say; `tone` as Unfold's labels.

    `model` and `id` are its row; without a model there is none here.
    """

    place: Place
    title: str
    detail: str
    tone: str = ""
    model: type[Any] | None = None

    @property
    def kind(self) -> str:
        return str(Kind(self.place.kind).label)


@dataclass(frozen=True, slots=True)
class Page:
    """Entries, the newest first; `older` is the place to go on from, None at the end."""

    entries: list[Entry]
    older: Place | None


def timeline(
    facts: Facts, *, kinds: Collection[str] = (), before: Place | None = None, most: int = SHOWN
) -> Page:
    """A page of what happened to a person, of some kinds or of all, older than a place."""
    wanted = [kind for kind in SOURCES if not kinds or kind in kinds]
    lost = never_arrived(facts) if not kinds or Kind.DELIVERY in kinds else []
    found = [entry for entry in lost if before is None or entry.place < before]
    if wanted:
        found += [_entry(*row) for row in _rows(facts, wanted, before, most + 1)]
    found.sort(key=lambda entry: entry.place, reverse=True)
    shown = found[:most]
    return Page(shown, shown[-1].place if len(found) > most else None)


def never_arrived(facts: Facts) -> list[Entry]:
    """Stripe's events that never came, as far as Stripe was asked about them."""
    return [
        Entry(
            Place(cause.created_at, Kind.DELIVERY, 0),
            cause.type,
            f"{cause.event_id} never arrived here.",
            "danger",
        )
        for object_id in (facts.stripe.events if facts.stripe else ())
        for cause in causes_of(facts, object_id)
        if cause.state == NOT_RECEIVED
    ]


Row = tuple[str, int, datetime, dict[str, Any]]


def _rows(facts: Facts, kinds: Iterable[str], before: Place | None, most: int) -> list[Row]:
    """The newest rows of each kind before a place: at most `most` of them all."""
    params: dict[str, Any] = {
        "customers": list(facts.person.customer_ids),
        "users": [facts.user_id] if facts.user_id else [],
        "subjects": sorted({*facts.object_ids, *_payments(facts), facts.user_id or ""} - {""}),
        "most": most,
        "at": before.at if before else None,
        "kind": before.kind if before else "",
        "id": before.id if before else 0,
    }
    selects = " UNION ALL ".join(
        f"(SELECT '{kind}' AS kind, id, at, jsonb_build_object({SOURCES[kind].data}) AS data"  # noqa: S608
        f" FROM (SELECT * FROM ({SOURCES[kind].rows}) AS s"
        " WHERE %(at)s::timestamptz IS NULL"
        f" OR (at, '{kind}', id) < (%(at)s::timestamptz, %(kind)s, %(id)s)"
        " ORDER BY at DESC, id DESC LIMIT %(most)s) AS s)"
        for kind in kinds
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT kind, id, at, data FROM ({selects}) AS t"  # noqa: S608  (they stand below)
            " ORDER BY at DESC, kind DESC, id DESC LIMIT %(most)s",
            params,
        )
        return [(kind, id_, at, json.loads(data)) for kind, id_, at, data in cursor.fetchall()]


def _payments(facts: Facts) -> set[str]:
    return {payment.payment_intent_id for payment in facts.payments}


def _logged(kind: str, condition: str, type_is: str) -> str:
    """The log's newest rows that fulfil a condition on `v`, by the index on it and the time."""
    return f"""
        SELECT id FROM billing_events
        WHERE {condition} AND {type_is}
          AND created_at <= coalesce(%(at)s::timestamptz, 'infinity')
          AND (%(at)s::timestamptz IS NULL
               OR (created_at, '{kind}', id) < (%(at)s::timestamptz, %(kind)s, %(id)s))
        ORDER BY created_at DESC, id DESC LIMIT %(most)s
    """  # noqa: S608


def _log(kind: str, type_is: str) -> str:
    """Ids of the log's newest rows about the person, whichever way they name them."""
    parts = (
        ("customers", "payload->>'customer' = v"),
        ("customers", "payload->>'id' = v"),
        ("users", "payload #>> '{metadata,user_id}' = v"),  # as its index has it
        ("users", "payload->>'user_id' = v"),
    )
    return " UNION ".join(
        f"SELECT l.id FROM unnest(%({name})s::text[]) AS v"  # noqa: S608
        f" CROSS JOIN LATERAL ({_logged(kind, condition, type_is)}) AS l"
        for name, condition in parts
    )


OURS = "(type LIKE 'manual.%%' OR type LIKE 'system.%%' OR type LIKE 'sql.%%')"
# What operations did has an entry of its own; what raw SQL logged as theirs has none.
BY_THEMSELVES = f"({OURS} AND NOT (type LIKE 'manual.%%' AND payload ? 'operation'))"


@dataclass(frozen=True, slots=True)
class Source:
    """Where entries of a kind are: their `rows`, by `id` and `at`, and the `data` of one of them,
    which is put together for those alone that a page shows."""

    data: str
    rows: str


SOURCES: Mapping[str, Source] = {
    Kind.EVENT: Source(
        """'type', type, 'event', stripe_event_id, 'status', status,
        'late', extract(epoch FROM received_at - stripe_created_at), 'object', payload->>'id'""",
        f"""
        SELECT e.id, e.created_at AS at, e.type, stripe_event_id, e.payload, i.status,
               i.received_at, i.stripe_created_at
        FROM billing_events e LEFT JOIN billing_inbox i USING (stripe_event_id)
        WHERE e.id IN ({_log("event", f"NOT {OURS}")})
        """,  # noqa: S608
    ),
    Kind.DELIVERY: Source(
        """'type', type, 'event', stripe_event_id, 'status', status, 'reason', reason,
        'attempts', attempts""",
        """
        SELECT id, stripe_created_at AS at, type, stripe_event_id, status, reason, attempts
        FROM billing_inbox
        WHERE customer_id = ANY(%(customers)s)
          AND status IN ('pending', 'failed', 'dead', 'set_aside')
        """,
    ),
    Kind.LEDGER: Source(
        """'kind', kind, 'delta', delta, 'balance', balance_after, 'actor', actor,
        'reason', reason""",
        """
        SELECT id, created_at AS at, kind, delta, balance_after, actor, reason
        FROM credit_entries WHERE user_id = ANY(%(users)s)
        """,
    ),
    Kind.CLAIM: Source(
        """'lead', lead_id, 'status', status, 'spent', credits_spent,
        'reason', failure_reason""",
        """
        SELECT id, claimed_at AS at, lead_id, status, credits_spent, failure_reason
        FROM lead_claims WHERE user_id = ANY(%(users)s)
        """,
    ),
    # One array, which PostgreSQL sorts and goes through the index with once. As a join, it goes
    # down the index for each of a customer's thousands of events.
    Kind.OPERATION: Source(
        """'name', name, 'status', status, 'actor', actor, 'reason', reason,
        'said', result->>'summary'""",
        """
        SELECT id, created_at AS at, name, status, actor, reason, result FROM billing_operations
        WHERE subject = ANY(ARRAY(
            SELECT unnest(%(subjects)s::text[])
            UNION ALL SELECT stripe_event_id FROM billing_inbox
            WHERE customer_id = ANY(%(customers)s)))
        """,
    ),
    Kind.NOTE: Source(
        "'actor', actor, 'text', text, 'withdrawn', withdrawn_by",
        """
        SELECT id, created_at AS at, actor, text, withdrawn_by FROM billing_notes
        WHERE stripe_customer_id = ANY(%(customers)s) OR user_id = ANY(%(users)s)
        """,
    ),
    Kind.AUDIT: Source(
        "'type', type, 'actor', actor, 'summary', payload->>'summary'",
        f"""
        SELECT id, created_at AS at, type, actor, payload FROM billing_events
        WHERE id IN ({_log("audit", BY_THEMSELVES)})
        """,  # noqa: S608
    ),
}

Words = tuple[str, str, str]  # title, detail, tone


def _event(data: Mapping[str, Any]) -> Words:
    late = data["late"]
    delay = timedelta(seconds=float(late or 0))
    arrived = f"It arrived {in_words(delay)} late." if delay > LATE else ""
    status = str(data["status"] or "synced").replace("_", " ")
    return data["type"], f"{data['event']}, {status}. {arrived}".strip(), "warning" * bool(arrived)


def in_words(span: timedelta) -> str:
    """A span of time in its largest unit: `3 hours`."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return timesince(start, start + span, depth=1).replace("\xa0", " ")


def _delivery(data: Mapping[str, Any]) -> Words:
    status = str(InboxEvent.Status(data["status"]).label)
    tone = "info" if data["status"] == InboxEvent.Status.PENDING else "danger"
    times = data["attempts"]
    tries = f" after {times} attempt{'' if times == 1 else 's'}" if times else ""
    return data["type"], f"{data['event']}: {status}{tries}. {data['reason']}".strip(), tone


def _ledger(data: Mapping[str, Any]) -> Words:
    kind = str(CreditEntry.Kind(data["kind"]).label)
    reason = f"{data['reason'].rstrip('.')}. " if data["reason"] else ""
    tone = "success" if data["delta"] > 0 else "info"
    title = f"{kind}: {data['delta']:+,} credits, {data['balance']:,} then"
    return title, f"{reason}By {data['actor']}.", tone


def _claim(data: Mapping[str, Any]) -> Words:
    failed = data["status"] == LeadClaim.Status.FAILED
    title = f"Lead {data['lead'] or 'unknown'} {data['status']}, {data['spent']:,} credits"
    return title, data["reason"], "danger" if failed else ""


def _operation(data: Mapping[str, Any]) -> Words:
    title = f"{data['name'].replace('_', ' ').capitalize()}, {data['status']}"
    said = f" {data['said']}" if data["said"] else ""
    tone = "danger" if data["status"] == OperationRecord.Status.FAILED else "success"
    return title, f"By {data['actor']}: {data['reason'].rstrip('.')}.{said}", tone


def _note(data: Mapping[str, Any]) -> Words:
    by = f"Note by {data['actor']}"
    return (f"{by}, withdrawn" if data["withdrawn"] else by), data["text"], ""


def _audit(data: Mapping[str, Any]) -> Words:
    tone = "warning" if data["type"].startswith("sql.") else ""
    return data["type"], f"By {data['actor']}. {data['summary'] or ''}".strip(), tone


IN_WORDS: Mapping[str, tuple[Callable[[Mapping[str, Any]], Words], type[Any]]] = {
    Kind.EVENT: (_event, BillingEvent),
    Kind.DELIVERY: (_delivery, InboxEvent),
    Kind.LEDGER: (_ledger, CreditEntry),
    Kind.CLAIM: (_claim, LeadClaim),
    Kind.OPERATION: (_operation, OperationRecord),
    Kind.NOTE: (_note, Note),
    Kind.AUDIT: (_audit, BillingEvent),
}


def _entry(kind: str, id_: int, at: datetime, data: Mapping[str, Any]) -> Entry:
    words, model = IN_WORDS[kind]
    title, detail, tone = words(data)
    return Entry(Place(at, kind, id_), title, detail, tone, model)

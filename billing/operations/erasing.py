"""Erasing a person: who it is, what is stored about them, and taking it out, all by SQL.

What is Stripe's is redacted by the rules of the database's own function `billing_redacted`, which
the triggers apply to what arrives later as well. What people wrote is searched for the words that
these rules have found. Amounts, dates and ids stay: the books must balance.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection
from django.db.models import Q

from billing.models import BillingCustomer, Note
from billing.models.audit import CONTENT, IS_AUDIT
from billing.models.erasure import ERASED
from billing.operations.base import OperationError
from billing.privacy import COLUMNS, Kind, columns_of

NEVER = r"\Zx"  # a pattern that nothing matches, not even an empty text
LEAST = 3  # letters of a word that is searched for
TELLING = 8  # characters of a value that tells of nobody else wherever it stands
NAMES = ("name", "line1", "owner")  # what a key ends with
EVENTS, LEDGER, INCIDENTS = "billing_events", "credit_entries", "billing_incident_entries"
APPEND_ONLY = (EVENTS, LEDGER, INCIDENTS)

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """One person: their customers and user, all ids at Stripe, and the words to take out.

    `everywhere` is a pattern of what tells of nobody else, `theirs` one for rows that name them;
    `texts` are the notes about them, word for word.
    """

    customers: list[str]
    user_id: str | None
    ids: list[str]
    everywhere: str = ""
    theirs: str = ""
    texts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Erased:
    """How many rows of each table were changed, and which links of the audit log.

    Each of `links` says that an event of the log was redacted: its place in the chain, the hashes
    before it and of it, and the SHA-256 of what it says now (billing.diagnosis.audit).
    """

    rows: dict[str, int] = field(default_factory=dict)
    links: list[dict[str, Any]] = field(default_factory=list)

    def add(self, table: str, count: int) -> None:
        if count:
            self.rows[table] = self.rows.get(table, 0) + count


@dataclass(frozen=True, slots=True)
class Place:
    """Rows of one table that hold what Stripe says of people: which, and what they say."""

    table: str
    where: str
    values: str


def _of_ids(*columns: str) -> str:
    return " OR ".join(f"{column} = ANY(%(ids)s)" for column in columns)


def _of_object(doc: str) -> str:
    keys = ("id", "customer", "payment_intent", "charge", "source")
    return _of_ids(*(f"{doc}->>'{key}'" for key in keys), f"{doc}->'customer'->>'id'")


def _own(table: str, where: str, *columns: str) -> Place:
    values = ", ".join(f"('{column}', t.{column})" for column in columns)
    return Place(table, where, f"(VALUES {values}) AS p(key, value)")


_EVENT = "stripe_data->'data'->'object'"
_BODY = "billing_personal(billing_body(t.body)) AS p"
PLACES = (
    _own("billing_customers", _of_ids("stripe_customer_id"), "email", "name"),
    _own("billing_purchases", _of_ids("stripe_customer_id", "source"), "email"),
    _own("billing_payments", _of_ids("stripe_customer_id", "stripe_charge_id"), "last4"),
    _own("billing_balance_transactions", _of_ids("source_id", "charge_id"), "description"),
    Place("billing_inbox", _of_ids("customer_id", "object_id"), _BODY),
    Place("billing_missed_events", _of_ids("customer_id", "object_id"), _BODY),
    Place("billing_reconciliation_suspects", _of_ids("stripe_customer_id", "object_id"),
          "billing_personal(t.event) AS p"),
    Place("djstripe_event", _of_object(_EVENT), "billing_personal(t.stripe_data) AS p"),
    *(
        Place(table, _of_object("stripe_data"), "billing_personal(t.stripe_data) AS p")
        for table in columns_of(Kind.STRIPE)
        if table.startswith("djstripe_") and table != "djstripe_event"
    ),
)  # fmt: skip
_LOGGED = _of_ids("payload->>'customer'", "payload->>'id'")
LOGGED = Place(
    EVENTS,
    f"stripe_event_id IS NOT NULL AND ({_LOGGED})",
    "billing_personal(t.payload) AS p",
)


def find(target: str) -> Person:
    """Who is meant by a customer's id at Stripe, or a user's id of ours.

    Raises OperationError for one of whom nothing is here.
    """
    found = BillingCustomer.objects.filter(Q(stripe_customer_id=target) | Q(user_id=target))
    users = {row.user_id for row in found if row.user_id}
    theirs = BillingCustomer.objects.filter(user_id__in=users) | found
    customers = sorted(set(theirs.values_list("stripe_customer_id", flat=True)))
    if not customers:
        raise OperationError(
            f"Nobody is here as {target}: give the customer's id at Stripe, cus_…, or our user's."
        )
    user_id = next(iter(users), None)
    ids = _object_ids(customers, user_id)
    notes = Note.objects.filter(Q(stripe_customer_id__in=customers) | Q(user_id__in=users))
    everywhere, here = _words(ids)
    return Person(
        customers,
        user_id,
        ids,
        _pattern(everywhere),
        _pattern(everywhere | here),
        sorted({n.text for n in notes if n.text != ERASED}, key=len, reverse=True),
    )


def is_here(customer_id: str) -> bool:
    return BillingCustomer.objects.filter(stripe_customer_id=customer_id).exists()


def _object_ids(customers: list[str], user_id: str | None) -> list[str]:
    """All ids at Stripe that are about them and not about anybody else."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH emails AS (
                SELECT upper(email) AS email FROM billing_customers
                WHERE stripe_customer_id = ANY(%(ids)s) AND email <> ''),
            bought AS (
                SELECT source, payment_intent_id FROM billing_purchases
                WHERE stripe_customer_id = ANY(%(ids)s) OR user_id = %(user)s
                   OR (user_id IS NULL AND stripe_customer_id = ''
                       AND upper(email) IN (SELECT email FROM emails))),
            paid AS (
                SELECT stripe_charge_id, payment_intent_id FROM billing_payments
                WHERE stripe_customer_id = ANY(%(ids)s)
                   OR payment_intent_id IN (SELECT payment_intent_id FROM bought)),
            taken AS (
                SELECT stripe_id FROM billing_payment_reversals
                WHERE charge_id IN (SELECT stripe_charge_id FROM paid)
                   OR payment_intent_id IN (SELECT payment_intent_id FROM paid))
            SELECT id FROM (
                SELECT unnest(%(ids)s::text[]) UNION SELECT source FROM bought
                UNION SELECT payment_intent_id FROM bought
                UNION SELECT payment_intent_id FROM paid
                UNION SELECT stripe_charge_id FROM paid UNION SELECT stripe_id FROM taken
                UNION SELECT id FROM djstripe_paymentmethod
                      WHERE stripe_data->>'customer' = ANY(%(ids)s)
                UNION SELECT id FROM djstripe_card WHERE stripe_data->>'customer' = ANY(%(ids)s)
            ) AS known(id) WHERE id <> '' ORDER BY id
            """,
            {"ids": customers, "user": user_id},
        )
        return [id_ for (id_,) in cursor.fetchall()]


def _words(ids: list[str]) -> tuple[set[str], set[str]]:
    """What is stored about them, as texts: those that tell of nobody else, and the others."""
    everywhere, here = set[str](), set[str]()
    for key, value in _values(ids):
        text = " ".join(value.split())
        if len(text) < LEAST or text == ERASED:
            continue
        is_name = key.endswith(NAMES)
        tells = "@" in text or "phone" in key or key == "fingerprint"
        if tells or (is_name and len(text) >= TELLING and not text.isalpha()):
            everywhere.add(text)
        elif is_name or key == "city" or len(text) >= TELLING or re.search(r"\d", text):
            here.add(text)
        if is_name:
            here |= {word for word in re.findall(r"\w+", text) if len(word) >= LEAST}
    shared = _shared(everywhere, ids)
    return everywhere - shared, here | shared


def _values(ids: list[str]) -> Iterator[tuple[str, str]]:
    with connection.cursor() as cursor:
        for place in (*PLACES, LOGGED):
            cursor.execute(
                f"SELECT DISTINCT p.key, p.value FROM {place.table} t, LATERAL {place.values}"  # noqa: S608
                f" WHERE ({place.where}) AND p.value <> ''",
                {"ids": ids},
            )
            yield from cursor.fetchall()


def _shared(words: set[str], ids: list[str]) -> set[str]:
    """Those that are somebody else's email or name as well."""
    upper = {word.upper(): word for word in words}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT upper(email) FROM billing_customers"
            " WHERE upper(email) = ANY(%(words)s) AND NOT stripe_customer_id = ANY(%(ids)s)"
            " UNION SELECT upper(name) FROM billing_customers"
            " WHERE upper(name) = ANY(%(words)s) AND NOT stripe_customer_id = ANY(%(ids)s)",
            {"words": list(upper), "ids": ids},
        )
        return {upper[found] for (found,) in cursor.fetchall() if found in upper}


def _pattern(words: Iterable[str]) -> str:
    """A regular expression of PostgreSQL's that finds them as whole words, in any case."""
    parts = []
    for word in sorted(words, key=lambda one: (-len(one), one)):
        escaped = re.sub(r"([^\w\s])", r"\\\1", word).replace(" ", r"\s+")
        begins, ends = (r"\y" if edge.isalnum() else "" for edge in (word[0], word[-1]))
        parts.append(f"{begins}{escaped}{ends}")
    return "|".join(parts)


def erase(person: Person, key: str) -> Erased:
    """Takes all of it out. Needs an open transaction, and an actor (`acting_as`)."""
    done = Erased()
    params: Params = {"ids": person.ids, "key": key}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_erased (object_id, operation_key)"
            " SELECT unnest(%(ids)s::text[]), %(key)s ON CONFLICT DO NOTHING",
            params,
        )
    _redact(params, done)
    _empty_notes(person, done)
    _sweep(person, done)
    return done


def _redact(params: Params, done: Erased) -> None:
    """What is Stripe's. The tables' own triggers redact it, once they know the ids."""
    with connection.cursor() as cursor:
        for place in PLACES:
            first = next(iter(COLUMNS[place.table]))
            cursor.execute(
                f"UPDATE {place.table} t SET {first} = {first} WHERE ({place.where})"  # noqa: S608
                f" AND EXISTS (SELECT FROM {place.values}"
                f" WHERE p.value NOT IN ('', '{ERASED}'))",
                params,
            )
            done.add(place.table, cursor.rowcount)
        cursor.execute(
            f"SELECT billing_erase('billing_events.payload', id, billing_redacted(payload))"  # noqa: S608
            f" FROM billing_events WHERE {LOGGED.where} AND billing_redacted(payload) <> payload",
            params,
        )
        done.add(EVENTS, cursor.rowcount)


def _empty_notes(person: Person, done: Erased) -> None:
    whose = Q(stripe_customer_id__in=person.customers)
    whose |= Q(user_id=person.user_id) if person.user_id else Q()
    done.add("billing_notes", Note.objects.filter(whose).exclude(text=ERASED).update(text=ERASED))


def _sweep(person: Person, done: Erased) -> None:
    """What people wrote, and our own JSON: their words, wherever they are."""
    params = {
        "everywhere": person.everywhere or NEVER,
        "theirs": person.theirs or NEVER,
        "texts": person.texts,
        "named": _named(person),
        "user": person.user_id or "",
    }
    types = _types()
    for table, columns in _searched().items():
        kept = [column for column in columns if types.get((table, column))]
        if kept:
            _sweep_table(table, kept, params, done)
    _sweep_audit(params, done)


def _searched() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for kind in (Kind.TEXT, Kind.UNUSED):
        for table, columns in columns_of(kind).items():
            found.setdefault(table, []).extend(columns)
    return found


def _types() -> Mapping[tuple[str, str], str]:
    """The columns that are text or jsonb, and so can be searched."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns"
            " WHERE table_schema = current_schema()"
            " AND data_type IN ('text', 'character varying', 'jsonb')"
        )
        return {(table, column): kind for table, column, kind in cursor.fetchall()}


def _named(person: Person) -> str:
    """A pattern of the ids by which a row may name them, of subscriptions and invoices, too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stripe_subscription_id FROM billing_subscriptions"
            " WHERE stripe_customer_id = ANY(%(ids)s)"
            " UNION SELECT stripe_invoice_id FROM billing_invoices"
            " WHERE stripe_customer_id = ANY(%(ids)s)",
            {"ids": person.customers},
        )
        ids = [*person.ids, *(found for (found,) in cursor.fetchall())]
    user = re.sub(r"([^\w\s])", r"\\\1", person.user_id or "")
    return rf"\y({'|'.join(ids)})\y" + (rf'|"user_id": "{user}"' if user else "")


def _sweep_table(table: str, columns: list[str], params: Params, done: Erased) -> None:
    every = [*columns, *(c for c, kind in COLUMNS[table].items() if kind == Kind.ID)]
    text = f"concat_ws(' ', {', '.join(f't.{column}::text' for column in every)})"
    named = [f"{text} ~ %(named)s"]
    named += [f"t.{c} = %(user)s" for c in ("user_id", "subject") if c in COLUMNS[table]]
    for pattern, where in (("everywhere", f"{text} ~* %(everywhere)s"),
                           ("theirs", " OR ".join(named))):  # fmt: skip
        new = [f"billing_scrubbed(t.{c}, %({pattern})s, %(texts)s)" for c in columns]
        changes = f"({where}) AND ROW({', '.join(new)}) IS DISTINCT FROM ROW("
        changes += f"{', '.join(f't.{c}' for c in columns)})"
        with connection.cursor() as cursor:
            if table in APPEND_ONLY:
                parts = ", ".join(
                    f"billing_erase('{table}.{c}', t.id, to_jsonb({one}))"
                    for c, one in zip(columns, new, strict=True)
                )
                cursor.execute(f"SELECT {parts} FROM {table} t WHERE {changes}", params)  # noqa: S608
            else:
                setting = ", ".join(f"{c} = {one}" for c, one in zip(columns, new, strict=True))
                cursor.execute(f"UPDATE {table} t SET {setting} WHERE {changes}", params)  # noqa: S608
            done.add(table, cursor.rowcount)


# A row that raw SQL changed stands in its event as it was, with values that nobody else knows.
_AUDITED = """
    CASE WHEN type LIKE 'sql.%%' AND {named} THEN payload || jsonb_build_object(
        'before', billing_redacted(payload->'before'), 'after', billing_redacted(payload->'after'))
    ELSE payload END
"""


def _sweep_audit(params: Params, done: Erased) -> None:
    """The audit log's own events, each with what proves that only this was changed in it."""
    named = "(e.payload::text ~ %(named)s OR e.payload->>'user_id' = %(user)s)"
    pattern = f"CASE WHEN {named} THEN %(theirs)s ELSE %(everywhere)s END"
    said = _AUDITED.format(named=named)
    is_audit = IS_AUDIT.replace("%", "%%")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH new AS MATERIALIZED (
                SELECT id, payload, billing_scrubbed({said}, {pattern}, %(texts)s) AS said
                FROM billing_events e
                WHERE {is_audit} AND ({named} OR e.payload::text ~* %(everywhere)s))
            SELECT id, billing_erase('billing_events.payload', id, said)
            FROM new WHERE said IS DISTINCT FROM payload
            """,  # noqa: S608  (the parts stand above)
            params,
        )
        changed = [event_id for event_id, _ in cursor.fetchall()]
        done.add("billing_events", len(changed))
        cursor.execute(
            f"""
            SELECT c.position, c.event_id, coalesce(b.hash, ''), c.hash,
                encode(sha256(convert_to({CONTENT}, 'UTF8')), 'hex')
            FROM billing_audit_chain c JOIN billing_events e ON e.id = c.event_id
            LEFT JOIN billing_audit_chain b ON b.position = c.position - 1
            WHERE c.event_id = ANY(%s) ORDER BY c.position
            """,  # noqa: S608  (the expression stands in billing.models.audit)
            [changed],
        )
        names = ("position", "event", "before", "hash", "content")
        done.links += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def scrubbed(text: str, person: Person) -> str:
    """What somebody typed about them, without their words."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_scrubbed(%s::text, %s, %s)", [text, person.theirs, person.texts]
        )
        return str(cursor.fetchone()[0])

"""All of an adoption in order. Each step is done once, and can be killed at any moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from billing.adoption import (
    altering,
    filling,
    indexing,
    journal,
    looking,
    moving,
    opening,
    triggers,
    undoing,
)
from billing.adoption.catalog import quoted, theirs
from billing.adoption.looking import Seen
from billing.adoption.mapping import Mapped, TableMap, Way
from billing.database import held, rows
from billing.models import Adoption, BillingEvent, LeadCredits, acting_as
from billing.models.audit import CONTENT, IS_AUDIT

Tell = Callable[[str], None]
STAYS_WRITABLE = "billing_events: stays writable"
MOST_TRIES = 5  # for an index that new duplicates have spoiled

# Defaults that are not what the rows of before should have, and what they get instead.
OF_BEFORE: Mapping[tuple[type[Any], str], str] = {
    (BillingEvent, "recorded_at"): "now()",
    (BillingEvent, "actor"): "'application'::text",
}


class RefusedError(Exception):
    """Something is in the way that only people can take out of it. The text says what."""


@dataclass(slots=True)
class Applied:
    """What an adoption came to."""

    tables: list[str] = field(default_factory=list)
    opened: int = 0
    set_apart: int = 0
    linked: int = 0


def apply(tell: Tell) -> Applied:
    """Adopts what the application has, or goes on where an earlier try was.

    Raises RefusedError before anything is written, BusyTableError where a lock can't be had.
    """
    with held("adoption", lambda: RefusedError("Somebody else adopts this database just now.")):
        seen = looking.look()
        _refuse(seen)
        begins = not journal.exists()
        journal.begin()
        # Decided once: filling columns below counts as changes of rows, too.
        events = next((each for each in seen if each.mapping.model is BillingEvent), None)
        if begins and events and events.is_rewritten:
            journal.note(STAYS_WRITABLE)
        tell("The migrations run in our own schema.")
        moving.note_what_is_missing()
        moving.migrate(each.name for each in seen)
        _settle_functions()
        done = Applied([each.name for each in seen])
        with moving.on_path("public", journal.schema()):
            for each in seen:
                done.set_apart += _shape(each, tell)
        with moving.on_path(journal.schema(), "public"):
            _record(seen, tell)
            done.opened = opening.open_all(tell)
            done.linked = _link(tell)
            _finish(seen, done)
        return done


def _refuse(seen: list[Seen]) -> None:
    found = [*looking.of_all(), *(each for one in seen for each in one.obstacles)]
    refusing = [each for each in found if each.refuses]
    if not seen:
        raise RefusedError("There is nothing to adopt: the application has none of the tables.")
    if refusing:
        said = " ".join(
            f"{each.table}: {each.said} {each.answer}".lstrip(": ") for each in refusing
        )
        raise RefusedError(f"Nothing was done. {said}")


def _settle_functions() -> None:
    """Functions that the migrations made look for names where they now are."""
    with connection.cursor() as cursor:
        for row in rows(
            "SELECT oid::regprocedure::text AS signature FROM pg_proc"
            " WHERE pronamespace = %s::regnamespace AND proname = 'claim_lead'",
            [quoted(journal.schema())],
        ):
            cursor.execute(
                f"ALTER FUNCTION {row['signature']} SET search_path = {journal.path()}, pg_temp"
            )


# --- The shape ------------------------------------------------------------------------------


def _shape(seen: Seen, tell: Tell) -> int:
    """Gives a table what it lacks, and shows it in our schema; how many rows were set apart."""
    tell(f"{seen.name}: columns.")
    _add_columns(looking.again(seen))
    apart = _fill(seen, tell)
    tell(f"{seen.name}: indexes.")
    _index(seen, tell)
    one = looking.again(seen)
    indexing.constrain(one, has_negatives=seen.has_negatives)
    moving.show(one)
    return apart


def _fill(seen: Seen, tell: Tell) -> int:
    """Fills the companions that there are by now; how many rows were set apart."""
    one = looking.again(seen)
    if in_step := triggers.keep_in_step(one):
        triggers.put(*in_step)
    filling.fill(one, tell)
    return filling.set_apart(one)


def _index(seen: Seen, tell: Tell) -> None:
    """Where the application wrote a key once more meanwhile, one of the two is set apart."""
    for attempt in range(MOST_TRIES):
        try:
            indexing.index(looking.again(seen))
            return
        except Exception as error:
            is_double = getattr(error.__cause__, "sqlstate", "") == "23505"
            if not is_double or attempt == MOST_TRIES - 1:
                raise
            tell(f"{seen.name}: the application wrote a key twice meanwhile.")
            _add_columns(looking.again(seen, counted=True))
            _fill(seen, tell)


def _add_columns(one: TableMap) -> None:
    """Columns and defaults: no row is touched, since a constant default is kept by the catalog."""
    table = theirs(one.table.name)
    statements: list[str] = []
    undo: list[tuple[str, str]] = []
    for each in one.of(Way.ADDED):
        statements += _added(one, each, table)
        undo.append((f"column {each.column}", _drop(table, each.column)))
    for each in one.of(Way.COMPANION):
        if each.column in one.table.columns:
            continue
        if each.name == "id":
            statements.append(f"CREATE SEQUENCE IF NOT EXISTS {filling.sequence(one)}")
        statements.append(
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted(each.column)} {each.type}"
        )
        undo.append((f"column {each.column}", _drop(table, each.column)))
    for each in one.columns:
        default = _missing_default(each)
        if default:
            name = quoted(each.name)
            statements.append(f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {default}")
            undo.append(
                (f"default {each.name}", f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT")
            )
    if statements:
        altering.briefly(
            statements,
            [(f"{one.table.name}: {what}", back) for what, back in undo],
        )


def _drop(table: str, column: str) -> str:
    return f"ALTER TABLE {table} DROP COLUMN IF EXISTS {quoted(column)}"


def _added(one: TableMap, each: Mapped, table: str) -> list[str]:
    add = f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {quoted(each.column)} {each.type}"
    if not each.default:
        return [add]
    before = OF_BEFORE.get((one.model, each.name))
    add = f"{add} DEFAULT {before or each.default} NOT NULL"
    alter = f"ALTER TABLE {table} ALTER COLUMN {quoted(each.column)} SET DEFAULT {each.default}"
    return [add, alter] if before else [add]


def _missing_default(each: Mapped) -> str:
    """Their default where they have none: ours; for an id that the application makes up, any."""
    if each.sets_default:
        return each.default
    if each.name == "id" and each.theirs and not each.theirs.default and each.theirs.not_null:
        made_up = {"uuid": "gen_random_uuid()", "text": "gen_random_uuid()::text"}
        return made_up.get(each.theirs.type, "")
    return ""


# --- The books ------------------------------------------------------------------------------


def _record(seen: list[Seen], tell: Tell) -> None:
    """Puts the triggers on: from the moment that `lead_credits` has them, every change is told."""
    tell("Triggers.")
    append_only = not journal.has(STAYS_WRITABLE)
    for each in seen:
        one = looking.again(each)
        wanted = triggers.record(one, append_only=append_only)
        if one.model is not LeadCredits:
            triggers.put(*wanted)
            continue
        if each.has_negatives:
            wanted.append(triggers.guard_negatives(one))
        else:
            triggers.drop(one, triggers.NOT_BELOW)
        # Those who are not opened yet must be before the first change that is recorded.
        begins = "INSERT INTO billing_adoption (id) VALUES (1) ON CONFLICT DO NOTHING"
        triggers.put(triggers.open_first(one), *wanted, more=[begins])


def _link(tell: Tell) -> int:
    """Links the audit events that the application wrote before into the chain; how many.

    A thousand at a time: the chain's lock keeps all others waiting who write to it.
    """
    linked = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('billing.audit_chain', 0))"
            )
            cursor.execute(f"SELECT count(*) FROM ({_UNLINKED}) AS e")  # noqa: S608
            found = int(cursor.fetchone()[0])
            if not found:
                return linked
            cursor.execute(_LINK)
        linked += found
        tell(f"{linked:,} older audit events are linked.")


_UNLINKED = f"""
    SELECT * FROM billing_events
    WHERE {IS_AUDIT} AND id NOT IN (SELECT event_id FROM billing_audit_chain)
    ORDER BY id LIMIT 1000
"""  # noqa: S608
_LINK = f"""
    DO $$
    DECLARE e record; place bigint; last text;
    BEGIN
        SELECT position, hash INTO place, last
        FROM billing_audit_chain ORDER BY position DESC LIMIT 1;
        place := coalesce(place, 0); last := coalesce(last, '');
        FOR e IN {_UNLINKED} LOOP
            place := place + 1;
            last := encode(sha256(convert_to(last || {CONTENT}, 'UTF8')), 'hex');
            INSERT INTO billing_audit_chain (position, event_id, hash) VALUES (place, e.id, last);
        END LOOP;
    END $$
"""  # noqa: S608  (the expressions stand in billing.models.audit)


def _finish(seen: list[Seen], done: Applied) -> None:
    """Everybody is opened: what opened them is not needed any more. An event tells of it, once."""
    for each in seen:
        if each.mapping.model is LeadCredits:
            triggers.drop(each.mapping, triggers.OPENING)
    with transaction.atomic(), acting_as("adoption"):
        if Adoption.objects.filter(finished_at=None).exists():
            Adoption.objects.update(finished_at=undoing.now(), tables=done.tables)
            BillingEvent.objects.create(
                type="system.adopted",
                payload={"tables": done.tables, "opening_entries": done.opened},
            )

"""An adoption taken back: what it added goes, and nothing else."""

from collections.abc import Callable
from datetime import datetime

from django.db import connection
from django.utils import timezone

from billing.adoption import journal, moving
from billing.adoption.altering import briefly
from billing.adoption.catalog import quoted
from billing.database import rows


class CannotUndoError(Exception):
    """The back office has written what would be lost. The text says what."""


# What would go with our schema, by what it is.
OWN = {
    "operations of people": "SELECT count(*) FROM billing_operations",
    "entries of the ledger, besides opening ones and the application's":
        "SELECT count(*) FROM credit_entries WHERE kind NOT IN ('opening', 'sql', 'claim')",
    "events of Stripe's received": "SELECT count(*) FROM billing_inbox",
    "findings": "SELECT count(*) FROM billing_findings",
}  # fmt: skip


def now() -> datetime:
    return timezone.now()


def own_rows() -> dict[str, int]:
    """What the back office has written, by what it is; only what there is."""
    found: dict[str, int] = {}
    with moving.on_path(journal.schema(), "public"), connection.cursor() as cursor:
        for what, query in OWN.items():
            table = query.split(" FROM ")[1].split()[0]
            if not rows("SELECT to_regclass(%s) IS NOT NULL AS it_is", [table])[0]["it_is"]:
                continue
            cursor.execute(query)
            if count := int(cursor.fetchone()[0]):
                found[what] = count
    return found


def undo(tell: Callable[[str], None], *, discard: bool = False) -> int:
    """Takes back every step, the last one first; how many there were.

    With `discard`, what the back office has written goes, too; else CannotUndoError says what that
    would be. A kill in the midst of it loses nothing: called again, it goes on.
    """
    if not journal.exists():
        raise CannotUndoError("This database was not adopted: there is nothing to take back.")
    if (own := own_rows()) and not discard and not journal.has(UNDOING):
        said = ", ".join(f"{count:,} {what}" for what, count in own.items())
        raise CannotUndoError(
            f"The back office has written {said}. Keep them: dump the schema {journal.schema()}"
            " (pg_dump --schema), then run adopt --undo --discard-history. The application's own"
            " tables keep all their rows."
        )
    journal.note(UNDOING)
    steps = journal.backwards()
    # Triggers first: until they are gone, they write to what the other steps take away.
    ordered = sorted(steps, key=lambda each: ": trigger " not in each["step"])
    has_begun_columns = False
    for each in ordered:
        if not has_begun_columns and ": trigger " not in each["step"]:
            has_begun_columns = True
            _forget_events(tell)
        tell(f"{each['step']} is taken back.")
        _take_back(each["step"], each["undo"])
    for name in (journal.shapes(), journal.schema()):
        briefly([f"DROP SCHEMA IF EXISTS {quoted(name)} CASCADE"])
    return len(steps)


UNDOING = "undoing"
AT_ONCE = 5_000  # events


def _forget_events(tell: Callable[[str], None]) -> None:
    """Takes what the triggers have logged of the application out of its own table of events.

    Nothing refuses it any more. What people and Stripe have told stays.
    """
    schema = journal.schema()
    view = quoted(schema, "billing_events")
    names = (f"{schema}.billing_events", f"{schema}.billing_adoption")
    if not all(rows("SELECT to_regclass(%s) IS NOT NULL AS it_is", [n])[0]["it_is"] for n in names):
        return
    statement = f"""
        DELETE FROM {view} WHERE id IN (
            SELECT id FROM {view}
            WHERE (type LIKE 'sql.%%' OR type LIKE 'system.%%')
              AND recorded_at >= (SELECT adopted_at FROM {quoted(schema, "billing_adoption")})
            ORDER BY id LIMIT %s)
    """  # noqa: S608
    with connection.cursor() as cursor:
        while True:
            cursor.execute(statement, [AT_ONCE])
            if not cursor.rowcount:
                return
            tell(f"{cursor.rowcount:,} events of the triggers are taken out.")


def _take_back(step: str, undo: str) -> None:
    if step == UNDOING:
        return
    if "CONCURRENTLY" in undo:  # not in a transaction
        with connection.cursor() as cursor:
            cursor.execute(undo)
        journal.forget(step)
        return
    drops_a_view = ": column " in step
    statements = [*_views_of(step)] if drops_a_view else []
    briefly([*statements, *([undo] if undo else [])], forget=step)


def _views_of(step: str) -> list[str]:
    """Our view would keep a column of theirs from going."""
    return [f"DROP VIEW IF EXISTS {quoted(journal.schema(), step.split(':')[0])}"]

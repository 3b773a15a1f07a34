"""What a database holds, in figures: taken of the original and of its copy, and compared."""

from collections.abc import Iterator, Mapping
from typing import Any

from psycopg import sql

from billing.recovery.backups.folder import AuditHead, BackupError, Contents, NewestEvent
from billing.recovery.backups.servers import Connection, telling

# Every table that a dump holds, with its key where that is one whole number.
TABLES = """
    SELECT n.nspname, c.relname, key.attname
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN LATERAL (
        SELECT a.attname
        FROM pg_index i
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
          AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) AS key ON true
    WHERE c.relkind = 'r' AND c.relpersistence <> 't'
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1, 2
"""
LEDGER = """
    SELECT e.delta, e.owed_delta, u.balance, u.owed
    FROM (SELECT coalesce(sum(delta), 0)::bigint AS delta,
                 coalesce(sum(owed_delta), 0)::bigint AS owed_delta FROM credit_entries) AS e
    CROSS JOIN (SELECT coalesce(sum(balance), 0)::bigint AS balance,
                       coalesce(sum(owed), 0)::bigint AS owed FROM lead_credits) AS u
"""
SUMS = ("delta", "owed_delta", "balance", "owed")
HEAD = "SELECT position, hash FROM billing_audit_chain ORDER BY position DESC LIMIT 1"
NEWEST = """
    SELECT stripe_event_id, stripe_created_at FROM billing_inbox
    ORDER BY stripe_created_at DESC, stripe_event_id DESC LIMIT 1
"""
MIGRATIONS = "SELECT app || '.' || name FROM django_migrations ORDER BY app, name"
OURS = {"credit_entries", "lead_credits", "billing_audit_chain", "billing_inbox"}


def measure(connection: Connection) -> Contents:
    """The figures of a database: counts and highest keys of all tables in one statement.

    In a transaction they are all of its snapshot. Raises BackupError.
    """
    with telling("Counting the database's rows"):
        tables = connection.execute(TABLES).fetchall()
        if not {name for schema, name, _ in tables if schema == "public"} >= OURS:
            raise BackupError("This is no database of the back office's: run manage.py migrate.")
        counted = connection.execute(sql.SQL(" UNION ALL ").join(map(_count, tables))).fetchall()
        sums = connection.execute(LEDGER).fetchone()
        head = connection.execute(HEAD).fetchone()
        event = connection.execute(NEWEST).fetchone()
        migrations = connection.execute(MIGRATIONS).fetchall()
    return Contents(
        rows={name: rows for name, rows, _ in sorted(counted)},
        highest={name: highest for name, _, highest in sorted(counted) if highest is not None},
        ledger=dict(zip(SUMS, sums or (), strict=True)),
        audit_head=AuditHead(*head) if head else None,
        newest_event=NewestEvent(*event) if event else None,
        migrations=[name for (name,) in migrations],
    )


def _count(table: tuple[str, str, str | None]) -> sql.Composable:
    schema, name, key = table
    return sql.SQL("SELECT {}, count(*), {}::bigint FROM {}").format(
        sql.Literal(name if schema == "public" else f"{schema}.{name}"),
        sql.SQL("max({})").format(sql.Identifier(key)) if key else sql.SQL("NULL"),
        sql.Identifier(schema, name),
    )


def differences(original: Contents, copy: Contents) -> list[str]:
    """What a copy has not as its original had it, each in a few words; none where it is whole."""
    return [
        *_numbers("rows in {}", original.rows, copy.rows),
        *_numbers("as highest id of {}", original.highest, copy.highest),
        *_numbers("as sum of {} in the ledger", original.ledger, copy.ledger),
        *_other("the audit chain's newest link", original.audit_head, copy.audit_head),
        *_other("the newest event", original.newest_event, copy.newest_event),
        *_other("the migrations", original.migrations, copy.migrations),
    ]


def _numbers(what: str, original: Mapping[str, int], copy: Mapping[str, int]) -> Iterator[str]:
    for name in sorted(original.keys() | copy.keys()):
        had, has = original.get(name), copy.get(name)
        if had != has:
            yield f"{_word(has)} {what.format(name)} instead of {_word(had)}"


def _word(number: int | None) -> str:
    return "none" if number is None else f"{number:,}"


def _other(what: str, original: Any, copy: Any) -> Iterator[str]:
    if original != copy:
        yield f"{what} is another one"

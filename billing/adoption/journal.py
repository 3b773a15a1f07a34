"""What an adoption has done, step by step, with the statement that takes each back.

A step is noted before it is done, or together with it, so that a kill at any moment leaves nothing
that nobody knows of. The table stands in our own schema, beside the migrations' own.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from billing.adoption.catalog import quoted
from billing.database import rows

TABLE = "adoption_steps"


def schema() -> str:
    """The schema that all of ours is in."""
    return settings.DATABASE_SCHEMA or "backoffice"


def shapes() -> str:
    """The schema in which the migrations go on making the adopted tables, which stay empty."""
    return f"{schema()}_shape"


def path(*first: str) -> str:
    """A search path: these schemas, then ours, then the application's."""
    return ", ".join(quoted(each) for each in (*first, schema(), "public"))


def begin() -> None:
    """Makes our schemas and the journal, where they are missing."""
    with connection.cursor() as cursor:
        for name in (schema(), shapes()):
            cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}")
        cursor.execute(
            f"""
            CREATE TABLE IF NOT EXISTS {_table()} (
                number bigint GENERATED ALWAYS AS IDENTITY, step text PRIMARY KEY,
                undo text NOT NULL, noted_at timestamptz NOT NULL DEFAULT now())
            """
        )


def exists() -> bool:
    """Whether this database was adopted, or has begun to be."""
    found = rows("SELECT to_regclass(%s) IS NOT NULL AS it_is", [_table()])
    return bool(found[0]["it_is"])


def note(step: str, undo: str = "") -> None:
    """Notes a step, once; `undo` is the SQL that takes it back, '' where the schema's end does."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {_table()} (step, undo) VALUES (%s, %s) ON CONFLICT DO NOTHING",  # noqa: S608
            [step, undo],
        )


def forget(step: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {_table()} WHERE step = %s", [step])  # noqa: S608


def has(step: str) -> bool:
    return bool(rows(f"SELECT FROM {_table()} WHERE step = %s", [step]))


def backwards() -> Sequence[dict[str, Any]]:
    """The steps, the last one first."""
    return rows(f"SELECT step, undo, noted_at FROM {_table()} ORDER BY number DESC")  # noqa: S608


def _table() -> str:
    return quoted(schema(), TABLE)

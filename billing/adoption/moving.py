"""Our tables in a schema of our own, and views of the application's among them.

The migrations run as on any database, with a search path on which the application's schema does
not stand. What they make is moved into our schema, but for the tables that the application has:
those stay empty in a schema beside it, so that later migrations find what they change.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from psycopg.errors import DependentObjectsStillExist

from billing.adoption import journal
from billing.adoption.altering import briefly
from billing.adoption.catalog import quoted, theirs
from billing.adoption.mapping import TableMap
from billing.database import rows

EXTENSION = "pg_trgm"


@contextmanager
def on_path(*schemas: str) -> Iterator[None]:
    """Names are looked for in these schemas meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        before = cursor.fetchone()[0]
        cursor.execute(f"SET search_path = {', '.join(quoted(each) for each in schemas)}")
    try:
        yield
    finally:
        if not connection.is_usable():
            connection.close()
        else:
            with connection.cursor() as cursor:
                cursor.execute(f"SET search_path = {before}")


def note_what_is_missing() -> None:
    """pg_trigger's helper is made in `public`, wherever the rest is: it goes if it came with us."""
    helper = "public._pgtrigger_should_ignore(name)"
    if not rows("SELECT to_regprocedure(%s) IS NOT NULL AS it_is", [helper])[0]["it_is"]:
        journal.note(f"function {helper}", f"DROP FUNCTION IF EXISTS {helper}")


def migrate(adopted: Iterable[str]) -> None:
    """Runs what is missing of the migrations; `adopted` are the tables that the application has."""
    with on_path(journal.schema()):
        MigrationRecorder(connection).ensure_schema()
    with on_path(journal.shapes(), journal.schema(), *_extension_schema()):
        call_command("migrate", interactive=False, verbosity=0, adopting=True)
    with transaction.atomic():
        _move(set(adopted))


def _extension_schema() -> list[str]:
    """The schema of the extension that our indexes need, made in ours where it is in none."""
    find = (
        "SELECT n.nspname AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " WHERE e.extname = %s"
    )
    found = rows(find, [EXTENSION])
    if not found:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE EXTENSION {EXTENSION} SCHEMA {quoted(journal.schema())}")
        return []
    return [row["name"] for row in found if row["name"] != journal.schema()]


def _move(adopted: set[str]) -> None:
    """Takes all that is new into our schema, the application's tables left out."""
    shapes, schema = journal.shapes(), quoted(journal.schema())
    statements = [
        f"ALTER TABLE {quoted(shapes, row['name'])} SET SCHEMA {schema}"
        for row in _relations(shapes)
        if row["name"] not in adopted
    ]
    statements += [
        f"ALTER TYPE {quoted(shapes, row['name'])} SET SCHEMA {schema}"
        for row in rows(
            "SELECT typname AS name FROM pg_type WHERE typnamespace = %s::regnamespace"
            " AND typtype IN ('e', 'd') ORDER BY typname",
            [quoted(shapes)],
        )
    ]
    with connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)
    for row in rows(
        "SELECT p.proname AS name, pg_get_function_identity_arguments(p.oid) AS arguments,"
        " CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END AS kind"
        " FROM pg_proc p WHERE p.pronamespace = %s::regnamespace ORDER BY 1, 2",
        [quoted(shapes)],
    ):
        _move_function(row["kind"], row["name"], row["arguments"])


def _relations(schema: str) -> Sequence[dict[str, str]]:
    """Tables, views, and sequences that belong to no column."""
    return rows(
        "SELECT relname AS name FROM pg_class c WHERE relnamespace = %s::regnamespace"
        " AND (relkind IN ('r', 'p', 'v') OR relkind = 'S' AND NOT EXISTS (SELECT FROM pg_depend d"
        "      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid"
        "        AND d.deptype IN ('a', 'i')))"
        " ORDER BY relname",
        [quoted(schema)],
    )


def _move_function(kind: str, name: str, arguments: str) -> None:
    """Where an older one stands in its place, that goes, unless something still needs it."""
    with connection.cursor() as cursor:
        old = f"{quoted(journal.schema(), name)}({arguments})"
        try:
            with transaction.atomic():
                cursor.execute(f"DROP {kind} IF EXISTS {old}")
                cursor.execute(
                    f"ALTER {kind} {quoted(journal.shapes(), name)}({arguments})"
                    f" SET SCHEMA {quoted(journal.schema())}"
                )
        except Exception as error:
            if not isinstance(error.__cause__, DependentObjectsStillExist):
                raise


def show(mapping: TableMap) -> None:
    """Puts the view of their table where our code looks for ours."""
    name = quoted(journal.schema(), mapping.table.name)
    query = mapping.shape(theirs(mapping.table.name))
    try:
        briefly([f"CREATE OR REPLACE VIEW {name} AS {query}"])
    except ProgrammingError:  # other columns than before: rights on it have to be given anew
        briefly([f"DROP VIEW IF EXISTS {name}", f"CREATE VIEW {name} AS {query}"])

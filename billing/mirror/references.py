"""Foreign keys between the mirror's rows, in whatever order the objects come.

A reference whose parent is not there stays NULL, and is noted in `billing_mirror_references`
until somebody writes the parent. So the rows in the end do not depend on the order.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django.db import transaction
from psycopg import sql

from billing.database import TEXTS, as_json, cursor, recordset
from billing.gateway.shapes import id_of
from billing.mirror.objects import Batch, Key, Row
from billing.mirror.tables import Link, Reference, tables

ACCOUNTS = "djstripe_account"


class MissingParentError(Exception):
    """An object cannot be stored before another one that dj-stripe's table requires."""

    def __init__(self, kind: str, object_id: str, child: str) -> None:
        super().__init__(f"{child} cannot be stored before {kind} {object_id} is.")
        self.kind = kind
        self.id = object_id


@dataclass(frozen=True, slots=True)
class Dangling:
    """A reference to what is not there yet."""

    row: Row
    reference: Reference
    parent_id: str


def settle(batch: Batch, account_id: str | None) -> list[Dangling]:
    """Empty the references of the batch that cannot be stored yet, and return those.

    Raises MissingParentError for one that must not be empty, and for the owner's account.
    """
    owner = {(ACCOUNTS, account_id)} if account_id else set()
    if without_existing(owner):
        raise MissingParentError("account", str(account_id), "What it owns")
    gone = absent(batch)
    drop_useless(batch, gone)
    for (kind, object_id), row in required(batch, gone).items():
        raise MissingParentError(kind, object_id, f"{row.table.kind} {row.id}")
    return take_out(batch, gone)


def absent(batch: Batch) -> set[Key]:
    """What the batch refers to, and neither contains nor finds in the database.

    Looked up once for a batch: what comes to be meanwhile is caught up with in the end.
    """
    if batch.absent is None:
        wanted = {
            (ref.parent, target)
            for row in batch.rows.values()
            for ref in row.table.references
            if (target := row.targets[ref.column])
        }
        batch.absent = without_existing(wanted - batch.present())
    return batch.absent


def drop_useless(batch: Batch, gone: set[Key]) -> None:
    """Leave out objects that were only expanded in others, and lack what they require."""
    while useless := [row for row in required(batch, gone).values() if row.rank == 0]:
        for row in useless:
            batch.rows.pop(row.key, None)
            gone.add(row.key)


def take_out(batch: Batch, gone: Collection[Key]) -> list[Dangling]:
    """Empty the references to what is gone, and return them.

    Of several that claim a parent which only one may have, the first one keeps it.
    """
    dangling = []
    present = batch.present()
    taken = set()
    for row in batch.in_order():
        for ref in row.table.references:
            target = row.targets[ref.column]
            claim = (row.table.name, ref.column, target)
            if target is None:
                continue
            if (ref.parent, target) in gone or (ref.late and (ref.parent, target) in present):
                dangling.append(Dangling(row, ref, target))
                row.targets[ref.column] = None
            elif ref.unique and claim in taken:
                row.targets[ref.column] = None
            taken.add(claim)
    return dangling


def without_existing(keys: set[Key]) -> set[Key]:
    """Those of `keys` that the database has no row of. One statement, or none."""
    if not keys:
        return set()
    by_table: dict[str, list[str]] = {}
    for table, object_id in sorted(keys):
        by_table.setdefault(table, []).append(object_id)
    query = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {}, id FROM {} WHERE id = ANY({})").format(
            sql.Literal(table), sql.Identifier(table), sql.SQL(TEXTS)
        )
        for table in by_table
    )
    with cursor() as bound:
        bound.execute(query.as_string(), [as_json(ids) for ids in by_table.values()])
        return keys - set(bound.fetchall())


def required(batch: Batch, gone: Collection[Key]) -> dict[tuple[str, str], Row]:
    """The kinds and ids of what must be there and is gone, each with a row that needs it."""
    kinds = {table.name: table.kind for table in tables().values()}
    return {
        (kinds[ref.parent], target): row
        for row in batch.rows.values()
        for ref in row.table.references
        if ref.required and (target := row.targets[ref.column]) and (ref.parent, target) in gone
    }


def forget(rows: Sequence[Row]) -> None:
    """Drop what was noted for rows that are about to be replaced."""
    children = [{"kind": row.table.kind, "id": row.id} for row in rows]
    with cursor() as bound:
        bound.execute(
            f"""
            DELETE FROM billing_mirror_references AS m
            USING {recordset({"kind": "text", "id": "text"})}
            WHERE m.child_kind = n.kind AND m.child_id = n.id
            """,  # noqa: S608  (the columns are named above)
            [as_json(children)],
        )


def remember(dangling: Sequence[Dangling]) -> None:
    """Note references of rows that were just written."""
    if not dangling:
        return
    columns = dict.fromkeys(("child_kind", "child_id", "field", "parent_id"), "text")
    rows = [
        {
            "child_kind": item.row.table.kind,
            "child_id": item.row.id,
            "field": item.reference.field,
            "parent_id": item.parent_id,
        }
        for item in dangling
    ]
    with cursor() as bound:
        bound.execute(
            "INSERT INTO billing_mirror_references (child_kind, child_id, field, parent_id)"  # noqa: S608
            f" SELECT child_kind, child_id, field, parent_id FROM {recordset(columns)}",
            [as_json(rows)],
        )


def fill(written: Collection[Key]) -> None:
    """Store the references that were waiting for rows that are there now."""
    links = [
        (ref.parent, table.kind, ref.field)
        for table in tables().values()
        for ref in table.references
    ]
    rows = [{"parent": parent, "id": object_id} for parent, object_id in sorted(written)]
    with cursor() as bound:
        bound.execute(
            f"""
            DELETE FROM billing_mirror_references AS m
            USING {recordset({"parent": "text", "id": "text"})}
            JOIN unnest(%s::text[], %s::text[], %s::text[]) AS link(parent, kind, field)
                USING (parent)
            WHERE m.parent_id = n.id AND m.child_kind = link.kind AND m.field = link.field
            RETURNING m.child_kind, m.field, m.child_id, m.parent_id
            """,  # noqa: S608  (the columns are named above)
            [as_json(rows), *map(list, zip(*links, strict=True))],
        )
        waiting: dict[tuple[str, str], dict[str, str]] = {}
        for kind, field, child_id, parent_id in bound.fetchall():
            waiting.setdefault((kind, field), {})[child_id] = parent_id
    for (kind, field), targets in sorted(waiting.items()):
        table = tables()[kind]
        reference = next(ref for ref in table.references if ref.field == field)
        fill_column(table.name, reference, targets)


def catch_up(written: Collection[Key], dangling: Collection[Dangling]) -> None:
    """Run after COMMIT, `fill` what two transactions at once have missed of each other.

    One that notes a missing parent and one that writes it cannot see each other; the later
    of the two sees the other here.
    """
    missed = {(item.reference.parent, item.parent_id) for item in dangling}
    there = set(written) | (missed - without_existing(missed))
    with cursor() as bound:
        bound.execute(
            "SELECT EXISTS (SELECT FROM billing_mirror_references"
            " JOIN json_array_elements_text(%s::json) AS t(id) ON parent_id = t.id)",
            [as_json({object_id for _, object_id in there})],
        )
        (waiting,) = bound.fetchone()
    if waiting:
        with transaction.atomic():
            fill(there)


def mend() -> None:
    """Fill every reference whose parent is there, such as a process that was killed left."""
    there: set[Key] = set()
    with cursor() as bound:
        for table in tables().values():
            for ref in table.references:
                statement = sql.SQL(
                    "SELECT p.id FROM billing_mirror_references AS m"
                    " JOIN {} AS p ON p.id = m.parent_id"
                    " WHERE m.child_kind = %s AND m.field = %s"
                ).format(sql.Identifier(ref.parent))
                bound.execute(statement.as_string(), [table.kind, ref.field])
                there |= {(ref.parent, object_id) for (object_id,) in bound.fetchall()}
    if there:
        with transaction.atomic():
            fill(there)


def fill_column(table: str, reference: Reference, targets: dict[str, str]) -> None:
    """Set one column of rows of `table`; `targets` are the parents' ids by the rows' ids.

    Where only one row may refer to a parent, the first one keeps it.
    """
    if reference.unique:
        first = {
            parent_id: child_id for child_id, parent_id in sorted(targets.items(), reverse=True)
        }
        targets = {child_id: parent_id for parent_id, child_id in first.items()}
    statement = sql.SQL(
        """
        UPDATE {table} AS c SET {column} = p.{key}, djstripe_updated = now()
        FROM unnest(%s::text[], %s::text[]) AS t(child_id, parent_id)
        JOIN {parent} AS p ON p.id = t.parent_id
        WHERE c.id = t.child_id
          AND NOT (%s AND EXISTS (SELECT FROM {table} AS o WHERE o.{column} = p.{key}))
        """
    ).format(
        table=sql.Identifier(table),
        column=sql.Identifier(reference.column),
        key=sql.Identifier(reference.key),
        parent=sql.Identifier(reference.parent),
    )
    with cursor() as bound:
        bound.execute(
            statement.as_string(), [list(targets), list(targets.values()), reference.unique]
        )


def relink(table: str, link: Link, rows: Sequence[Row]) -> None:
    """Make a many-to-many relation of these rows what their objects say. One statement."""
    pairs = [
        {"child_id": row.id, "parent_id": parent_id}
        for row in rows
        for item in row.data.get(link.field) or ()
        if (parent_id := id_of(item))
    ]
    statement = sql.SQL(
        """
        WITH wanted AS (
            SELECT c.djstripe_id AS child, p.djstripe_id AS parent
            FROM {pairs}
            JOIN {table} AS c ON c.id = n.child_id
            JOIN {parent} AS p ON p.id = n.parent_id
        ), gone AS (
            DELETE FROM {through} AS t USING {table} AS c
            WHERE t.{child_column} = c.djstripe_id AND c.id = ANY({children})
              AND (t.{child_column}, t.{parent_column}) NOT IN (SELECT child, parent FROM wanted)
        )
        INSERT INTO {through} ({child_column}, {parent_column})
        SELECT DISTINCT child, parent FROM wanted ON CONFLICT DO NOTHING
        """
    ).format(
        pairs=sql.SQL(recordset({"child_id": "text", "parent_id": "text"})),
        children=sql.SQL(TEXTS),
        table=sql.Identifier(table),
        parent=sql.Identifier(link.parent),
        through=sql.Identifier(link.through),
        child_column=sql.Identifier(link.child_column),
        parent_column=sql.Identifier(link.parent_column),
    )
    with cursor() as bound:
        bound.execute(statement.as_string(), [as_json(pairs), as_json(row.id for row in rows)])

"""Putting back the rows of the other tables, each as it was after its last change."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import Model

from billing.models import LeadClaim, OperationRecord
from billing.recovery.export import reading
from billing.recovery.export.store import Store
from billing.recovery.export.streams import RECORDS
from billing.recovery.export.tables import BY_TABLE, OURS, SAME
from billing.recovery.restored.entries import array, chunks, reserve

NAMED = 200  # operations, and rows that found no place, in the report

Image = tuple[dict[str, Any], str]


@dataclass(slots=True)
class PutBack:
    """How many rows of each table came back, which found no place, and what operations they tell.

    A row finds no place where its number was given to another one since the restore.
    """

    rows: Counter[str] = field(default_factory=Counter)
    no_place: list[dict[str, Any]] = field(default_factory=list)
    no_place_count: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    done: list[dict[str, Any]] = field(default_factory=list)


def put_back(store: Store, after: int) -> PutBack:
    """The images with numbers above `after`. Needs a transaction. Raises StoreError."""
    found = PutBack()
    for chunk in chunks(reading.texts(RECORDS.name, after, store)):
        newest = {_what(row): (row, line) for row, line in chunk}
        for table, model in BY_TABLE.items():
            images = [image for image in newest.values() if image[0]["table"] == table]
            if images:
                _put(model, images, found)
    return found


def _what(row: dict[str, Any]) -> tuple[Any, ...]:
    """What an image is of. A row of Stripe's that was deleted past the triggers and made again
    has two numbers and one key."""
    table, image = row["table"], row["row"]
    model = BY_TABLE.get(table)
    if model is None or model in OURS or image is None:
        return table, row["id"]
    return table, *(image[column] for column in SAME[model])


def _put(model: type[Model], images: list[Image], found: PutBack) -> None:
    """All of one table in one statement; one by one where that fails."""
    table = model._meta.db_table
    gone = [row["id"] for row, _ in images if row["row"] is None]
    kept = [image for image in images if image[0]["row"] is not None]
    if gone and model in OURS and not is_append_only(model):
        with connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table} WHERE id = ANY(%s)", [gone])  # noqa: S608
    reserve(table, max(row["id"] for row, _ in images))
    try:
        with transaction.atomic():
            placed = _insert(model, kept)
    except IntegrityError:
        placed = _one_by_one(model, kept)
    found.rows[table] += len(placed)
    left = [image for image in kept if image[0]["id"] not in placed]
    if model is LeadClaim:
        found.rows[table] += _renumbered(left)
        left = []
    found.no_place_count += len(left)
    found.no_place += [row for row, _ in left][: NAMED - len(found.no_place)]
    if model is OperationRecord:
        _tell_operations(kept, found)


def _one_by_one(model: type[Model], images: Iterable[Image]) -> set[int]:
    placed = set[int]()
    for image in images:
        try:
            with transaction.atomic():
                placed |= _insert(model, [image])
        except IntegrityError:
            continue
    return placed


def _insert(model: type[Model], images: list[Image]) -> set[int]:
    """Writes the images over the rows that they are of; the ids of those that found their row."""
    if not images:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_statement(model), [array(line for _, line in images)])
        return {id_ for (id_,) in cursor.fetchall()}


def _statement(model: type[Model]) -> str:
    """Ours keep their ids. Stripe's have their own keys, and may be here under another id."""
    table = model._meta.db_table
    is_ours = model in OURS
    columns = [str(field.column) for field in model._meta.concrete_fields]
    every = [column for column in columns if is_ours or column != "id"]
    same = SAME[model]
    others = [column for column in every if column != "id"]
    key = "id" if is_ours else ", ".join(same)
    updated = f"({', '.join(others)}) = ROW({', '.join(f'excluded.{c}' for c in others)})"
    is_same = (
        f"({', '.join(f't.{c}' for c in same)}) IS NOT DISTINCT FROM"
        f" ({', '.join(f'excluded.{c}' for c in same)})"
    )
    # A row that stays as it was written is there already, if it is the same.
    if is_append_only(model):
        updated = f"{others[0]} = excluded.{others[0]}"
        is_same = "false"
    listed = ", ".join(every)
    from_ = "jsonb_array_elements(%s::jsonb) AS l"
    record = f"jsonb_populate_record(NULL::{table}, l->'row') AS r"
    if is_ours:
        return (
            f"INSERT INTO {table} AS t ({listed})"  # noqa: S608  (columns of our own models)
            f" SELECT {', '.join(f'r.{c}' for c in every)} FROM {from_}, {record}"
            f" ON CONFLICT ({key}) DO UPDATE SET {updated} WHERE {is_same} RETURNING t.id"
        )
    keys = ", ".join(f"w.{c}" for c in same)
    given = ", ".join(f"g.{c}" for c in same)
    return (
        f"WITH given AS (SELECT (l->>'id')::bigint AS image_id, r.* FROM {from_}, {record}),"  # noqa: S608
        f" written AS (INSERT INTO {table} AS t ({listed})"
        f" SELECT {', '.join(f'g.{c}' for c in every)} FROM given g"
        f" ON CONFLICT ({key}) DO UPDATE SET {updated} RETURNING {key})"
        f" SELECT g.image_id FROM given g JOIN written w ON ({keys}) = ({given})"
    )


def _renumbered(claims: list[Image]) -> int:
    """Claims whose number the application gave to another one since: they take a new one."""
    if not claims:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO lead_claims
            SELECT r.* FROM jsonb_array_elements(%s::jsonb) AS l,
                jsonb_populate_record(NULL::lead_claims, jsonb_set(l->'row', '{id}',
                    to_jsonb(nextval(pg_get_serial_sequence('lead_claims', 'id'))))) AS r
            WHERE NOT EXISTS (
                SELECT FROM lead_claims c WHERE (c.user_id, c.lead_id, c.claimed_at)
                    = (r.user_id, r.lead_id, r.claimed_at))
            """,
            [array(line for _, line in claims)],
        )
        return int(cursor.rowcount)


def is_append_only(model: type[Model]) -> bool:
    triggers = getattr(model._meta, "triggers", [])
    return any(trigger.name == "append_only" for trigger in triggers)


def _tell_operations(images: Iterable[Image], found: PutBack) -> None:
    """What people had done, for the report."""
    for row, _ in images:
        image = row["row"]
        found.operations[f"{image['name']}, {image['status']}"] += 1
        if len(found.done) < NAMED:
            said = ("name", "subject", "actor", "status", "created_at")
            found.done.append({name: image[name] for name in said})

"""The objects in a batch: those that were observed, and those that stand inside them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson

from billing.gateway.observation import Observation, StripeDict
from billing.mirror.tables import LEGACY_TABLE, Table, tables

Key = tuple[str, str]
"""A table's name and a Stripe id."""

# Where an object has the list of those that are parts of it.
OWNED = {"subscription": "items", "invoice": "lines"}
# Where there are no objects, or only what may become of them.
OPAQUE = {"metadata", "pending_update"}

REFUSED_BY_JSONB = re.compile("[\x00\ud800-\udfff]")


@dataclass(slots=True)
class Row:
    """One object, on its way into its table.

    `targets` are the ids that go into the columns of its references, None where there is
    nothing to refer to. `rank`: 2 for an object that was observed itself, 1 for a part of
    one that has no other life (a line), 0 for one that happened to be expanded in another.
    """

    table: Table
    data: StripeDict
    rank: int
    targets: dict[str, str | None]
    deleted_at: str | None

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def key(self) -> Key:
        return self.table.name, self.id


@dataclass(slots=True)
class Batch:
    """The rows of a batch, one for each object.

    `left_out` says which objects dj-stripe's tables cannot hold, and why: a refund of a
    customer's balance, for example, has no charge. `absent` is what the rows refer to and
    nobody has; None until it was looked up.
    """

    rows: dict[Key, Row] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    absent: set[Key] | None = None

    def add(self, table: Table, data: StripeDict, rank: int, deleted_at: str | None) -> bool:
        """Take an object in, unless it is there with a higher rank; False if it has no place.

        Raises ValueError for an object without what all of its kind have.
        """
        if not isinstance(data.get("id"), str):
            raise ValueError(f"An object of type {table.kind} has no id.")
        try:
            prepared = table.prepare(data)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{table.kind} {data['id']} is malformed: {error!r}") from error
        targets = {ref.column: ref.target(prepared) for ref in table.references}
        for ref in table.references:
            if ref.required and targets[ref.column] is None:
                self.left_out.append(f"{table.kind} {data['id']} has no {ref.field}")
                return False
        key = (table.name, str(data["id"]))
        known = self.rows.get(key)
        if known is None or known.rank < rank:
            self.rows[key] = Row(table, prepared, rank, targets, deleted_at)
        return True

    def present(self) -> set[Key]:
        """What can be referred to once the batch is written."""
        return self.rows.keys() | {(LEGACY_TABLE, object_id) for object_id in self.legacy()}

    def legacy(self) -> list[str]:
        """The ids of what charges were paid with before there were payment methods."""
        return sorted(
            {
                target
                for row in self.rows.values()
                for ref in row.table.references
                if ref.parent == LEGACY_TABLE and (target := row.targets[ref.column])
            }
        )

    def in_order(self) -> list[Row]:
        """The rows in the order of writing, those of one table by id.

        The same order in all transactions keeps them from waiting for each other in a circle.
        """
        order = list(tables())
        return sorted(self.rows.values(), key=lambda row: (order.index(row.table.kind), row.id))

    def by_table(self) -> Iterator[tuple[Table, list[Row]]]:
        """The rows in the order of writing, table by table."""
        for kind, rows in groupby(self.in_order(), key=lambda row: row.table.kind):
            yield tables()[kind], list(rows)


def collect(observations: Sequence[Observation]) -> Batch:
    """All objects that these observations show, the nested ones included.

    Raises ValueError for malformed objects.
    """
    batch = Batch()
    known = tables()
    for seen in observations:
        if seen.kind in known:
            deleted_at = seen.not_after.isoformat() if seen.deleted else None
            add_tree(batch, known, seen.data, deleted_at)
    return batch


def add_tree(
    batch: Batch, known: dict[str, Table], root: StripeDict, deleted_at: str | None
) -> None:
    """Add one observed object and the objects inside it.

    What calls itself an object is looked into first, and all else only until as many of
    them were found as there are: most of an object's nested values hold none.
    """
    left = count_objects(root)
    objects: list[tuple[StripeDict, int]] = [(root, 2)]
    others: list[tuple[StripeDict, int]] = []
    while left > 0 and (objects or others):
        node, rank = (objects or others).pop()
        kind = node.get("object", "")
        left -= kind.__class__ is str and kind != ""
        table = known.get(kind) if kind.__class__ is str else None
        if table and (rank == 2 or is_whole(node)):
            if not batch.add(table, node, rank, deleted_at if rank == 2 else None):
                continue
            if kind == "event":  # its object is the caller's to judge
                continue
        owned = OWNED.get(kind) if table else None
        for key, value in node.items():
            container = value.__class__  # plain JSON: no other types, and no faster way to ask
            if container is dict and key not in OPAQUE:
                part = min(rank, 1) if key == owned else 0
                (objects if "object" in value else others).append((value, part))
            elif container is list:
                part = min(rank, 1) if kind == "list" else 0
                for item in value:
                    if item.__class__ is dict:
                        (objects if "object" in item else others).append((item, part))


def count_objects(root: StripeDict) -> float:
    """How many objects there are in one, itself included; it may be fewer."""
    try:
        return orjson.dumps(root).count(b'"object":"')
    except TypeError:  # an integer beyond 64 bits
        return float("inf")


def is_whole(node: StripeDict) -> bool:
    """Whether a nested object is all there: of a deleted one only the id is left."""
    return isinstance(node.get("id"), str) and not node.get("deleted")


def as_json(records: Sequence[dict[str, Any]]) -> str:
    """Records as JSON that PostgreSQL's jsonb takes.

    It refuses U+0000 and lone surrogates, which become U+FFFD. Nothing else is changed.
    """
    try:
        text = orjson.dumps(records)
        if b"\\u0000" not in text:
            return text.decode()
    except TypeError:
        pass  # a lone surrogate, or an integer beyond 64 bits
    return json.dumps(storable(list(records)), ensure_ascii=False, allow_nan=False)


def storable(value: Any) -> Any:
    """A copy in which every text, the keys included, is one that jsonb takes."""
    match value:
        case str():
            return REFUSED_BY_JSONB.sub("\ufffd", value)
        case dict():
            return {storable(key): storable(item) for key, item in value.items()}
        case list():
            return [storable(item) for item in value]
    return value

"""Which column of theirs stands for which of ours, and which has to be added.

A column of theirs serves as it is where it is of a type that ours can be read from and written
to, and holds neither NULLs nor duplicates that ours does not. Else a *companion* stands beside
it: a column `backoffice_<name>` of our type, which a trigger keeps in step both ways.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from django.db import connection, models

from billing.adoption.catalog import OURS, Column, Table, quoted
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    LeadClaim,
    LeadCredits,
)

AnyField: TypeAlias = "models.Field[Any, Any]"

KEYS: Mapping[type[models.Model], str] = {
    BillingCustomer: "stripe_customer_id",
    BillingSubscription: "stripe_subscription_id",
    BillingInvoice: "stripe_invoice_id",
    BillingEvent: "stripe_event_id",
    LeadCredits: "user_id",
}
"""What a row of each table is known by; of duplicates all but one are set apart."""

NEEDED: Mapping[type[models.Model], tuple[str, ...]] = {
    BillingCustomer: ("stripe_customer_id",),
    BillingSubscription: ("stripe_subscription_id", "status"),
    BillingInvoice: ("stripe_invoice_id", "status"),
    BillingEvent: ("type",),
    LeadCredits: ("user_id", "balance"),
    LeadClaim: ("user_id",),
}
"""Columns that nobody can make up."""

# By our type: types of theirs that serve as they are, and those that need a companion.
SERVES = {
    "text": {"text", "character varying"},
    "bigint": {"bigint", "integer", "smallint"},
    "integer": {"integer", "smallint", "bigint"},
    "boolean": {"boolean"},
    "timestamp with time zone": {"timestamp with time zone"},
    "jsonb": {"jsonb"},
}
CONVERTS = {
    "text": {"uuid", "character", "citext", "integer", "bigint", "smallint"},
    "timestamp with time zone": {"timestamp without time zone", "date"},
    "jsonb": {"json", "text", "character varying"},
}
BLANK = {
    "text": "''", "bigint": "0", "integer": "0", "boolean": "false", "jsonb": "'{}'",
    "timestamp with time zone": "now()",
}  # fmt: skip
"""What stands for NULL where ours is never NULL and has no default."""


class Way(StrEnum):
    """How a column of ours is to be had."""

    SERVES = "serves"
    ADDED = "added"
    COMPANION = "companion"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True)
class Mapped:
    """One column of ours: `name`, and in which column of theirs it stands (`column`).

    `why` says why it does not serve as it is. `default` is SQL of our default, '' for none;
    `sets_default` whether theirs has none yet.
    """

    name: str
    column: str
    way: Way
    type: str
    is_null: bool
    default: str
    why: str = ""
    theirs: Column | None = None
    sets_default: bool = False

    @property
    def blank(self) -> str:
        """SQL of what stands for NULL; '' where NULL may stand."""
        return "" if self.is_null else self.default or BLANK[self.type]


@dataclass(frozen=True, slots=True)
class Rows:
    """What the rows hold, by the names of columns: how many NULLs, how many keys twice."""

    nulls: Mapping[str, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableMap:
    """One table of ours on one of theirs."""

    model: type[models.Model]
    table: Table
    columns: tuple[Mapped, ...]

    def __getitem__(self, name: str) -> Mapped:
        return next(each for each in self.columns if each.name == name)

    @property
    def key(self) -> Mapped | None:
        """The column that a row is known by."""
        return self[KEYS[self.model]] if self.model in KEYS else None

    def of(self, *ways: Way) -> list[Mapped]:
        return [each for each in self.columns if each.way in ways]

    @property
    def sets_apart(self) -> str:
        """SQL of which rows are ours to see: those set apart have no key; '' where all are.

        Events may have none, and are seen all the same.
        """
        key = self.key
        if key is None or key.is_null or key.way is not Way.COMPANION:
            return ""
        return f"{quoted(key.column)} IS NOT NULL"

    def shape(self, rows: str) -> str:
        """SQL that reads `rows`, of their table or of a trigger's, in our shape."""
        names = ", ".join(
            quoted(each.column) if each.column == each.name
            else f"{quoted(each.column)} AS {quoted(each.name)}"
            for each in self.columns
        )  # fmt: skip
        where = f" WHERE {self.sets_apart}" if self.sets_apart else ""
        return f"SELECT {names} FROM {rows}{where}"  # noqa: S608


def default_of(each: AnyField) -> str:
    """SQL of a field's default in the database, '' for none."""
    if not each.has_db_default():
        return ""
    with connection.schema_editor(collect_sql=True) as editor:
        said, params = editor.db_default_sql(each)
        return str(said % tuple(editor.quote_value(param) for param in params))


def fields_of(model: type[models.Model]) -> list[AnyField]:
    return list(model._meta.concrete_fields)


def column_of(each: AnyField) -> str:
    """The name of a field's column; each of ours has one."""
    return str(each.column)


def type_of(each: AnyField) -> str:
    """Our type, as PostgreSQL writes it."""
    return str(each.db_type(connection) or "")


def map_table(model: type[models.Model], table: Table, rows: Rows) -> TableMap:
    """How their table can be ours, from what it is and what its rows hold."""
    columns = tuple(_map(model, each, table, rows) for each in fields_of(model))
    return TableMap(model, table, columns)


def _map(model: type[models.Model], each: AnyField, table: Table, rows: Rows) -> Mapped:
    name, type_, default = column_of(each), type_of(each), default_of(each)
    found, companion, is_null = table.columns.get(name), f"{OURS}{name}", each.null

    def mapped(way: Way, why: str = "", *, column: str = name, **more: Any) -> Mapped:
        return Mapped(name, column, way, type_, is_null, default, why, found, **more)

    if found is None and each.primary_key and name == "id":
        return mapped(Way.COMPANION, "there is none", column=companion)
    if found is None:
        is_needed = name in NEEDED[model]
        return mapped(Way.IMPOSSIBLE if is_needed else Way.ADDED, "there is none")
    if found.is_generated:
        return mapped(Way.IMPOSSIBLE, "its values are generated, so that nobody can write it")
    if each.primary_key and name == "id":
        why = _not_a_number(found, table)
        return mapped(Way.COMPANION, why, column=companion) if why else mapped(Way.SERVES)
    other = _other_type(type_, found)
    if other is None:
        return mapped(Way.IMPOSSIBLE, f"it is of type {found.type}, and ours is {type_}")
    why = other or _rows_in_the_way(model, each, table, rows)
    if why or companion in table.columns:
        why = why or "it did not serve when it was adopted"
        return mapped(Way.COMPANION, why, column=companion)
    return mapped(Way.SERVES, sets_default=bool(default) and not found.default)


def _not_a_number(found: Column, table: Table) -> str:
    """Why their `id` can't be ours; '' where it can."""
    if plain(found.type) not in SERVES["bigint"]:
        return f"it is of type {found.type}, and ours is a number"
    if not table.has_unique("id") or not found.not_null:
        return "nothing keeps it unique"
    return "" if found.default else "it has no default, so that we could not add a row"


def _other_type(ours: str, found: Column) -> str | None:
    """Why a companion is needed for the type's sake, '' if not; None where that is no way out."""
    theirs = plain(found.type)
    if theirs in SERVES[ours] and found.kind == "b":
        return ""
    if theirs in CONVERTS.get(ours, ()) or (ours == "text" and found.kind in "de"):
        return f"it is of type {found.type}, and ours is {ours}"
    return None


def plain(type_: str) -> str:
    """A type without its length: `character varying(255)` is `character varying`."""
    before, bracket, after = type_.partition("(")
    return (before + after.partition(")")[2]) if bracket else type_


def _rows_in_the_way(model: type[models.Model], each: AnyField, table: Table, rows: Rows) -> str:
    """What rows hold that ours never do; '' where they hold none."""
    nulls, repeated = rows.nulls.get(column_of(each), 0), rows.repeated.get(column_of(each), 0)
    is_key = KEYS.get(model) == each.column
    if repeated:
        return f"{repeated:,} values stand in more than one row"
    if nulls and not each.null:
        return f"{nulls:,} rows have none" if is_key else f"{nulls:,} rows have NULL there"
    return ""

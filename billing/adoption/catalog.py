"""What the database says of a table: its columns, indexes, constraints, triggers, rights."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from django.db import connection
from psycopg import sql

from billing.database import rows
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    LeadClaim,
    LeadCredits,
)

THEIRS = "public"  # the schema that the application's tables are in
MODELS = (
    BillingCustomer, BillingSubscription, BillingInvoice, BillingEvent, LeadCredits, LeadClaim,
)  # fmt: skip
"""The models of the tables that an application may have already."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is. `type` is as PostgreSQL writes it; `default` is '' for none."""

    name: str
    type: str
    kind: str  # the type's kind: b for a base type, e for an enumeration, d for a domain
    not_null: bool
    default: str
    is_generated: bool  # its value can't be written


@dataclass(frozen=True, slots=True)
class Index:
    """An index; `columns` are those that it is on, empty where an expression is among them."""

    name: str
    columns: tuple[str, ...]
    is_unique: bool
    is_valid: bool
    is_partial: bool


@dataclass(frozen=True)
class Table:
    """One of the application's tables. `row_estimate` is the server's, `size` is in bytes."""

    name: str
    oid: int
    kind: str  # r for a table, p for a partitioned one, v for a view
    owner: str
    is_owned: bool
    row_estimate: int
    size: int
    columns: dict[str, Column]
    indexes: tuple[Index, ...]
    checks: tuple[str, ...]  # names of constraints of theirs that new rows of ours must meet
    update_triggers: tuple[str, ...]  # of theirs, that an UPDATE fires
    times_changed: int  # rows updated or deleted, as the server's statistics count them

    @cached_property
    def uniquely(self) -> frozenset[tuple[str, ...]]:
        """The columns that no two rows share, by valid indexes over all rows."""
        return frozenset(
            tuple(sorted(each.columns))
            for each in self.indexes
            if each.is_unique and each.is_valid and not each.is_partial and each.columns
        )

    def has_unique(self, column: str) -> bool:
        return (column,) in self.uniquely


def quoted(*names: str) -> str:
    """Names as an identifier of SQL."""
    return sql.Identifier(*names).as_string(connection.connection)


def theirs(name: str) -> str:
    """The application's table of this name."""
    return quoted(THEIRS, name)


def read(name: str) -> Table | None:
    """The application's table as it is now, or None where it has none of this name."""
    found = rows(
        """
        SELECT c.oid::bigint AS oid, c.relkind::text AS kind, pg_get_userbyid(c.relowner) AS owner,
               pg_has_role(c.relowner, 'USAGE') AS is_owned,
               greatest(c.reltuples, 0)::bigint AS estimate, pg_table_size(c.oid) AS size,
               coalesce(s.n_tup_upd + s.n_tup_del, 0) AS changed
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
        WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        """,
        [THEIRS, name],
    )
    if not found:
        return None
    one, oid = found[0], found[0]["oid"]
    return Table(
        name, oid, one["kind"], one["owner"], one["is_owned"], one["estimate"], one["size"],
        {each.name: each for each in _columns(oid)}, tuple(_indexes(oid)), _checks(oid),
        _update_triggers(oid), one["changed"],
    )  # fmt: skip


def _columns(oid: int) -> Iterable[Column]:
    for row in rows(
        """
        SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
               t.typtype::text AS kind, a.attnotnull AS not_null,
               coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS expression,
               a.attidentity::text AS identity, a.attgenerated <> '' AS is_generated
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
        """,
        [oid],
    ):
        default = "identity" if row["identity"] else row["expression"]
        generated = row["is_generated"]
        yield Column(
            row["name"], row["type"], row["kind"], row["not_null"], default, is_generated=generated
        )


def _indexes(oid: int) -> Iterable[Index]:
    for row in rows(
        """
        SELECT c.relname AS name, i.indisunique, i.indisvalid AND i.indisready AS is_valid,
               i.indpred IS NOT NULL AS is_partial,
               CASE WHEN i.indexprs IS NULL THEN ARRAY(
                   SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1])
                       WITH ORDINALITY AS k(number, place)
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
                   ORDER BY k.place)
               ELSE '{}' END AS columns
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = %s
        ORDER BY c.relname
        """,
        [oid],
    ):
        yield Index(
            row["name"], tuple(row["columns"]), row["indisunique"], row["is_valid"],
            row["is_partial"],
        )  # fmt: skip


def _checks(oid: int) -> tuple[str, ...]:
    found = rows(
        """
        SELECT conname || ' ' || pg_get_constraintdef(oid) AS said FROM pg_constraint
        WHERE conrelid = %s AND contype IN ('c', 'f', 'x') AND NOT starts_with(conname, %s)
        ORDER BY conname
        """,
        [oid, OURS],
    )
    return tuple(each["said"] for each in found)


def _update_triggers(oid: int) -> tuple[str, ...]:
    """Those that are not ours: an UPDATE that fills our columns would fire them."""
    found = rows(
        """
        SELECT tgname AS name FROM pg_trigger
        WHERE tgrelid = %s AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype::int & 16 > 0
          AND NOT starts_with(tgname, %s)
        ORDER BY tgname
        """,
        [oid, OURS],
    )
    return tuple(each["name"] for each in found)


OURS = "backoffice_"
"""What the names of all that we add to their tables begin with, but for columns of our models."""

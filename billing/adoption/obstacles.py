"""What is in the way of adopting a table, with the rows concerned; nothing is written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from billing.adoption.catalog import OURS, Table, quoted, theirs
from billing.adoption.mapping import KEYS, Rows, TableMap, Way, fields_of
from billing.database import rows, stream
from billing.models import (
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    LeadClaim,
    LeadCredits,
)

STATUSES = {
    BillingSubscription: (
        "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled",
        "unpaid", "paused",
    ),
    BillingInvoice: ("draft", "open", "paid", "uncollectible", "void"),
    LeadClaim: ("succeeded", "failed"),
}  # fmt: skip
"""What Stripe, and we, call the states of things."""

LEFT_TO_US = {LeadClaim}  # tables that we write to only after a disaster


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that is in the way, or is to be known before.

    `query` reads the rows concerned as (row, value); `count` is how many there are. With
    `refuses`, nothing is applied until somebody has acted.
    """

    table: str
    kind: str
    said: str
    answer: str
    refuses: bool = False
    count: int = 0
    query: str = ""

    def concerned(self) -> Iterator[dict[str, Any]]:
        """The rows: `row` is their id, or their place in the table where they have none."""
        if self.query:
            yield from stream(self.query)

    def first(self, count: int) -> list[dict[str, Any]]:
        return rows(f"{self.query} LIMIT {count}") if self.query and count else []


@dataclass
class _Looking:
    """A table, and how its rows are named."""

    mapping: TableMap
    found: list[Obstacle] = field(default_factory=list)

    @property
    def table(self) -> Table:
        return self.mapping.table

    @property
    def from_(self) -> str:
        return f"FROM ONLY {theirs(self.table.name)}"

    @property
    def row(self) -> str:
        """SQL that names a row."""
        if "id" in self.table.columns:
            return "id::text"
        return "user_id::text" if self.mapping.model is LeadCredits else "ctid::text"

    def rows(self, kind: str, where: str, value: str, said: str, answer: str) -> None:
        """Adds an obstacle where rows meet the condition; `{n}` in `said` is how many."""
        query = f"SELECT {self.row} AS row, {value} AS value {self.from_} WHERE {where}"
        count = number(f"SELECT count(*) {self.from_} WHERE {where}")
        if count:
            one = Obstacle(self.table.name, kind, said.format(n=f"{count:,}"), answer)
            self.found.append(
                Obstacle(one.table, one.kind, one.said, one.answer, count=count, query=query)
            )

    def refuse(self, kind: str, said: str, answer: str) -> None:
        self.found.append(Obstacle(self.table.name, kind, said, answer, refuses=True))

    def note(self, kind: str, said: str, answer: str) -> None:
        self.found.append(Obstacle(self.table.name, kind, said, answer))


def number(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0] or 0)


def measure(model: Any, table: Table) -> Rows:
    """Counts NULLs and keys that stand twice: one pass for the first, one for the second."""
    if table.kind not in "rp":
        return Rows()
    nullable = [
        each.column
        for each in fields_of(model)
        if not each.null and each.column in table.columns
        and not table.columns[each.column].not_null
    ]  # fmt: skip
    nulls: dict[str, int] = {}
    if nullable:
        counts = ", ".join(f"count(*) FILTER (WHERE {quoted(n)} IS NULL) AS c{i}"
                           for i, n in enumerate(nullable))  # fmt: skip
        [row] = rows(f"SELECT {counts} FROM {theirs(table.name)}")  # noqa: S608
        nulls = {name: row[f"c{i}"] for i, name in enumerate(nullable)}
    key = KEYS.get(model)
    repeated: dict[str, int] = {}
    if key and key in table.columns and not table.has_unique(key):
        repeated[key] = number(
            f"SELECT count(*) FROM (SELECT 1 FROM {theirs(table.name)}"  # noqa: S608
            f" WHERE {quoted(key)} IS NOT NULL GROUP BY {quoted(key)} HAVING count(*) > 1) twice"
        )
    return Rows(nulls, repeated)


def of_table(mapping: TableMap, *, may_hush: bool) -> list[Obstacle]:
    """All that is in the way of one table. `may_hush`: we may fill columns past its triggers."""
    looking = _Looking(mapping)
    if mapping.table.kind != "r":
        what = {"p": "is partitioned", "v": "is a view"}.get(
            mapping.table.kind, "is no plain table"
        )
        looking.refuse("no_table", f"It {what}.", "Only plain tables can be adopted.")
        return looking.found
    _rights(looking, may_hush=may_hush)
    _columns(looking)
    _keys(looking)
    _values(looking)
    return looking.found


def _rights(looking: _Looking, *, may_hush: bool) -> None:
    table, mapping = looking.table, looking.mapping
    if not table.is_owned:
        looking.refuse(
            "not_owner",
            f"It belongs to {table.owner}.",
            f"Run adopt as that role, or as one that is a member of it: GRANT {table.owner} TO …",
        )
    if mapping.of(Way.COMPANION) and table.update_triggers and not may_hush:
        names = ", ".join(table.update_triggers)
        looking.refuse(
            "triggers",
            f"Its own triggers would fire when columns of ours are filled: {names}.",
            "Let a superuser say: GRANT SET ON PARAMETER session_replication_role TO …",
        )
    if mapping.model is BillingEvent and table.times_changed:
        looking.note(
            "events_rewritten",
            f"Its rows were changed or deleted {table.times_changed:,} times since the server's"
            " statistics began.",
            "It stays writable, and the log is as trustworthy as the application is. Where nothing"
            " changes it, a trigger makes it append-only.",
        )
    for said in table.checks if mapping.model not in LEFT_TO_US else ():
        looking.note(
            "constraint",
            f"It has a constraint of its own: {said}",
            "Rows of Stripe's that it refuses stay in the inbox, with the error.",
        )


def _columns(looking: _Looking) -> None:
    mapping, table = looking.mapping, looking.table
    for each in mapping.of(Way.IMPOSSIBLE):
        looking.refuse(
            "column",
            f"Column {each.name}: {each.why}.",
            f"Give the table a column {each.name} of type {each.type}, filled; then run it again.",
        )
    known = {each.name for each in mapping.columns}
    for column in table.columns.values():
        is_filled = bool(column.default) or column.is_generated or not column.not_null
        if column.name in known or column.name.startswith(OURS) or is_filled:
            continue
        if mapping.model not in LEFT_TO_US:
            looking.refuse(
                "needed_column",
                f"Column {column.name} is of the application alone, may not be NULL and has no"
                " default: we could not add a row.",
                f"Give it a default: ALTER TABLE {table.name} ALTER {column.name} SET DEFAULT …",
            )
    for each in mapping.columns:
        if each.theirs is not None and each.theirs.kind == "e" and each.name == "status":
            missing = _missing_labels(each.theirs.type, STATUSES[mapping.model])
            if missing:
                looking.note(
                    "enumeration",
                    f"Column status is an enumeration without {', '.join(missing)}.",
                    "Add them, or what Stripe says stays in the inbox as failed: "
                    f"ALTER TYPE {each.theirs.type} ADD VALUE '{missing[0]}'",
                )


def _missing_labels(type_: str, wanted: tuple[str, ...]) -> list[str]:
    found = {
        row["label"]
        for row in rows(
            "SELECT enumlabel AS label FROM pg_enum WHERE enumtypid = %s::regtype", [type_]
        )
    }
    return [each for each in wanted if each not in found]


def _keys(looking: _Looking) -> None:
    mapping = looking.mapping
    key = mapping.key
    if key is None or key.theirs is None:
        return
    name, table = quoted(key.name), theirs(mapping.table.name)
    if not mapping.table.has_unique(key.name):
        looking.rows(
            "duplicate",
            f"{name} IN (SELECT {name} FROM {table} WHERE {name} IS NOT NULL"  # noqa: S608
            f" GROUP BY {name} HAVING count(*) > 1)",
            f"{name}::text",
            f"{{n}} rows share their {key.name} with another.",
            "The newest of each stays in sight; the others are set apart: the application sees"
            " them as before, and reconciliation lists them.",
        )
    if not key.is_null and not key.theirs.not_null:
        looking.rows(
            "no_key",
            f"{name} IS NULL",
            "NULL::text",
            f"{{n}} rows have no {key.name}.",
            "They are set apart: the application sees them as before, and reconciliation lists"
            " them.",
        )


def _values(looking: _Looking) -> None:
    mapping = looking.mapping
    for each in mapping.of(Way.SERVES, Way.COMPANION):
        if each.theirs is None or each.is_null or each.theirs.not_null or each is mapping.key:
            continue
        looking.rows(
            "null",
            f"{quoted(each.name)} IS NULL",
            f"'{each.name}'",
            f"{{n}} rows have no {each.name}.",
            f"Ours reads {each.blank} there, from a column of our own; theirs stays NULL.",
        )
    statuses = STATUSES.get(mapping.model)
    if statuses and "status" in mapping.table.columns:
        listed = ", ".join(f"'{each}'" for each in statuses)
        looking.rows(
            "unknown_status",
            f"status::text NOT IN ({listed})",
            "status::text",
            f"{{n}} rows have a status that {_whose(mapping)} not know.",
            "They stay as they are until sync_from_stripe brings Stripe's; reconciliation lists"
            " what is left.",
        )
    if mapping.model is LeadCredits and "balance" in mapping.table.columns:
        looking.rows(
            "negative",
            "balance < 0",
            "balance::text",
            "{n} balances are below 0.",
            "They stay as they are, and nobody can take more from them; reconciliation lists them,"
            " and correct_balance mends them.",
        )
    if mapping.model is BillingEvent and "type" in mapping.table.columns:
        _events(looking)


def _whose(mapping: TableMap) -> str:
    return "we do" if mapping.model is LeadClaim else "Stripe does"


OURS_BY_TYPE = r"type::text ~ '^(manual|system|sql)\.'"


def _events(looking: _Looking) -> None:
    has_ids = "stripe_event_id" in looking.table.columns
    looking.rows(
        "event_without_id",
        f"NOT {OURS_BY_TYPE}" + (" AND stripe_event_id IS NULL" if has_ids else ""),
        "type::text",
        "{n} of Stripe's events have no id of Stripe's.",
        "They stay in the log, and nothing is replayed from them: sync_from_stripe brings in what"
        " they told of.",
    )

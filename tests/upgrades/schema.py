"""A database's schema, as far as code relies on it, and what a newer one may not take from it."""

from dataclasses import dataclass, field
from typing import Any

import psycopg

TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
      AND NOT c.relispartition AND c.relname NOT LIKE 'djstripe\\_%' ORDER BY 1
"""
COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> ''
    FROM pg_attribute a
    WHERE a.attrelid = ('public.' || quote_ident(%s))::regclass AND a.attnum > 0
      AND NOT a.attisdropped ORDER BY a.attname
"""
# What rows must fulfil, by its own definition; an index's columns, where ON CONFLICT names them.
RULES = """
    SELECT pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = ('public.' || quote_ident(%(table)s))::regclass
      AND contype IN ('c', 'f', 'u', 'x', 'p')
    UNION
    SELECT 'UNIQUE INDEX ' || regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')
    FROM pg_index
    WHERE indrelid = ('public.' || quote_ident(%(table)s))::regclass AND indisunique
    ORDER BY 1
"""


@dataclass(frozen=True)
class Column:
    type: str
    is_needed: bool  # NOT NULL
    has_default: bool


@dataclass(frozen=True)
class Table:
    columns: dict[str, Column]
    rules: frozenset[str] = field(default_factory=frozenset)

    def as_json(self) -> list[Any]:
        columns = {n: [c.type, c.is_needed, c.has_default] for n, c in self.columns.items()}
        return [columns, sorted(self.rules)]

    @classmethod
    def of_json(cls, value: list[Any]) -> "Table":
        columns, rules = value
        return cls({n: Column(*each) for n, each in columns.items()}, frozenset(rules))


def read(connection: "psycopg.Connection[Any]") -> dict[str, Table]:
    """The tables that it sees, dj-stripe's left out: their package says when they change."""
    names = [name for (name,) in connection.execute(TABLES)]
    return {
        name: Table(
            {n: Column(*rest) for n, *rest in connection.execute(COLUMNS, [name])},
            frozenset(rule for (rule,) in connection.execute(RULES, {"table": name})),
        )
        for name in names
    }


def harm(old: dict[str, Table], new: dict[str, Table]) -> list[str]:
    """What code that was written for the old schema cannot live with in the new one."""
    found = []
    for name, was in old.items():
        if name not in new:
            found.append(f"{name} is gone")
            continue
        found += [f"{name}{said}" for said in harm_to(was, new[name])]
    return found


def harm_to(was: Table, now: Table) -> list[str]:
    found = []
    for name, column in was.columns.items():
        there = now.columns.get(name)
        if there is None:
            found.append(f".{name} is gone")
            continue
        if there.type != column.type:
            found.append(f".{name} was {column.type} and is {there.type}")
        if there.is_needed and not column.is_needed:
            found.append(f".{name} has become NOT NULL")
        if column.has_default and not there.has_default:
            found.append(f".{name} has lost its default")
    new = now.columns.keys() - was.columns.keys()
    found += [
        f".{name} is new and NOT NULL, and has no default"
        for name in new
        if now.columns[name].is_needed and not now.columns[name].has_default
    ]
    found += [f" has lost {rule}" for rule in was.rules - now.rules if rule.startswith("UNIQUE")]
    own = {f"({name})" for name in new}
    for rule in now.rules - was.rules:
        if not any(column in rule for column in own):  # the old code leaves a new column alone
            found.append(f" has a new rule: {rule}")
    return sorted(found)

"""A table that a query derives: made what the query says, and compared with it."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from billing.database import rows


@dataclass(frozen=True, slots=True)
class Changed:
    """How many rows were not as they should be, and the earliest time that they are of."""

    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Derived:
    """`query` says what the rows of `table` are to be, of which `where` takes a part.

    Both have the same parameters. `key` names a row, `at` is the column of its time.
    """

    table: str
    where: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    query: str
    at: str = "at"

    def derive(self, **params: Any) -> Changed:
        """Makes these rows what the query says; what was not."""
        columns, key = ", ".join(self.columns), ", ".join(self.key)
        new = ", ".join(f"excluded.{column}" for column in self.columns)
        old = ", ".join(f"t.{column}" for column in self.columns)
        found = rows(
            f"""
            WITH fresh AS MATERIALIZED ({self.query}), gone AS (
                DELETE FROM {self.table} WHERE {self.where}
                    AND ({key}) NOT IN (SELECT {key} FROM fresh) RETURNING {self.at} AS at
            ), written AS (
                INSERT INTO {self.table} AS t ({columns}) SELECT {columns} FROM fresh ORDER BY {key}
                ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW({new})
                WHERE ({old}) IS DISTINCT FROM ({new}) RETURNING t.{self.at} AS at
            )
            SELECT count(*), min(at) AS since
            FROM (SELECT at FROM gone UNION ALL SELECT at FROM written) changed
            """,  # noqa: S608  (names that the code has)
            params,
        )
        return Changed(**found[0])

    def differences(self, **params: Any) -> list[dict[str, Any]]:
        """What is `here` and `derived` of each `fact` (a row) that is not what the query says."""
        columns, key = ", ".join(self.columns), ", ".join(self.key)
        found = rows(
            f"""
            WITH fresh AS MATERIALIZED ({self.query}), kept AS (
                SELECT {columns} FROM {self.table} WHERE {self.where}
            )
            SELECT concat_ws(' ', {key}) AS fact,
                   to_jsonb(kept)::text AS here, to_jsonb(fresh)::text AS derived
            FROM kept FULL JOIN fresh USING ({key})
            WHERE to_jsonb(kept) IS DISTINCT FROM to_jsonb(fresh) ORDER BY {key}
            """,  # noqa: S608  (names that the code has)
            params,
        )
        return [self._difference(**row) for row in found]

    def _difference(self, fact: str, here: str | None, derived: str | None) -> dict[str, Any]:
        return {
            "fact": f"{self.table} {fact}",
            "here": here and json.loads(here),
            "derived": derived and json.loads(derived),
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """Sums that a trigger of the table `source` keeps, so that they are right whoever writes it.

    Its methods are those of a family (billing.revenue.facts.Family).
    """

    derived: Derived
    source: str

    def refresh(self) -> int:
        """Nothing is ever left to be added up: the trigger does it with the row itself."""
        return 0

    def rebuild(self) -> int:
        """Adds everything up anew, while nobody writes to `source`; how many rows differed."""
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {self.source} IN SHARE MODE")
            return self.derived.derive().count

    def check(self) -> list[dict[str, Any]]:
        """Where the sums are not what the rows of `source` add up to."""
        return self.derived.differences()

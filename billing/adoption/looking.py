"""What there is to adopt: each table with its mapping and what is in the way."""

from dataclasses import dataclass
from typing import Any

from django.db import connection, models, transaction

from billing.adoption import catalog, indexing, journal, mapping, obstacles
from billing.adoption.catalog import MODELS, OURS
from billing.adoption.mapping import Rows, TableMap, Way
from billing.adoption.obstacles import Obstacle
from billing.database import rows
from billing.models import BillingEvent, LeadCredits

OLDEST = 160000  # PostgreSQL 16: pg_input_is_valid


@dataclass(frozen=True, slots=True)
class Seen:
    """One of the application's tables, and how it would be ours."""

    mapping: TableMap
    obstacles: list[Obstacle]
    rows: Rows

    @property
    def name(self) -> str:
        return self.mapping.table.name

    @property
    def has_negatives(self) -> bool:
        return any(each.kind == "negative" for each in self.obstacles)

    @property
    def is_rewritten(self) -> bool:
        return any(each.kind == "events_rewritten" for each in self.obstacles)

    def additions(self) -> dict[str, list[str]]:
        """What would be added, by sort, in words."""
        one, name = self.mapping, self.name
        negatives = self.has_negatives
        triggers = [each.name for each in one.model._meta.triggers]  # type: ignore[attr-defined]
        if one.model is BillingEvent and self.is_rewritten:
            triggers.remove("append_only")
        triggers += ["keeps companions in step"] * bool(one.of(Way.COMPANION))
        triggers += ["balances below 0 go no lower"] * negatives
        added: dict[str, list[str]] = {
            "columns": [f"{each.column} {each.type}" for each in one.of(Way.ADDED)],
            "companions": [f"{each.column} {each.type}, since {each.name}: {each.why}"
                           for each in one.of(Way.COMPANION)],
            "defaults": [f"{each.name}: {each.default}" for each in one.columns
                         if each.sets_default],
            "constraints": [said for _, said in
                            indexing.conditions(one, has_negatives=negatives)],
            "indexes": [index for index, _ in indexing.wanted(one)],
            "triggers": triggers,
        }  # fmt: skip
        if one.model is LeadCredits:
            found = obstacles.number(
                f"SELECT count(*) FROM {catalog.theirs(name)} WHERE balance <> 0"  # noqa: S608
            )
            added["opening entries"] = [f"{found:,}, one for each balance that is not 0"]
        return added

    def as_dict(self, examples: int | None) -> dict[str, Any]:
        """For programs; with all rows concerned where `examples` is None."""
        return {
            "table": self.name,
            "rows_about": self.mapping.table.row_estimate,
            "bytes": self.mapping.table.size,
            "adds": {} if self.refuses else self.additions(),
            "in_the_way": [
                {
                    "kind": each.kind, "said": each.said, "answer": each.answer,
                    "refuses": each.refuses, "count": each.count,
                    "rows": list(each.concerned()) if examples is None else each.first(examples),
                }
                for each in self.obstacles
            ],
        }  # fmt: skip

    @property
    def refuses(self) -> bool:
        return any(each.refuses for each in self.obstacles)


def look() -> list[Seen]:
    """Each of the application's tables that there is."""
    may_hush = _may_hush()
    return [one for model in MODELS if (one := _look_at(model, may_hush=may_hush))]


def _look_at(model: type[models.Model], *, may_hush: bool) -> Seen | None:
    table = catalog.read(model._meta.db_table)
    if table is None:
        return None
    counted = obstacles.measure(model, table)
    mapped = mapping.map_table(model, table, counted)
    found = obstacles.of_table(mapped, may_hush=may_hush)
    if not journal.exists() and (clash := [n for n in table.columns if n.startswith(OURS)]):
        found.append(
            Obstacle(
                table.name,
                "name_clash",
                f"It has columns of the names that ours would have: {', '.join(clash)}.",
                "Rename them.",
                refuses=True,
            )
        )
    return Seen(mapped, found, counted)


def again(seen: Seen, *, counted: bool = False) -> TableMap:
    """The mapping as it is by now, after columns or indexes were added.

    With `counted`, its rows are looked at again, too: a companion once made stays one.
    """
    table = catalog.read(seen.name)
    assert table is not None  # noqa: S101  (it was there)
    model = seen.mapping.model
    held = obstacles.measure(model, table) if counted else seen.rows
    return mapping.map_table(model, table, held)


def of_all() -> list[Obstacle]:
    """What is in the way of the whole."""
    found = []
    version = connection.pg_version  # type: ignore[attr-defined]
    if version < OLDEST:
        found.append(
            Obstacle(
                "",
                "version",
                f"The server is PostgreSQL {version // 10000}.",
                "Adopting needs 16 or newer.",
                refuses=True,
            )
        )
    name = journal.schema()
    taken = rows(
        "SELECT FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace"
        " WHERE nspname = %s) LIMIT 1",
        [name],
    )
    if taken and not journal.exists():
        found.append(
            Obstacle(
                "",
                "schema",
                f"There is a schema {name}, with something else in it.",
                "Name another one: DATABASE_SCHEMA.",
                refuses=True,
            )
        )
    if not rows(
        "SELECT has_database_privilege(current_database(), 'CREATE') AND"
        " has_schema_privilege('public', 'CREATE') AS it_may"
    )[0]["it_may"]:
        found.append(
            Obstacle(
                "",
                "rights",
                "This role may make no schema, or nothing in public.",
                "Let the database's owner run it, or GRANT CREATE ON DATABASE and ON SCHEMA"
                " public.",
                refuses=True,
            )
        )
    if rows("SELECT to_regclass('public.billing_inbox') IS NOT NULL AS it_is")[0]["it_is"]:
        found.append(
            Obstacle(
                "",
                "installed",
                "This database has our own tables in the schema public.",
                "There is nothing to adopt: it was set up by migrate.",
                refuses=True,
            )
        )
    return found


def _may_hush() -> bool:
    """Whether this role may let triggers sleep while columns are filled."""
    if connection.in_atomic_block:
        return _says_so()
    with transaction.atomic():
        return _says_so()


def _says_so() -> bool:
    found = rows(
        "SELECT rolsuper OR has_parameter_privilege('session_replication_role', 'SET') AS it_may"
        " FROM pg_roles WHERE rolname = current_user"
    )
    return bool(found[0]["it_may"])

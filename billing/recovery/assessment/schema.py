"""Is everything there that the models and the migrations say: tables, columns, constraints,
indexes, triggers? And is it in force?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pgtrigger
from django.apps import apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Model
from pgtrigger.core import OUTDATED, UNINSTALLED

from billing.recovery.assessment.outcomes import SHOWN, Check, Look, Outcome, Verdict

MIGRATE = "Bring the tables to where the code is: manage.py migrate."
COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, NULL), a.attnotnull, a.atthasdef
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
      AND a.attnum > 0 AND NOT a.attisdropped
"""
CONSTRAINTS = """
    SELECT c.relname, k.conname, k.contype,
           k.convalidated AND coalesce((to_jsonb(k)->>'conenforced')::bool, true),
           ARRAY(SELECT attname::text FROM unnest(k.conkey) WITH ORDINALITY AS n(num, place)
                 JOIN pg_attribute ON attrelid = k.conrelid AND attnum = num ORDER BY place),
           coalesce(f.relname, '')
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    LEFT JOIN pg_class f ON f.oid = k.confrelid
    WHERE c.relnamespace = current_schema()::regnamespace
"""
INDEXES = """
    SELECT c.relname, n.relname, i.indisunique, i.indpred IS NOT NULL,
           i.indisvalid AND i.indisready AND i.indislive,
           ARRAY(SELECT coalesce(attname::text, '')
                 FROM unnest(i.indkey) WITH ORDINALITY AS k(num, place)
                 LEFT JOIN pg_attribute ON attrelid = i.indrelid AND attnum = num AND num > 0
                 WHERE place <= i.indnkeyatts ORDER BY place)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class n ON n.oid = i.indexrelid
    WHERE c.relnamespace = current_schema()::regnamespace
"""
DISABLED = """
    SELECT c.relname, CASE WHEN t.tgisinternal THEN 'its foreign keys'' own' ELSE t.tgname END
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = current_schema()::regnamespace AND t.tgenabled NOT IN ('O', 'A')
    GROUP BY 1, 2 ORDER BY 1, 2
"""


@dataclass(slots=True)
class Held:
    """What one table of the database has."""

    columns: dict[str, tuple[str, bool, bool]] = field(default_factory=dict)
    constraints: dict[str, tuple[str, bool, tuple[str, ...], str]] = field(default_factory=dict)
    indexes: dict[str, tuple[bool, bool, bool, tuple[str, ...]]] = field(default_factory=dict)


def models() -> list[type[Model]]:
    """Every model whose table is ours to have, those between many-to-many relations as well."""
    every = apps.get_models(include_auto_created=True)
    return [model for model in every if model._meta.managed and not model._meta.proxy]


def fields(model: type[Model]) -> list[Any]:
    """The fields that have a column in the model's own table."""
    return list(model._meta.local_concrete_fields)


def held() -> dict[str, Held]:
    """Every table of the database, by its name."""
    found: dict[str, Held] = {}
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS)
        for table, name, *rest in cursor.fetchall():
            found.setdefault(table, Held()).columns[name] = tuple(rest)
        cursor.execute(CONSTRAINTS)
        for table, name, kind, is_good, columns, target in cursor.fetchall():
            found[table].constraints[name] = (kind, is_good, tuple(columns), target)
        cursor.execute(INDEXES)
        for table, name, unique, partial, is_good, columns in cursor.fetchall():
            if table in found:
                found[table].indexes[name] = (unique, partial, is_good, tuple(columns))
    return found


def tables(look: Look) -> Outcome:
    """Every table with its columns: their types, whether they may be empty, their defaults."""
    there, types = held(), known_types()
    wrong: list[str] = []
    for model in models():
        table = there.get(model._meta.db_table)
        if table is None:
            wrong.append(f"the table {model._meta.db_table} is missing")
        else:
            wrong += wrong_columns(model, table, types)
    count = len(models())
    return judged("tables", wrong, f"All {count:,} tables have the columns that they must.")


def wrong_columns(model: type[Model], table: Held, types: dict[str, str]) -> Iterator[str]:
    for each in fields(model):
        name = f"{model._meta.db_table}.{each.column}"
        if each.column not in table.columns:
            yield f"the column {name} is missing"
            continue
        type_, is_required, has_default = table.columns[each.column]
        is_old_key = model._meta.auto_created and each.primary_key  # of the migrations' own time
        if type_ != types[column_type(each)] and not is_old_key:
            yield f"the column {name} is {type_} instead of {types[column_type(each)]}"
        if not is_required and not each.null:
            yield f"the column {name} may be empty, which it must not"
        if each.has_db_default() and not has_default:
            yield f"the column {name} has lost its default"


def column_type(each: Any) -> str:
    """A column's type without its length."""
    return str(each.db_type(connection)).partition("(")[0].strip()


def known_types() -> dict[str, str]:
    """The types of all columns, as PostgreSQL's catalog names them."""
    wanted = sorted({column_type(f) for m in models() for f in fields(m)})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t, coalesce(format_type(to_regtype(t), NULL), t) FROM unnest(%s::text[]) t",
            [wanted],
        )
        return dict(cursor.fetchall())


def constraints(look: Look) -> Outcome:
    """Every primary and foreign key, unique and check constraint: there, and in force."""
    there = held()
    wrong: list[str] = []
    count = 0
    for model in models():
        table = there.get(model._meta.db_table)
        if table is not None:
            count += len(table.constraints)
            wrong += missing_keys(model, table)
            wrong += missing_named(model, table)
            wrong += [
                f"{model._meta.db_table}: {name} was never checked, or is not enforced"
                for name, (_, is_good, _, _) in table.constraints.items()
                if not is_good
            ]
    return judged("constraints", wrong, f"All of {count:,} constraints are there and in force.")


def missing_keys(model: type[Model], table: Held) -> Iterator[str]:
    """Primary keys, foreign keys and what has to be unique, by their columns."""
    name = model._meta.db_table
    uniques = {columns for unique, partial, _, columns in table.indexes.values() if unique}
    keys = {(columns, target) for kind, _, columns, target in table.constraints.values() if target}
    for each in fields(model):
        if each.unique and (each.column,) not in uniques:
            yield f"{name}.{each.column} does not have to be unique any more"
        target = each.remote_field.model if each.remote_field else None
        if target is None or not getattr(each, "db_constraint", True):
            continue
        if ((each.column,), target._meta.db_table) not in keys:
            yield f"the foreign key of {name}.{each.column} is missing"
    for together in model._meta.unique_together:
        columns = columns_of(model, together)
        if columns not in uniques:
            yield f"{name} does not have to be unique by {', '.join(columns)} any more"


def columns_of(model: type[Model], names: Iterable[str]) -> tuple[str, ...]:
    by_name = {each.name: str(each.column) for each in fields(model)}
    return tuple(by_name[name] for name in names)


def missing_named(model: type[Model], table: Held) -> Iterator[str]:
    """What has a name in the model."""
    for each in model._meta.constraints:
        if each.name not in table.constraints and each.name not in table.indexes:
            yield f"{model._meta.db_table}: the constraint {each.name} is missing"


def indexes(look: Look) -> Outcome:
    """Every index: there, and valid."""
    there = held()
    wrong = []
    count = 0
    for model in models():
        table = there.get(model._meta.db_table)
        if table is None:
            continue
        name = model._meta.db_table
        count += len(table.indexes)
        wrong += [
            f"the index {each} of {name} is invalid"
            for each, (_, _, is_good, _) in table.indexes.items()
            if not is_good
        ]
        wrong += [
            f"the index {each.name} of {name} is missing"
            for each in model._meta.indexes
            if each.name not in table.indexes
        ]
        first = {columns[0] for *_, columns in table.indexes.values() if columns}
        wrong += [
            f"{name}.{each.column} has no index"
            for each in fields(model)
            if each.db_index and each.column not in first
        ]
    advice = "REINDEX or make it again; what is missing only makes us slow."
    return judged("indexes", wrong, f"All of {count:,} indexes are there and valid.", advice)


def triggers(look: Look) -> Outcome:
    """Every trigger: there, as it was written, and enabled.

    Ours write the ledger and the audit log, and refuse what must not be: one that is disabled is
    the tell-tale of somebody's hand, or of a restore that did not come to its end.
    """
    wrong = []
    registered = list(pgtrigger.registered())
    for model, trigger in registered:
        status, _ = trigger.get_installation_status(model)
        name = f"{trigger.name} of {model._meta.db_table}"
        if status == UNINSTALLED:
            wrong.append(f"the trigger {name} is missing")
        elif status == OUTDATED:
            wrong.append(f"the trigger {name} is not as the code has it")
    with connection.cursor() as cursor:
        cursor.execute(DISABLED)
        wrong += [f"of {table} is disabled: {name}" for table, name in cursor.fetchall()]
    return judged(
        "triggers",
        wrong,
        f"All {len(registered):,} triggers are there and enabled.",
        "Find out who did it and what was written meanwhile: no ledger entry and no audit event"
        " tells of it. Then ALTER TABLE ... ENABLE TRIGGER ALL, or manage.py pgtrigger install.",
    )


def migrations(look: Look) -> Outcome:
    """Are all migrations applied, and none that this code does not know?"""
    executor = MigrationExecutor(connection)
    loader = executor.loader
    open_ = [
        f"{m.app_label}.{m.name}" for m, _ in executor.migration_plan(loader.graph.leaf_nodes())
    ]
    ours = {app for app, _ in loader.graph.nodes}
    foreign = [
        f"{app}.{name}"
        for app, name in loader.applied_migrations
        if app in ours
        and (app, name) not in loader.graph.nodes
        and not is_replaced(loader, app, name)
    ]
    if open_:
        wrong = [f"{each} is not applied" for each in open_]
        return judged("migrations", wrong, "", MIGRATE)
    if foreign:
        said = f"The database is newer than this code: it has {', '.join(sorted(foreign)[:SHOWN])}."
        return Outcome("migrations", Verdict.UNSURE, said, "Look with the code that made it.")
    said = f"All {len(loader.applied_migrations):,} migrations are applied."
    return Outcome("migrations", Verdict.OK, said)


def is_replaced(loader: Any, app: str, name: str) -> bool:
    """Whether a migration has been squashed into another."""
    return (app, name) in loader.replacements or any(
        (app, name) in replacing.replaces for replacing in loader.replacements.values()
    )


def judged(name: str, wrong: list[str], ok: str, advice: str = MIGRATE) -> Outcome:
    if not wrong:
        return Outcome(name, Verdict.OK, ok)
    shown = "; ".join(wrong[:SHOWN])
    more = f"; and {len(wrong) - SHOWN:,} more" if len(wrong) > SHOWN else ""
    said = f"{len(wrong):,} wrong: {shown}{more}."
    rows = [{"id": each, "page": ""} for each in wrong[:SHOWN]]
    return Outcome(name, Verdict.DAMAGED, said, advice, "", {"wrong": len(wrong)}, rows)


CHECKS = (
    Check("tables", tables),
    Check("constraints", constraints),
    Check("indexes", indexes),
    Check("triggers", triggers),
    Check("migrations", migrations),
)

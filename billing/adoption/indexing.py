"""Our indexes and constraints, on the columns of theirs that ours stand in."""

from collections.abc import Iterator

from django.apps.registry import Apps
from django.db import connection, models

from billing.adoption import altering
from billing.adoption.catalog import OURS, quoted, theirs
from billing.adoption.mapping import KEYS, Mapped, TableMap, Way, column_of
from billing.models import LeadCredits


def index(mapping: TableMap) -> None:
    """Makes those that the table has not, without keeping writers waiting."""
    for name, statement in wanted(mapping):
        altering.index(mapping.table.name, name, statement)


def wanted(mapping: TableMap) -> Iterator[tuple[str, str]]:
    """Names of the missing ones, and their statements."""
    table = mapping.table
    for each in mapping.columns:
        if _is_unique(mapping, each) and not table.has_unique(each.column):
            name = f"{OURS}{table.name}_{each.name}_key"
            yield (
                name,
                (
                    f"CREATE UNIQUE INDEX CONCURRENTLY {quoted(name)}"
                    f" ON {theirs(table.name)} ({quoted(each.column)})"
                ),
            )
    model = as_theirs(mapping)
    held = {each.columns for each in table.indexes if each.is_valid and not each.is_partial}
    with connection.schema_editor(collect_sql=True, atomic=False) as editor:
        for each in mapping.model._meta.indexes:
            columns = tuple(mapping[name].column for name in each.fields)
            if columns and not each.condition and columns in held:
                continue
            index_ = each.clone()
            index_.name = f"{OURS}{each.name}"
            said = index_.create_sql(model, editor, concurrently=True)
            yield index_.name, str(said)


def _is_unique(mapping: TableMap, each: Mapped) -> bool:
    return each.name in ("id", KEYS.get(mapping.model))


def as_theirs(mapping: TableMap) -> type[models.Model]:
    """Our model with the columns of theirs, for Django to write the statements of indexes."""
    attributes: dict[str, object] = {"__module__": __name__}
    for each in mapping.model._meta.concrete_fields:
        copy = each.clone()
        copy.db_column = mapping[column_of(each)].column
        attributes[each.name] = copy
    meta = {"db_table": mapping.table.name, "app_label": "billing", "apps": Apps()}
    attributes["Meta"] = type("Meta", (), meta)
    return type(mapping.model.__name__, (models.Model,), attributes)


def constrain(mapping: TableMap, *, has_negatives: bool) -> None:
    """What new rows must meet, read over the old ones afterwards."""
    for name, condition in conditions(mapping, has_negatives=has_negatives):
        altering.check(mapping.table.name, name, condition)


def conditions(mapping: TableMap, *, has_negatives: bool) -> Iterator[tuple[str, str]]:
    """Names and conditions of the constraints that the table lacks."""
    table = mapping.table.name
    for each in mapping.of(Way.SERVES):
        if not each.is_null and each.theirs and not each.theirs.not_null:
            yield f"{OURS}{table}_{each.name}_filled", f"{quoted(each.column)} IS NOT NULL"
    if mapping.model is LeadCredits:
        if not has_negatives:
            column = quoted(mapping["balance"].column)
            yield f"{OURS}{table}_not_negative", f"{column} >= 0"
        yield f"{OURS}{table}_owed_not_negative", f"{quoted(mapping['owed'].column)} >= 0"

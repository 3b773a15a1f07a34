"""Do the rows themselves keep to the constraints? One may have been dropped, or never checked.

Each question is one pass over a table, and does not trust its indexes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from django.db import ProgrammingError, connection, transaction
from django.db.models import CheckConstraint, F, Model, UniqueConstraint

from billing.recovery.assessment.outcomes import (
    MOST_USERS,
    SHOWN,
    Check,
    Look,
    Outcome,
    Verdict,
    found_by,
    row_page,
)
from billing.recovery.assessment.schema import columns_of, fields, models

WITHOUT_INDEXES = ";".join(
    f"SET LOCAL enable_{way} = off" for way in ("indexscan", "indexonlyscan", "bitmapscan")
)

Wrong = Callable[[type[Model]], Iterator[tuple[str, str]]]  # what must not be, and its query


@dataclass(slots=True)
class Tally:
    """What is wrong with the rows of many tables, added up."""

    looked_at: int = 0
    wrong: int = 0
    said: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    absent: list[str] = field(default_factory=list)

    def add(self, model: type[Model], what: str, found: tuple[int, list[str], list[str]]) -> None:
        count, examples, users = found
        self.wrong += count
        self.said.append(f"{model._meta.db_table}, {what}: {count:,}")
        label = model._meta.label_lower
        self.rows += [
            {"id": f"{model._meta.db_table} {each}", "page": row_page(label, each)}
            for each in examples[: SHOWN - len(self.rows)]
        ]
        self.users.update(users[: MOST_USERS - len(self.users)])


def asked_of_all(name: str, wrong: Wrong, look: Look, ok: str, advice: str) -> Outcome:
    """Every query of every table. What a table lacks is for other checks to say."""
    tally = Tally()
    with connection.cursor() as cursor:
        cursor.execute(WITHOUT_INDEXES)
    for model in models():
        look.tell(f"{name}: {model._meta.db_table}")
        for what, sql in wrong(model):
            try:
                with transaction.atomic():
                    found = found_by(sql)
            except ProgrammingError:  # the table, or a column of it, is missing
                tally.absent.append(model._meta.db_table)
                continue
            tally.looked_at += 1
            if found[0]:
                tally.add(model, what, found)
    return outcome_of(name, tally, ok.format(count=f"{tally.looked_at:,}"), advice)


def outcome_of(name: str, tally: Tally, ok: str, advice: str) -> Outcome:
    numbers = {"looked_at": tally.looked_at, "wrong": tally.wrong}
    if tally.wrong:
        return Outcome(
            name,
            Verdict.DAMAGED,
            f"{'; '.join(tally.said[:SHOWN])}.",
            advice,
            tally.rows[0]["page"] if tally.rows else "",
            numbers,
            tally.rows,
            sorted(tally.users),
        )
    if tally.absent:
        said = f"Could not be looked at, since something is missing: {', '.join(tally.absent)}."
        return Outcome(name, Verdict.UNSURE, said, "manage.py migrate", "", numbers, is_blind=True)
    return Outcome(name, Verdict.OK, ok, numbers=numbers)


def foreign_keys(look: Look) -> Outcome:
    return asked_of_all(
        "foreign keys",
        orphans,
        look,
        "The rows of all {count} foreign keys have what they refer to.",
        "What they refer to was deleted past the constraint. What came from Stripe comes back:"
        " manage.py sync_from_stripe, or manage.py recover_restore.",
    )


def orphans(model: type[Model]) -> Iterator[tuple[str, str]]:
    for each in fields(model):
        if not each.remote_field or not getattr(each, "db_constraint", True):
            continue
        target = each.target_field
        parent = target.model._meta.db_table
        own, theirs = f"t.{quoted(each.column)}", f"p.{quoted(target.column)}"
        there = f"SELECT FROM {quoted(parent)} p WHERE {theirs} = {own}"
        query = f"{selected(model)} WHERE {own} IS NOT NULL AND NOT EXISTS ({there})"
        yield f"{each.column} refers to no row of {parent}", query


def unique(look: Look) -> Outcome:
    return asked_of_all(
        "unique",
        duplicates,
        look,
        "Nothing stands twice that must be unique, by {count} keys.",
        "Find out which of them is right. Credits that were given twice for one source are taken"
        " back by manage.py take_back_credits; mirrored rows by manage.py sync_from_stripe.",
    )


def duplicates(model: type[Model]) -> Iterator[tuple[str, str]]:
    """One query for each key: the rows that share it with another one."""
    for columns, condition in unique_keys(model):
        names = ", ".join(quoted(column) for column in columns)
        there = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
        where = f"({condition}) AND {there}" if condition else there
        table = quoted(model._meta.db_table)
        shared = f"SELECT {names} FROM {table} WHERE {where} GROUP BY {names} HAVING count(*) > 1"  # noqa: S608
        query = f"{selected(model)} WHERE ({where}) AND ({names}) IN ({shared})"
        yield f"not unique by {', '.join(columns)}", query


def unique_keys(model: type[Model]) -> Iterator[tuple[tuple[str, ...], str]]:
    """The columns of each, and the condition that it has, '' for none."""
    for each in fields(model):
        if each.unique:
            yield (each.column,), ""
    for together in model._meta.unique_together:
        yield columns_of(model, together), ""
    with connection.schema_editor(collect_sql=True) as editor:
        for made in model._meta.constraints:
            if isinstance(made, UniqueConstraint):
                named = [e.name for e in made.expressions if isinstance(e, F)]  # type: ignore[attr-defined]
                if len(named) < len(made.expressions):
                    continue  # by what is reckoned of a row: no table of money has one
                condition = made._get_condition_sql(model, editor)  # type: ignore[attr-defined]
                yield columns_of(model, made.fields or named), condition or ""


def checked(look: Look) -> Outcome:
    return asked_of_all(
        "checks and not null",
        refused,
        look,
        "All rows keep to {count} checks, and have what they must have.",
        "A constraint was dropped, or written past. Put the rows right, then the constraint.",
    )


def refused(model: type[Model]) -> Iterator[tuple[str, str]]:
    """One query for each check, and one for all columns that must not be empty."""
    with connection.schema_editor(collect_sql=True) as editor:
        for made in model._meta.constraints:
            if isinstance(made, CheckConstraint):
                condition = made._get_check_sql(model, editor)  # type: ignore[attr-defined]
                yield f"against {made.name}", f"{selected(model)} WHERE NOT ({condition})"
    for each in fields(model):
        if check := each.db_check(connection):
            yield f"against the range of {each.column}", f"{selected(model)} WHERE NOT ({check})"
    required = [f for f in fields(model) if not f.null]
    empty = " OR ".join(f"t.{quoted(each.column)} IS NULL" for each in required)
    yield "something is empty that must not be", f"{selected(model)} WHERE {empty}"


def selected(model: type[Model]) -> str:
    """The beginning of a query for a table's rows, as `t`: their keys, and their users."""
    [key] = [each.column for each in fields(model) if each.primary_key]
    return f"SELECT t.{quoted(key)}::text, {user_of(model)} FROM {quoted(model._meta.db_table)} t"  # noqa: S608


def user_of(model: type[Model]) -> str:
    """An expression for the user whom a row of `t` is about, by what columns it has."""
    columns = {each.column for each in fields(model)}
    if model._meta.app_label != "billing":
        return "NULL::text"
    if "user_id" in columns:
        return "t.user_id::text"
    if "stripe_customer_id" in columns:
        return (
            "(SELECT c.user_id FROM billing_customers c"
            " WHERE c.stripe_customer_id = t.stripe_customer_id LIMIT 1)"
        )
    return "NULL::text"


def quoted(name: str) -> str:
    return connection.ops.quote_name(name)


CHECKS = (
    Check("foreign keys", foreign_keys, slow=True),
    Check("unique", unique, slow=True),
    Check("checks and not null", checked, slow=True),
)

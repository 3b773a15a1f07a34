"""The triggers on the application's tables: what keeps columns in step, and our models' own.

Their functions stand in our schema and run with our rights and our search path: the application's
role needs none of ours, and what they name is what our code names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pgtrigger

from billing.adoption import journal
from billing.adoption.altering import briefly
from billing.adoption.catalog import OURS, quoted, theirs
from billing.adoption.mapping import Mapped, TableMap, Way, plain
from billing.database import rows
from billing.models import BillingEvent

NOT_BELOW, OPENING = f"{OURS}not_below", f"{OURS}opening"
IN_STEP = f"{OURS}a_in_step"  # before ours and theirs: triggers fire in the order of their names
APPEND_ONLY = "append_only"


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger of ours on a table of theirs."""

    mapping: TableMap
    name: str
    body: str
    when: str
    each: str
    declare: str = ""
    referencing: str = ""

    @property
    def _function(self) -> str:
        return quoted(journal.schema(), f"{self.mapping.table.name}_{self.name}")

    @property
    def function(self) -> str:
        return f"""
            CREATE OR REPLACE FUNCTION {self._function}() RETURNS trigger LANGUAGE plpgsql
            SECURITY DEFINER SET search_path = {journal.path()}, pg_temp
            AS $adopted$ {self.declare} BEGIN {self.body} END $adopted$
        """

    @property
    def statement(self) -> str:
        return (
            f"CREATE TRIGGER {quoted(self.name)} {self.when} ON {theirs(self.mapping.table.name)}"
            f" {self.referencing} {self.each} EXECUTE FUNCTION {self._function}()"
        )

    def stands(self) -> bool:
        return bool(
            rows(
                "SELECT FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname = %s",
                [theirs(self.mapping.table.name), self.name],
            )
        )

    @property
    def note(self) -> tuple[str, str]:
        """Its step in the journal, and what takes it back."""
        table = self.mapping.table.name
        undo = f"DROP TRIGGER IF EXISTS {quoted(self.name)} ON {theirs(table)}"
        return f"{table}: trigger {self.name}", undo


def to_ours(mapping: TableMap, each: Mapped, value: str) -> str:
    """SQL of what a value of theirs is with us."""
    assert each.theirs is not None  # noqa: S101  (narrows the type)
    theirs_, ours = plain(each.theirs.type), each.type
    read = value
    if ours == "text" and theirs_ not in ("text", "character varying"):
        read = f"{value}::text"
    elif ours == "timestamp with time zone" and theirs_ != ours:
        read = f"({value}::timestamp AT TIME ZONE 'UTC')"
    elif ours == "jsonb" and theirs_ == "json":
        read = f"{value}::jsonb"
    elif ours == "jsonb" and theirs_ != "jsonb":
        read = (
            f"CASE WHEN pg_input_is_valid({value}, 'jsonb') THEN {value}::jsonb"
            f" ELSE to_jsonb({value}) END"
        )
    is_blank = each.blank and each is not mapping.key
    return f"coalesce({read}, {each.blank})" if is_blank else read


def to_theirs(each: Mapped, value: str) -> str:
    """SQL of what a value of ours is with them; where theirs may be NULL, NULL if it is nothing."""
    assert each.theirs is not None  # noqa: S101
    theirs_ = each.theirs.type
    if plain(theirs_) == each.type or plain(theirs_) in ("text", "character varying"):
        return f"{value}::{theirs_}"
    if each.type == "timestamp with time zone":
        return f"({value} AT TIME ZONE 'UTC')::{theirs_}"
    if each.theirs.not_null or each.type != "text":
        return f"{value}::{theirs_}"
    return f"CASE WHEN pg_input_is_valid({value}, '{theirs_}') THEN {value}::{theirs_} END"


def keep_in_step(mapping: TableMap) -> list[Trigger]:
    """What writes a companion when its column is written, and the reverse."""
    companions = mapping.of(Way.COMPANION)
    if not companions:
        return []
    inserts = "".join(_on_insert(mapping, each) for each in companions)
    updates = "".join(_on_update(mapping, each) for each in companions if each.name != "id")
    body = f"""
        IF current_setting('backoffice.filling', true) = 'on' THEN RETURN NEW; END IF;
        IF TG_OP = 'INSERT' THEN {inserts}
        ELSE {updates or "NULL;"}
        END IF;
        RETURN NEW;
    """
    return [Trigger(mapping, IN_STEP, body, "BEFORE INSERT OR UPDATE", "FOR EACH ROW")]


def _on_insert(mapping: TableMap, each: Mapped) -> str:
    new = f"NEW.{quoted(each.column)}"
    if each.name == "id":
        number = quoted(journal.schema(), f"{mapping.table.name}_number")
        return f"\n{new} := coalesce({new}, nextval('{number}'));"
    old = f"NEW.{quoted(each.name)}"
    return f"""
        IF {new} IS NULL THEN {_to_companion(mapping, each)}
        ELSE {old} := {to_theirs(each, new)}; END IF;"""


def _on_update(mapping: TableMap, each: Mapped) -> str:
    column, name = quoted(each.column), quoted(each.name)
    as_text = "::text" if each.theirs and plain(each.theirs.type) == "json" else ""
    return f"""
        IF NEW.{column} IS DISTINCT FROM OLD.{column} THEN
            NEW.{name} := {to_theirs(each, f"NEW.{column}")};
        ELSIF NEW.{name}{as_text} IS DISTINCT FROM OLD.{name}{as_text} THEN
            {_to_companion(mapping, each)}
        END IF;"""


def _to_companion(mapping: TableMap, each: Mapped) -> str:
    """A statement that takes theirs over; a key that stands in another row is set apart."""
    new = f"NEW.{quoted(each.column)}"
    read = to_ours(mapping, each, f"NEW.{quoted(each.name)}")
    if each is not mapping.key:
        return f"{new} := {read};"
    table = theirs(mapping.table.name)
    return (
        f"{new} := {read}; IF EXISTS (SELECT FROM {table} t WHERE t.{quoted(each.column)} = {new})"
        f" THEN {new} := NULL; END IF;"
    )


def record(mapping: TableMap, *, append_only: bool = True) -> list[Trigger]:
    """Our model's own triggers, for the application's table."""
    made = []
    for each in mapping.model._meta.triggers:  # type: ignore[attr-defined]
        if each.name == APPEND_ONLY and mapping.model is BillingEvent and not append_only:
            continue
        when = f"{each.when} {' OR '.join(str(one) for one in each.operation)}"
        func = in_our_shape(mapping, each, str(each.get_func(mapping.model)))
        made.append(
            Trigger(
                mapping,
                f"{OURS}{each.name}",
                func,
                when,
                f"FOR EACH {each.level}",
                each.render_declare(mapping.model),
                str(each.referencing or ""),
            )
        )
    return made


def in_our_shape(mapping: TableMap, trigger: pgtrigger.Trigger, func: str) -> str:
    """The function's text, where it reads the rows of the statement as our model has them."""
    if trigger.referencing is None:
        return func
    names = [n for n in (trigger.referencing.old, trigger.referencing.new) if n]
    pattern = rf"\b(FROM|JOIN)(\s+)({'|'.join(names)})\b(\s+[on]\b)?"

    def shaped(found: re.Match[str]) -> str:
        alias = found[4] or f" AS {found[3]}"
        return f"{found[1]}{found[2]}({mapping.shape(found[3])}){alias}"

    return re.sub(pattern, shaped, func)


def guard_negatives(mapping: TableMap) -> Trigger:
    """Where balances are below 0: nobody can take more from them; what brings them up may."""
    body = """
        IF NEW.balance < 0 AND (TG_OP = 'INSERT' OR NEW.balance < OLD.balance) THEN
            RAISE EXCEPTION 'the balance of user % would be %', NEW.user_id, NEW.balance
                USING ERRCODE = 'check_violation',
                      HINT = 'Take credits only WHERE balance >= what is taken.';
        END IF;
        RETURN NEW;
    """
    return Trigger(mapping, NOT_BELOW, body, "BEFORE INSERT OR UPDATE", "FOR EACH ROW")


def open_first(mapping: TableMap) -> Trigger:
    """Before a balance first changes, its opening entry is written (billing.adoption.opening)."""
    user = quoted(mapping["user_id"].column)
    body = f"""
        INSERT INTO credit_entries (user_id, delta, balance_after, kind, source, actor, reason)
        SELECT OLD.{user}::text, OLD.balance, OLD.balance, 'opening',
               'opening:' || OLD.{user}::text, 'adoption', 'Opening balance'
        WHERE OLD.balance <> 0 AND OLD.{user} IS NOT NULL
          AND NOT EXISTS (SELECT FROM credit_entries WHERE user_id = OLD.{user}::text)
        ON CONFLICT (source) WHERE source IS NOT NULL DO NOTHING;
        RETURN coalesce(NEW, OLD);
    """  # noqa: S608
    return Trigger(mapping, OPENING, body, "BEFORE UPDATE OR DELETE", "FOR EACH ROW")


def drop(mapping: TableMap, name: str) -> None:
    """Takes one trigger of ours away."""
    table, function = mapping.table.name, quoted(journal.schema(), f"{mapping.table.name}_{name}")
    briefly(
        [
            f"DROP TRIGGER IF EXISTS {quoted(name)} ON {theirs(table)}",
            f"DROP FUNCTION IF EXISTS {function}",
        ],
        forget=f"{table}: trigger {name}",
    )


def put(*wanted: Trigger, more: Sequence[str] = ()) -> None:
    """Makes triggers, all of them in one moment, and whatever else is to happen in it.

    Those that stand already get their function as it is now.
    """
    statements = [each.function for each in wanted]
    statements += [each.statement for each in wanted if not each.stands()]
    briefly([*statements, *more], [each.note for each in wanted])

"""What a check of the database found, and how checks ask for rows that must not be."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from django.db import connection
from django.urls import NoReverseMatch, reverse

SHOWN = 20  # rows that an outcome names as examples
MOST_USERS = 100_000  # that an outcome names; all of its rows are counted
BROKEN = ("XX", "58")  # how the SQLSTATE of unreadable pages and missing files begins

Tell = Callable[[str], None]


class Verdict(StrEnum):
    """`UNSURE`: a hint that somebody should judge, or a question that could not be asked."""

    OK = "ok"
    DAMAGED = "damaged"
    UNSURE = "unsure"


@dataclass(slots=True)
class Outcome:
    """What one check found.

    `rows` are examples: each its `id` and the path of its `page` in the admin, '' for none.
    `users` are all who are touched. `advice` says what to do next, `page` where. `is_blind`
    where the check could not look although it should have.
    """

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""
    page: str = ""
    numbers: dict[str, int] = field(default_factory=dict)
    rows: list[dict[str, str]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    is_blind: bool = False

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Look:
    """One look at the database: how it is to be done, and what was learned on the way.

    `unreadable` are the blocks of each table that cannot be read, as the first check found them.
    """

    expect: str = ""
    quick: bool = False
    tell: Tell = lambda said: None
    unreadable: dict[str, list[int]] = field(default_factory=dict)

    def readable(self, table: str) -> str:
        """What to read instead of a table: all of it that can be read, for a FROM clause.

        Ranges of places between the blocks that cannot be read; PostgreSQL then reads no other.
        """
        blocks = sorted(self.unreadable.get(table, ()))
        if not blocks:
            return table
        after = [-1, *blocks]
        before = [*blocks, 2**32 - 1]
        ranges = [
            f"SELECT * FROM {table} WHERE ctid >= '({start + 1},0)' AND ctid < '({end},0)'"  # noqa: S608
            for start, end in zip(after, before, strict=True)
            if start + 1 < end
        ]
        return f"({' UNION ALL '.join(ranges)})"


@dataclass(frozen=True, slots=True)
class Check:
    """One question about the database. A `slow` one reads everything, and is left out if quick.

    One that `asks_outside` holds no transaction open meanwhile.
    """

    name: str
    find: Callable[[Look], Outcome]
    slow: bool = False
    asks_outside: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Rows that must not be: `sql` gives their ids and users (text, or null), in that order.

    `ok` says that there is none, `wrong` what they are. `model` has the
    page of an id in the admin (its label), '' where our page about one of Stripe's ids is meant.
    `clues`: what is found may have an innocent reason.
    """

    name: str
    sql: str
    ok: str
    wrong: str
    advice: str
    model: str = ""
    clues: bool = False

    def ask(self, look: Look) -> Outcome:
        """The rows counted, the first of them named, and all of their users."""
        count, examples, users = found_by(self.sql)
        if not count:
            return Outcome(self.name, Verdict.OK, self.ok, numbers={"wrong": 0})
        rows = [
            {"id": each, "page": row_page(self.model, each) if self.model else open_page(each)}
            for each in examples
        ]
        return Outcome(
            self.name,
            Verdict.UNSURE if self.clues else Verdict.DAMAGED,
            f"{self.wrong}: {count:,}.",
            self.advice,
            rows[0]["page"],
            {"wrong": count},
            rows,
            users,
        )


def found_by(sql: str) -> tuple[int, list[str], list[str]]:
    """How many rows a query of ids and users finds, the first ids, and the users."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH found(id, user_id) AS MATERIALIZED ({sql})
            SELECT count(*),
                   ARRAY(SELECT id::text FROM found LIMIT {SHOWN}),
                   ARRAY(SELECT DISTINCT user_id FROM found WHERE user_id <> ''
                         ORDER BY user_id LIMIT {MOST_USERS})
            FROM found
            """  # noqa: S608  (the statements are this package's own)
        )
        count, examples, users = cursor.fetchone()
    return count, examples, users


def row_page(model: str, key: str) -> str:
    """The path of a row's page in the admin; '' for a table that has none."""
    try:
        return reverse(f"admin:{model.lower().replace('.', '_')}_change", args=[key])
    except NoReverseMatch:
        return ""


def list_page(model: str) -> str:
    """The path of a table's list in the admin; '' for one that has none."""
    try:
        return reverse(f"admin:{model.lower().replace('.', '_')}_changelist")
    except NoReverseMatch:
        return ""


def open_page(stripe_id: str) -> str:
    """The path that leads to our page about one of Stripe's ids."""
    return f"{reverse('admin:billing_open')}?id={stripe_id}"


def is_broken(error: Exception) -> bool:
    """Whether PostgreSQL could not read what it has stored."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    return state.startswith(BROKEN)


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

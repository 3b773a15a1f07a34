"""How the application claims a lead: by one function, or by its own statements, or both at once."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.db.utils import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import BillingEvent, CreditEntry, LeadClaim, LeadCredits
from tests.support.databases import Database

TOO_FEW = "LC001"
USERS = ("ada", "bob")


def claim(user: str, lead: str, credits_: int) -> tuple[int, int, bool]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM claim_lead(%s, %s, %s)", [user, lead, credits_])
        claimed, left, is_new = cursor.fetchone()
    return claimed, left, is_new


def give(user: str, credits_: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lead_credits (user_id, balance) VALUES (%s, %s) ON CONFLICT (user_id)"
            " DO UPDATE SET balance = lead_credits.balance + excluded.balance",
            [user, credits_],
        )


@pytest.mark.django_db
def test_a_claim_takes_the_credits_and_is_recorded_once() -> None:
    give("ada", 5)
    number, left, is_new = claim("ada", "lead-1", 2)
    assert (left, is_new) == (3, True)
    assert claim("ada", "lead-1", 2) == (number, 3, False)
    row = LeadClaim.objects.get()
    assert (row.pk, row.credits_spent, row.status) == (number, 2, "succeeded")
    entry = CreditEntry.objects.get(kind="claim")
    assert (entry.delta, entry.balance_after, entry.actor) == (-2, 3, "application")
    assert not BillingEvent.objects.filter(type__startswith="sql.lead_claims").exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sqlstate"),
    [
        (("ada", "lead-1", 6), TOO_FEW),
        (("nobody", "lead-1", 1), TOO_FEW),
        (("ada", "lead-1", 0), "22023"),
        (("ada", "lead-1", -4), "22023"),
        (("ada", "", 1), "22023"),
        (("", "lead-1", 1), "22023"),
    ],
)
def test_a_refusal_says_why_and_takes_nothing(
    arguments: tuple[str, str, int], sqlstate: str
) -> None:
    give("ada", 5)
    with pytest.raises(DatabaseError) as refused:
        claim(*arguments)
    assert getattr(refused.value.__cause__, "sqlstate", "") == sqlstate
    assert LeadCredits.objects.get().balance == 5
    assert not LeadClaim.objects.exists()


@pytest.mark.django_db
def test_the_functions_settings_end_with_it() -> None:
    """What the transaction does afterwards is raw SQL again."""
    give("ada", 5)
    with transaction.atomic():
        claim("ada", "lead-1", 1)
        give("ada", 1)
    assert CreditEntry.objects.order_by("-id")[0].kind == "sql"


Move = tuple[str, str, int, int]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(("function", "own", "give")), st.sampled_from(USERS),
        st.integers(0, 3), st.integers(1, 4),
    ),
    max_size=12,
)  # fmt: skip


@pytest.mark.django_db
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(moves=MOVES)
def test_both_ways_in_any_order_keep_the_books(moves: list[Move]) -> None:
    with transaction.atomic():
        held = dict.fromkeys(USERS, 0)
        known: set[tuple[str, str]] = set()
        for how, user, lead, credits_ in moves:
            name = f"lead-{lead}"
            if how == "give":
                give(user, credits_)
                held[user] += credits_
            elif how == "own":
                if own_statements(user, f"own-{name}", credits_):
                    held[user] -= credits_
            elif (user, name) in known or held[user] >= credits_:
                held[user] -= 0 if (user, name) in known else credits_
                assert claim(user, name, credits_)[1] == held[user]
                known.add((user, name))
            else:
                with pytest.raises(DatabaseError):
                    claim(user, name, credits_)
        assert_the_books(held)
        transaction.set_rollback(True)


def own_statements(user: str, lead: str, credits_: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE lead_credits SET balance = balance - %s WHERE user_id = %s AND balance >= %s",
            [credits_, user, credits_],
        )
        if not cursor.rowcount:
            return False
        cursor.execute(
            "INSERT INTO lead_claims (user_id, lead_id, credits_spent) VALUES (%s, %s, %s)",
            [user, lead, credits_],
        )
    return True


def assert_the_books(held: dict[str, int]) -> None:
    for user, balance in held.items():
        row = LeadCredits.objects.filter(user_id=user).first()
        entries = CreditEntry.objects.filter(user_id=user)
        assert (row.balance if row else 0) == balance
        assert sum(entries.values_list("delta", flat=True)) == balance


def test_many_at_once_never_go_below_zero(real_database: Database) -> None:
    """Eight connections claim by both ways; each lead of the function's is claimed once."""
    give("ada", 60)
    won: list[Any] = []
    refused: set[str] = set()

    def by_function(db: psycopg.Connection, number: int) -> bool:
        found = db.execute(
            "SELECT is_new FROM claim_lead('ada', %s, 2)", [f"lead-{number % 12}"]
        ).fetchone()
        return bool(found and found[0])

    def by_statements(db: psycopg.Connection, number: int) -> bool:
        done = db.execute(
            "UPDATE lead_credits SET balance = balance - 2 WHERE user_id = 'ada' AND balance >= 2"
        )
        if done.rowcount:
            db.execute(
                "INSERT INTO lead_claims (user_id, lead_id, credits_spent) VALUES ('ada', %s, 2)",
                [f"own-{number}-{threading.get_ident()}"],
            )
        return bool(done.rowcount)

    def run(how: Callable[[psycopg.Connection, int], bool]) -> None:
        with psycopg.connect(real_database.url) as db:
            for number in range(12):
                try:
                    if how(db, number):
                        won.append(how)
                    db.commit()
                except psycopg.Error as error:
                    refused.add(str(error.sqlstate))
                    db.rollback()

    ways = [by_function, by_statements] * 4
    threads = [threading.Thread(target=run, args=[how]) for how in ways]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(won) == 30  # all of it was spent, and no credit more
    assert won.count(by_function) <= 12
    assert refused <= {TOO_FEW}
    assert_the_books({"ada": 0})
    assert LeadClaim.objects.count() == 30

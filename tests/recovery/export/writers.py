"""What the marketplace and operators do, in raw SQL as it reaches the database."""

from typing import Any

import psycopg

GIVE = """
    INSERT INTO lead_credits (user_id, balance) VALUES (%(user)s, %(credits)s)
    ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance + %(credits)s
"""
CLAIM = """
    WITH paid AS (
        UPDATE lead_credits SET balance = balance - 1 WHERE user_id = %(user)s RETURNING user_id
    )
    INSERT INTO lead_claims (user_id, lead_id, credits_spent)
    SELECT user_id, %(lead)s, 1 FROM paid RETURNING id
"""


def give(connection: psycopg.Connection[Any], user: str, amount: int = 5) -> None:
    connection.execute(GIVE, {"user": user, "credits": amount})


def claim(connection: psycopg.Connection[Any], user: str, lead: str) -> int:
    """A claim as the application makes it: the debit and the claim in one statement."""
    row = connection.execute(CLAIM, {"user": user, "lead": lead}).fetchone()
    assert row is not None
    return int(row[0])


def act_as(connection: psycopg.Connection[Any], actor: str) -> None:
    """Until the transaction ends, it writes no audit events, and so waits for nobody's."""
    connection.execute("SELECT set_config('billing.actor', %s, true)", [actor])

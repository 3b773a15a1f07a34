"""A marketplace's database of before, as somebody else's script has made and filled it.

Nothing in it is ours: uuid keys, uuid user ids, an enumeration, times without a zone, no unique
constraint, columns of its own, and rows that no book should hold.
"""

import json
import random
import uuid
from dataclasses import dataclass, field

import psycopg

SCRIPT = """
    CREATE TYPE sub_status AS ENUM (
        'incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled',
        'unpaid', 'paused', 'legacy_gold');
    CREATE TABLE app_users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text);
    CREATE TABLE billing_customers (
        id serial PRIMARY KEY, user_id uuid, email varchar(200), stripe_customer_id text,
        company text, created_at timestamp DEFAULT now());
    CREATE TABLE billing_subscriptions (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid,
        stripe_subscription_id text, status sub_status, price_id text,
        current_period_end timestamp, plan_label text, created_at timestamp DEFAULT now());
    CREATE TABLE billing_invoices (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid,
        stripe_invoice_id text, status text, amount_paid integer,
        created_at timestamptz DEFAULT now());
    CREATE TABLE billing_events (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), type text NOT NULL, payload json,
        created_at timestamptz DEFAULT now());
    CREATE TABLE lead_credits (
        user_id uuid, balance integer, updated_at timestamp DEFAULT now());
    CREATE TABLE lead_claims (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), user_id uuid NOT NULL, lead_id uuid,
        credits_spent integer DEFAULT 1, claimed_at timestamptz DEFAULT now());
    CREATE INDEX ON lead_claims (user_id);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON lead_credits FOR EACH ROW EXECUTE FUNCTION touch();
"""


@dataclass
class Planted:
    """What is wrong in the database, by what it is about."""

    duplicates: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    unknown_status: list[str] = field(default_factory=list)
    without_key: int = 0
    events_without_id: int = 0
    doubled_user: str = ""
    users: list[str] = field(default_factory=list)


def build(url: str, *, users: int = 40, seed: int = 7) -> Planted:
    """Makes and fills the tables, as their owner."""
    made = random.Random(seed)
    planted = Planted([], [], [])
    with psycopg.connect(url) as db:
        db.execute(SCRIPT)
        for number in range(users):
            user = str(uuid.UUID(int=made.getrandbits(128), version=4))
            planted.users.append(user)
            db.execute("INSERT INTO app_users VALUES (%s, %s)", [user, f"u{number}@example.com"])
            email = None if number % 7 == 0 else f"u{number}@example.com"
            db.execute(
                "INSERT INTO billing_customers (user_id, email, stripe_customer_id)"
                " VALUES (%s, %s, %s)",
                [user, email, f"cus_old{number:04}"],
            )
            db.execute(
                "INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status,"
                " price_id) VALUES (%s, %s, 'active', 'price_old')",
                [user, f"sub_old{number:04}"],
            )
            db.execute(
                "INSERT INTO billing_invoices (user_id, stripe_invoice_id, status, amount_paid)"
                " VALUES (%s, %s, 'paid', 4900)",
                [user, f"in_old{number:04}"],
            )
            db.execute("INSERT INTO lead_credits VALUES (%s, %s)", [user, 20 + number])
            db.execute(
                "INSERT INTO lead_claims (user_id, lead_id) VALUES (%s, gen_random_uuid())", [user]
            )
            db.execute(
                "INSERT INTO billing_events (type, payload) VALUES ('invoice.paid', %s)",
                [json.dumps({"id": f"in_old{number:04}", "metadata": {"user_id": user}})],
            )
            planted.events_without_id += 1
        plant(db, planted)
    return planted


def plant(db: psycopg.Connection, planted: Planted) -> None:
    """Each of the defects, twice where that makes a difference."""
    users = planted.users
    for key in ("sub_old0001", "sub_old0002"):
        db.execute(
            "INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status, price_id)"
            " VALUES (%s, %s, 'canceled', 'price_old')",
            [users[1], key],
        )
    db.execute("INSERT INTO billing_invoices (user_id, stripe_invoice_id, status)"
               " VALUES (%s, 'in_old0003', 'open')", [users[3]])  # fmt: skip
    db.execute("INSERT INTO billing_customers (user_id, stripe_customer_id)"
               " VALUES (%s, 'cus_old0004')", [users[5]])  # fmt: skip
    planted.duplicates = ["sub_old0001", "sub_old0002", "in_old0003", "cus_old0004"]
    db.execute("INSERT INTO billing_subscriptions (user_id, status) VALUES (%s, 'active')",
               [users[6]])  # fmt: skip
    db.execute("INSERT INTO billing_invoices (user_id, status) VALUES (%s, 'paid')", [users[6]])
    planted.without_key = 2
    for user, balance in ((users[8], -5), (users[9], -12)):
        db.execute("UPDATE lead_credits SET balance = %s WHERE user_id = %s", [balance, user])
    planted.negative = [users[8], users[9]]
    db.execute("UPDATE billing_subscriptions SET status = 'legacy_gold'"
               " WHERE stripe_subscription_id = 'sub_old0010'")  # fmt: skip
    db.execute("UPDATE billing_invoices SET status = 'settled'"
               " WHERE stripe_invoice_id = 'in_old0011'")  # fmt: skip
    planted.unknown_status = ["sub_old0010", "in_old0011"]
    planted.doubled_user = users[12]
    db.execute("INSERT INTO lead_credits VALUES (%s, 3)", [users[12]])
    db.execute("INSERT INTO billing_events (type, payload) VALUES ('manual.credit_adjustment',"
               " '{\"user_id\": \"x\", \"amount\": 50}')")  # fmt: skip

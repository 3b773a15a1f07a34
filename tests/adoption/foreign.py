"""A marketplace's database of before, as somebody else's script has made and filled it.

Nothing in it is ours: uuid keys, uuid user ids, an enumeration, times without a zone, no unique
constraint, columns of its own, and rows that no book should hold.
"""

import json
import random
import uuid
from dataclasses import dataclass, field
from typing import Any

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


def build(url: str, *, users: int = 20, seed: int = 7) -> Planted:
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
            db.execute("INSERT INTO lead_credits VALUES (%s, %s)", [user, 1000 + number])
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


TABLES = (
    "billing_customers", "billing_subscriptions", "billing_invoices", "billing_events",
    "lead_credits", "lead_claims",
)  # fmt: skip
SCHEMA = """
    SELECT 'column', c.relname::text, a.attname::text,
           format_type(a.atttypid, a.atttypmod) || a.attnotnull::text
           || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND NOT a.attisdropped
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(t.oid)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal
    UNION ALL
    SELECT 'function', '', p.oid::regprocedure::text, prosrc FROM pg_proc p
    WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'schema', '', nspname::text, '' FROM pg_namespace WHERE nspname !~ '^pg_'
    ORDER BY 1, 2, 3
"""


def schema(url: str) -> list[Any]:
    """All that the catalog says of the application's schema."""
    with psycopg.connect(url) as db:
        return db.execute(SCHEMA).fetchall()


def rows(url: str) -> dict[str, list[Any]]:
    """All rows, in the columns that the script has made."""
    with psycopg.connect(url) as db:
        return {table: sorted(_rows(db, table)) for table in TABLES}


COLUMNS = {
    "billing_customers": "id, user_id, email, stripe_customer_id, company, created_at",
    "billing_subscriptions": "id, user_id, stripe_subscription_id, status, price_id,"
    " current_period_end, plan_label, created_at",
    "billing_invoices": "id, user_id, stripe_invoice_id, status, amount_paid, created_at",
    "billing_events": "id, type, payload::text, created_at",
    "lead_credits": "user_id, balance, updated_at",
    "lead_claims": "id, user_id, lead_id, credits_spent, claimed_at",
}


def _rows(db: psycopg.Connection, table: str) -> list[str]:
    found = db.execute(f"SELECT ({COLUMNS[table]})::text FROM public.{table}").fetchall()  # noqa: S608
    return [str(row[0]) for row in found]

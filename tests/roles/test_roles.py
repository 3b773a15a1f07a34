"""What each role may and may not do, tried as that role on every table there is."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command

from backoffice.postgres import LOCAL_DIR
from billing.roles import grants
from billing.roles.wanted import ANALYST, APPLICATION, BACKOFFICE, READ_BY_ANALYST, ROLES
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import run_back_office
from tests.support.databases import Database
from tests.support.events import events_of
from tests.support.waiting import wait_until

REFUSED = psycopg.errors.InsufficientPrivilege
READABLE = {
    "billing_customers", "billing_subscriptions", "billing_invoices", "billing_events",
    "lead_credits", "lead_claims",
}  # fmt: skip
SECRET = ("auth_user", "django_session", "billing_inbox", "djstripe_customer", "billing_operations")


@pytest.fixture
def roles(real_database: Database) -> Iterator[Database]:
    """Roles are the server's, not a database's: one test at a time makes them."""
    with Path(LOCAL_DIR / "roles.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        call_command("database_roles", "--apply")
        yield real_database


def tables(db: psycopg.Connection) -> list[str]:
    found = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return [row[0] for row in found.fetchall()]


def may(db: psycopg.Connection, role: str, statement: str) -> bool:
    """Whether the role may run it. What it would do is taken back, and what it lacks is no matter:
    rights are looked at before rows are."""
    with db.transaction(force_rollback=True):
        db.execute(f"SET LOCAL ROLE {role}")
        try:
            with db.transaction():
                db.execute(statement)
        except REFUSED:
            return False
        except psycopg.Error:
            return True
        return True


def test_applied_once_nothing_is_left_to_do(roles: Database) -> None:
    assert grants.statements() == []
    call_command("database_roles")
    with psycopg.connect(roles.url, autocommit=True) as db:
        db.execute(f"GRANT DELETE ON lead_claims TO {APPLICATION}")
        db.execute(f"REVOKE SELECT ON lead_credits FROM {APPLICATION}")  # noqa: S608
    with pytest.raises(CommandError, match="2 statements would put it right"):
        call_command("database_roles", "--check")
    call_command("database_roles", "--apply")
    call_command("database_roles", "--check")
    with psycopg.connect(roles.url) as db:
        found = db.execute(
            "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole FROM pg_roles"
            " WHERE rolname = ANY(%s) ORDER BY 1",
            [list(ROLES)],
        ).fetchall()
    assert [row[1:] for row in found] == [(False, False, False)] * 4


def test_the_application_may_read_the_contract_and_claim(roles: Database) -> None:
    with psycopg.connect(roles.url) as db:
        for table in tables(db):
            assert may(db, APPLICATION, f"SELECT * FROM {table} LIMIT 1") == (table in READABLE)  # noqa: S608
            assert not may(db, APPLICATION, f"DELETE FROM {table}")  # noqa: S608
            assert not may(db, APPLICATION, f"TRUNCATE {table}")
            assert not may(db, APPLICATION, f"ALTER TABLE {table} DISABLE TRIGGER ALL")
            if table != "lead_claims":
                assert not may(db, APPLICATION, f"INSERT INTO {table} DEFAULT VALUES"), table
        assert not may(db, APPLICATION, "UPDATE lead_credits SET owed = 0")
        assert not may(db, APPLICATION, "UPDATE lead_claims SET credits_spent = 0")
        assert not may(db, APPLICATION, "CREATE TABLE public.mine ()")


def test_its_claims_are_recorded_though_it_may_not_write_the_ledger(roles: Database) -> None:
    """By the function and by its own statements, as one log-in."""
    with psycopg.connect(roles.url) as db:
        db.execute("INSERT INTO lead_credits (user_id, balance) VALUES ('ada', 9)")
        db.execute(f"SET ROLE {APPLICATION}")
        assert db.execute("SELECT new_balance FROM claim_lead('ada', 'l1', 2)").fetchone() == (7,)
        db.execute("UPDATE lead_credits SET balance = balance - 3, updated_at = now()"
                   " WHERE user_id = 'ada' AND balance >= 3")  # fmt: skip
        db.execute("INSERT INTO lead_claims (user_id, lead_id, credits_spent)"
                   " VALUES ('ada', 'l2', 3)")  # fmt: skip
        db.execute("UPDATE lead_claims SET status = 'failed', failure_reason = 'gone'"
                   " WHERE lead_id = 'l2'")  # fmt: skip
        db.execute("RESET ROLE")
        told = db.execute("SELECT kind, delta FROM credit_entries ORDER BY id").fetchall()
        assert told == [("sql", 9), ("claim", -2), ("sql", -3)]


def test_the_analyst_reads_figures_and_nobody(roles: Database) -> None:
    read = {model._meta.db_table: model for model in READ_BY_ANALYST}
    with psycopg.connect(roles.url) as db:
        for table in tables(db):
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"):  # noqa: S608
                assert not may(db, ANALYST, statement), statement
            if table not in read:
                assert not may(db, ANALYST, f"SELECT * FROM {table}"), table  # noqa: S608
                continue
            hidden = READ_BY_ANALYST[read[table]]
            for each in read[table]._meta.concrete_fields:
                column = str(each.column)
                seen = may(db, ANALYST, f'SELECT "{column}" FROM {table} LIMIT 1')  # noqa: S608
                assert seen == (column not in hidden), (table, column)
        assert set(SECRET).isdisjoint(read)


def test_the_back_office_writes_rows_and_changes_no_table(roles: Database) -> None:
    append_only = {
            "billing_events", "credit_entries", "billing_audit_chain", "billing_incident_entries",
        }  # fmt: skip
    with psycopg.connect(roles.url) as db:
        for table in tables(db):
            assert may(db, BACKOFFICE, f"SELECT * FROM {table} LIMIT 1"), table  # noqa: S608
            assert may(db, BACKOFFICE, f"INSERT INTO {table} DEFAULT VALUES"), table
            kept = table in append_only | {"lead_credits"}
            assert may(db, BACKOFFICE, f"DELETE FROM {table} WHERE false") != kept, table  # noqa: S608
            assert not may(db, BACKOFFICE, f"ALTER TABLE {table} DISABLE TRIGGER ALL"), table
            assert not may(db, BACKOFFICE, f"DROP TABLE {table}"), table
        assert not may(db, BACKOFFICE, "UPDATE credit_entries SET delta = 0")
        erase = "SELECT billing_erase('credit_entries.reason', 0, '\"\"')"
        assert may(db, BACKOFFICE, erase)
        assert not may(db, APPLICATION, erase)
        assert not may(db, ANALYST, erase)
        assert not may(db, BACKOFFICE, "CREATE TABLE public.mine ()")


def test_the_back_office_runs_as_its_role(
    roles: Database, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Web requests, the worker, a sync and a reconciliation: a purchase comes to its credits."""
    as_role = quote(f"-c role={BACKOFFICE}")
    url = urlsplit(roles.url)._replace(query=f"options={as_role}").geturl()
    with run_back_office(url, sandbox, tmp_path / "logs") as running:
        running.start_worker()
        Shop(sandbox).buy()

        def has_credits() -> bool:
            with psycopg.connect(roles.url) as db:
                found = db.execute("SELECT balance FROM lead_credits").fetchone()
                return found == (50,)

        wait_until(has_credits)
        assert events_of(sandbox)
        running.manage("sync_from_stripe", "--all", "--reason", "To be sure")
        running.manage("grant_credits", "u_ada", "5", "--reason", "A present")
        running.manage("reconcile", "full", "--grace", "0", check=False)
        done = running.manage("verify_audit")
        assert "all as they were written" in done.stdout
    with psycopg.connect(roles.url) as db:
        runs = db.execute("SELECT status, error FROM billing_reconciliation_runs").fetchall()
        assert runs == [("done", "")]

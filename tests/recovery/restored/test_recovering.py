"""The database is lost and an old backup takes its place: what only we knew comes back."""

import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from django.db import connection, transaction
from djstripe.models import Charge
from pytest_django import Settings

from billing.diagnosis import audit
from billing.models import (
    AuditLink,
    BillingEvent,
    BillingPayment,
    BillingSubscription,
    CreditEntry,
    LeadClaim,
    LeadCredits,
    Recovery,
)
from billing.operations.base import InvalidInputError
from billing.operations.purchases import GrantPurchase
from billing.operations.sync import SyncFromStripe
from billing.operations.tying import TieOutBalance
from billing.projection.ledger import RESTORED
from billing.recovery.assessment.books import line
from billing.recovery.assessment.outcomes import Look, Verdict
from billing.recovery.export import reading
from billing.recovery.export.store import StoreError
from billing.recovery.export.tables import STRIPES
from billing.recovery.export.writing import ForkedError, export_books
from billing.recovery.restored import recovering
from tests.commands.conftest import Run
from tests.operations.shop import BOB, Shop, balance
from tests.recovery.export.writers import claim, give
from tests.recovery.restored.conftest import all_add_up, books, live, lost, restored, work
from tests.support.databases import Database
from tests.support.events import deliver_and_drain

BackUp = Callable[[], Database]
ACTOR = "cli:erin"


def test_every_row_is_as_it_was_and_the_audit_log_goes_on_link_by_link(
    real_database: Database, place: Path, back_up: BackUp
) -> None:
    live(real_database.url, "u_ada")
    export_books()
    backup = back_up()
    live(real_database.url, "u_bob")
    live(real_database.url, "u_ada")
    export_books()
    before = books(real_database.url)
    connection.close()
    with restored(backup):
        found = recovering.put_back(lost(), ACTOR)
        assert books(backup.url) == before
        assert found.is_whole
        assert not found.is_forked
        assert (found.no_place, found.renumbered) == ([], 0)
        assert found.operations == {"add_note, applied": 2, "grant_credits, applied": 2}
        assert audit.verify(expect=before["billing_audit_chain"][-1]["hash"]).broken == ""
        again = recovering.put_back(lost(), ACTOR)
        assert (again.audit, again.ledger, again.records) == (0, 0, {})
        assert books(backup.url) == before
        live(backup.url, "u_eve")
        export_books()
        assert [verdict.wrong for verdict in reading.verify()] == ["", "", ""]
        assert len(list(reading.rows("ledger"))) == CreditEntry.objects.count()
        connection.close()


def test_what_is_written_before_it_is_put_back_costs_no_row(
    real_database: Database, place: Path, back_up: BackUp
) -> None:
    """The application claims in the restored database, and takes the lost rows' numbers."""
    live(real_database.url, "u_ada")
    export_books()
    backup = back_up()
    with psycopg.connect(real_database.url) as application:
        for lead in range(9):
            claim(application, "u_ada", f"lost {lead}")
    live(real_database.url, "u_bob")
    export_books()
    connection.close()
    with restored(backup):
        with psycopg.connect(backup.url) as application:
            for lead in range(11):
                claim(application, "u_ada", f"new {lead}")
            give(application, "u_eve")
        found = recovering.put_back(lost(), ACTOR)
        assert found.is_forked
        assert not found.is_whole
        leads = set(LeadClaim.objects.values_list("lead_id", flat=True))
        assert leads >= {f"lost {n}" for n in range(9)} | {f"new {n}" for n in range(11)}
        assert "lead of u_bob" in leads
        assert audit.verify().broken == ""
        assert all_add_up()
        # 11 there were, and 20 were spent of them: 9 are owed.
        ada = LeadCredits.objects.get(user_id="u_ada")
        assert (ada.balance, ada.owed) == (0, 9)
        assert LeadCredits.objects.get(user_id="u_bob").balance == 11
        entries = CreditEntry.objects.count()
        recovering.put_back(lost(), ACTOR)
        assert (CreditEntry.objects.count(), LeadClaim.objects.count()) == (entries, len(leads))
        with pytest.raises(ForkedError, match="folder of its own"):
            export_books()
        connection.close()


def test_a_dry_run_says_the_same_and_changes_nothing(
    real_database: Database, place: Path, back_up: BackUp
) -> None:
    export_books()
    backup = back_up()
    live(real_database.url, "u_bob")
    export_books()
    connection.close()
    with restored(backup):
        before = books(backup.url)
        assert recovering.look(lost(), ACTOR).ledger == 3
        assert books(backup.url) == before
        assert recovering.put_back(lost(), ACTOR).ledger == 3
        connection.close()


def test_an_export_that_was_changed_puts_nothing_back(
    real_database: Database, place: Path, back_up: BackUp
) -> None:
    export_books()
    backup = back_up()
    live(real_database.url, "u_bob")
    export_books()
    connection.close()
    segment = next((place / "ledger").iterdir())
    segment.write_bytes(segment.read_bytes()[:-4])
    with restored(backup):
        before = books(backup.url)
        with pytest.raises(StoreError, match="no segment as we wrote it"):
            recovering.put_back(lost(), ACTOR)
        assert books(backup.url) == before
        connection.close()


def test_stripe_tells_the_rest_and_nothing_is_granted_twice(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp, run: Run
) -> None:
    shop.buy()
    shop.deliver()
    export_books()
    backup = back_up()
    shop.buy()  # comes in, is exported and lost
    shop.deliver()
    work(real_database.url, "u_ada")
    export_books()
    shop.buy()  # is lost as a webhook, too
    connection.close()
    with restored(backup):
        ran = run("recover_restore", "--since", "2026-01-01", "--yes", "--json")
        said = ran.document
        assert said["status"] == "done", json.dumps(said, indent=1)
        assert said["put_back"]["is_whole"]
        assert said["audit"]["is_whole"]
        assert balance("u_ada") == (3 * 50 + 6, 0)
        assert all_add_up()
        assert CreditEntry.objects.filter(kind="pack").count() == 3
        assert Recovery.objects.get().kind == Recovery.Kind.RESTORE
        newest = AuditLink.objects.order_by("-position")[0]
        assert BillingEvent.objects.get(pk=newest.event_id).type == recovering.AUDIT_TYPE
        deliver_and_drain(shop.sandbox.get("/v1/events", limit=100).json()["data"])
        assert balance("u_ada") == (3 * 50 + 6, 0)
        connection.close()


def test_a_grant_that_was_deleted_and_granted_again_comes_back_once(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp
) -> None:
    """Somebody deleted the entry past the triggers, the balance was tied out, the pack granted."""
    export_books()
    backup = back_up()
    bought = shop.buy()["checkout_session"]
    shop.deliver()
    export_books()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM credit_entries WHERE source = %s", [f"checkout:{bought}"])
    TieOutBalance(user_id="u_ada", **BOB).apply()
    GrantPurchase(purchase_id=bought, **BOB).apply()
    export_books()
    connection.close()
    with restored(backup):
        recovering.put_back(lost(), ACTOR)
        assert balance("u_ada") == (50, 0)
        assert all_add_up()
        connection.close()


def test_a_line_that_was_broken_before_the_loss_goes_on(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp
) -> None:
    """Somebody wrote a balance and an entry past the triggers, and people went on."""
    export_books()
    backup = back_up()
    for name in ("u_bob", "u_eve", "u_ida"):
        live(real_database.url, name)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE lead_credits SET balance = balance + 501 WHERE user_id = 'u_bob'")
        cursor.execute(
            "INSERT INTO credit_entries (user_id, delta, balance_after, kind, reason)"
            " VALUES ('u_eve', 77, 77, 'pack', 'Paid in checkout')"
        )
    for name in ("u_bob", "u_eve", "u_ida"):
        work(real_database.url, name)
    held = balance("u_ida")
    export_books()
    connection.close()
    with restored(backup):
        recovering.put_back(lost(), ACTOR)
        assert all_add_up()
        assert balance("u_ida") == held
        with transaction.atomic():
            assert line(Look()).verdict == Verdict.OK
        told = CreditEntry.objects.filter(source__startswith=RESTORED)
        assert set(told.values_list("user_id", flat=True)) == {"u_bob", "u_eve"}
        assert recovering.put_back(lost(), ACTOR).ledger == 0
        assert told.count() == 4
        connection.close()


def test_what_was_synced_and_never_an_event_is_in_the_mirror_again(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp, run: Run
) -> None:
    bought = shop.subscribe()
    shop.deliver()
    export_books()
    backup = back_up()
    fault = shop.sandbox.control("faults", no_event=True)
    shop.buy(customer=bought["customer"])
    shop.sandbox.control(f"faults/{fault['id']}", http="DELETE")
    SyncFromStripe(kind="customer", id=bought["customer"], **BOB).apply()
    export_books()
    connection.close()
    with restored(backup):
        run("recover_restore", "--since", lost().taken_at.isoformat(), "--yes", "--json")
        here = BillingPayment.objects.values_list("stripe_charge_id", flat=True)
        assert set(Charge.objects.values_list("id", flat=True)) == set(here)
        assert len(here) == 2
        connection.close()


@pytest.mark.parametrize("table", [model._meta.db_table for model in STRIPES])
def test_what_somebody_did_to_rows_of_stripes_comes_back(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp, table: str
) -> None:
    shop.subscribe()
    shop.deliver()
    export_books()
    backup = back_up()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET created_at = '2026-01-01' RETURNING id")  # noqa: S608
        [(changed,)] = cursor.fetchall()
    export_books()
    connection.close()
    with restored(backup):
        found = recovering.put_back(lost(), ACTOR)
        assert (found.records[table], found.no_place) == (1, [])
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {table} WHERE created_at = '2026-01-01'")  # noqa: S608
            assert cursor.fetchall() == [(changed,)]
        connection.close()


def test_a_row_of_stripes_that_was_deleted_and_made_again_comes_back_as_it_was_last(
    shop: Shop, real_database: Database, place: Path, back_up: BackUp
) -> None:
    """Somebody changed it, then deleted it past the triggers, and a sync made it anew."""
    bought = shop.subscribe()
    shop.deliver()
    export_books()
    backup = back_up()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_subscriptions SET status = 'past_due'")
    export_books()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("DELETE FROM billing_subscriptions")
    SyncFromStripe(kind="subscription", id=bought["subscription"], **BOB).apply()
    export_books()
    connection.close()
    with restored(backup):
        found = recovering.put_back(lost(), ACTOR)
        assert found.no_place == []
        assert BillingSubscription.objects.get().status == "active"
        connection.close()


def test_without_an_export_it_says_what_nobody_can_know(
    real_database: Database, settings: Settings
) -> None:
    settings.EXPORT_URL = ""
    started = lost()
    found = recovering.put_back(started, ACTOR)
    assert found.unknown == (started.taken_at, started.restored_at)


def test_without_a_note_of_a_restore_it_asks_for_the_time(
    real_database: Database, settings: Settings
) -> None:
    settings.BACKUP_FOLDER = ""
    with pytest.raises(InvalidInputError, match="--since"):
        recovering.begin(None, real_database.name)

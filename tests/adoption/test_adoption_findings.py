"""After a sync, a full reconciliation says where the old books were wrong: every defect planted."""

from datetime import timedelta

from django.db import connection

from billing.diagnosis.kinds import Kind
from billing.models import CreditEntry, FindingRecord, LeadCredits
from billing.projection.bulk import sync_everything
from billing.reconciliation import looking, runs
from tests.adoption.conftest import Adopted
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database


def verdicts(kind: Kind) -> dict[str, str]:
    found = FindingRecord.objects.filter(kind=kind)
    return dict(found.values_list("subject", "verdict"))


def test_the_list_names_every_defect(
    adopted: Adopted, shop_floor: Database, sandbox: SandboxProcess
) -> None:
    planted, shop = adopted.planted, Shop(sandbox)
    buyer = planted.users[2]
    held = LeadCredits.objects.get(user_id=buyer).balance
    before = shop.buy(user_id=buyer)
    with connection.cursor() as cursor:  # as if it had been adopted just now
        cursor.execute("UPDATE billing_adoption SET adopted_at = clock_timestamp() + '1 second'")
    sync_everything(actor="cli:rita")

    # What was bought before is in the balance already.
    assert LeadCredits.objects.get(user_id=buyer).balance == held
    session = f"checkout:{before['checkout_session']}"
    bought = CreditEntry.objects.filter(source__in=[session, f"opening:{session}"]).order_by("id")
    assert [each.delta for each in bought] == [50, -50]

    run = runs.reconcile("full", actor="cli:rita", grace=timedelta(seconds=-2))
    assert run.status == "done"
    apart = verdicts(Kind.ROW_SET_APART)
    for key in (*planted.duplicates, planted.doubled_user):
        assert sum(f" {key}, too" in said for said in apart.values()) == 1, key
    assert sum("it has no " in said for said in apart.values()) == planted.without_key
    assert len(apart) == len(planted.duplicates) + 1 + planted.without_key
    assert set(verdicts(Kind.STATUS_UNKNOWN)) == set(planted.unknown_status)
    assert set(planted.negative) <= set(verdicts(Kind.BALANCE_NEGATIVE))
    [events] = verdicts(Kind.EVENTS_WITHOUT_ID).values()
    assert events.startswith(f"{planted.events_without_id} of Stripe's events")
    openings = verdicts(Kind.OPENING_DIFFERS)
    assert "(50, less refunds)" in openings[buyer]

    # It is so until somebody mends it.
    record = FindingRecord.objects.filter(
        kind=Kind.ROW_SET_APART, subject__startswith="billing_"
    ).first()
    assert record is not None
    assert looking.look_again(record)
    table, _, row = record.subject.partition(":")
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM public.{table} WHERE id::text = %s", [row])  # noqa: S608
    assert not looking.look_again(record)
    record.refresh_from_db()
    assert record.state == FindingRecord.State.RESOLVED

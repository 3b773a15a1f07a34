"""Raw payloads are dropped by age; what was not processed, and the books, are not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.test import Client
from djstripe.models import Event
from pytest_django import Settings

from billing.alerts import flow
from billing.alerts.firing import Look
from billing.diagnosis import audit
from billing.ingress import retention
from billing.models import BillingEvent, InboxEvent
from billing.operations.base import OperationError
from billing.operations.replay import ReplayEvents
from tests.admin.conftest import LogIn, log_in
from tests.commands.conftest import Run, run
from tests.operations.shop import BOB, Shop, balance
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver, events_of

__all__ = ["log_in", "run"]
LATER = timedelta(days=401)


@pytest.fixture
def shop(db: None, sandbox: SandboxProcess) -> Shop:
    shop = Shop(sandbox)
    shop.buy()
    shop.deliver()
    return shop


def age(days: int) -> None:
    InboxEvent.objects.update(received_at=datetime.now(UTC) - timedelta(days=days))


def test_old_payloads_go_and_the_books_stay(shop: Shop, run: Run) -> None:
    logged = list(BillingEvent.objects.order_by("id").values_list("id", "payload"))
    age(399)
    assert run("drop_payloads", "--json").document["dropped"] == 0
    age(401)
    open_id = InboxEvent.objects.latest("id").stripe_event_id
    InboxEvent.objects.filter(stripe_event_id=open_id).update(status="dead")
    due = InboxEvent.objects.count() - 1
    dry = run("drop_payloads", "--dry-run", "--json").document
    assert (dry["due"], dry["dropped"]) == (due, 0)
    assert not InboxEvent.objects.filter(body="").exists()
    assert run("drop_payloads", "--json", "--actor", "eve").document["dropped"] == due
    assert [row.stripe_event_id for row in InboxEvent.objects.exclude(body="")] == [open_id]
    assert InboxEvent.objects.filter(payload_dropped_at=None).count() == 1
    assert not Event.objects.exclude(id=open_id).exclude(data={}).exists()
    said = BillingEvent.objects.get(type="system.payloads_dropped")
    assert (said.payload["events"], said.actor) == (due, "cli:eve")
    assert list(BillingEvent.objects.exclude(pk=said.pk).order_by("id").values_list(
        "id", "payload")) == logged  # fmt: skip
    assert audit.verify().broken == ""
    assert run("drop_payloads", "--json").document["dropped"] == 0


def test_a_dropped_event_is_not_taken_twice_nor_replayed(
    shop: Shop, run: Run, log_in: LogIn
) -> None:
    age(401)
    before = balance("u_ada")
    assert before == (50, 0)
    retention.drop("system")
    deliver(events_of(shop.sandbox))  # as if Stripe sent all of it once more
    assert not InboxEvent.objects.filter(status="pending").exists()
    event = InboxEvent.objects.get(type="checkout.session.completed")
    with pytest.raises(OperationError, match="dropped for its age"):
        ReplayEvents(event_ids=[event.stripe_event_id], **BOB).apply()
    assert balance("u_ada") == before
    client: Client = log_in("support")
    page = client.get(f"/admin/billing/inboxevent/{event.pk}/change/").content.decode()
    assert "dropped for its age" in page


def test_off_they_are_kept_for_ever_and_a_job_that_does_not_run_is_told(
    shop: Shop, settings: Settings
) -> None:
    age(401)
    now = datetime.now(UTC)
    assert list(flow.payloads(Look(now, {}))) == []
    age(408)
    [firing] = flow.payloads(Look(now, {}))
    assert "drop_payloads" in firing.detail
    settings.RETAIN_PAYLOADS_DAYS = 0
    assert list(flow.payloads(Look(now, {}))) == []
    assert retention.drop("system") == 0
    assert json.loads(InboxEvent.objects.latest("id").body)["object"] == "event"


def test_the_clock_alone_makes_them_old(shop: Shop) -> None:
    with time_machine.travel(datetime.now(UTC) + LATER, tick=False):
        assert retention.kept().due == InboxEvent.objects.count()

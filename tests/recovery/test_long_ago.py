"""The trouble began before the events that Stripe still lists: objects tell what they can."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pytest_django import Settings

from billing.models import BillingInvoice, InboxEvent, ReconciliationRun
from billing.recovery.outage import recover
from tests.operations.shop import Shop, balance, status_here
from tests.recovery.conftest import NO_GRACE, set_back
from tests.support.databases import Database

DAYS = 41


def test_what_is_older_than_stripes_events_is_recovered_from_objects(
    real_database: Database, tmp_path: Path, settings: Settings
) -> None:
    """A month's renewal is missed as well as what was bought 40 days ago."""
    with set_back(tmp_path, settings, DAYS) as sandbox:
        shop = Shop(sandbox)
        known = shop.subscribe(email="bob@example.com", user_id="u_bob")
        shop.deliver()
        began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=DAYS, hours=-1)
        sandbox.advance(hours=2)
        shop.buy()
        gone = shop.subscribe(email="eve@example.com", user_id="u_eve")
        sandbox.post(f"/v1/subscriptions/{known['subscription']}", {"cancel_at_period_end": "true"})
        sandbox.advance(days=DAYS, hours=-2)

        recovery = recover("outage", since=began, actor="cli:ann", grace=NO_GRACE)

        oldest = recovery.started_at - timedelta(days=30) + timedelta(hours=1)
        lost = [datetime.fromisoformat(each) for each in recovery.report["not_as_events"]]
        assert lost[0] == began
        assert abs(lost[1] - oldest) < timedelta(seconds=2)
        assert recovery.counts["brought_in"]["checkout.session"] >= 2
        assert recovery.run.kind == ReconciliationRun.Kind.FULL
        assert recovery.report["left"] == {"count": 0, "findings": []}
        assert balance("u_ada") == (50, 0)
        assert balance("u_bob") == (20, 0)  # canceled before it was renewed
        assert balance("u_eve") == (40, 0)  # renewed once
        assert status_here(known["subscription"]) == "canceled"
        assert status_here(gone["subscription"]) == "active"
        assert BillingInvoice.objects.filter(status="paid").count() == 3
        assert not InboxEvent.objects.filter(stripe_created_at__range=lost, source="api").exists()

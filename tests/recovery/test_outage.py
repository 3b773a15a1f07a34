"""Webhooks fail, things are bought meanwhile, and one recovery brings all of it in."""

from datetime import UTC, datetime, timedelta

from billing.models import InboxEvent, MissedEvent, Recovery
from billing.recovery.outage import recover
from tests.operations.shop import Shop, balance

NO_GRACE = timedelta(seconds=-5)


def an_hour_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)


def test_what_was_bought_while_no_webhook_came_is_granted(shop: Shop) -> None:
    shop.buy()
    shop.subscribe(user_id="u_bob", email="bob@example.com")

    recovery = recover("outage", since=an_hour_ago(), actor="cli:ann", grace=NO_GRACE)

    assert recovery.status == Recovery.Status.DONE
    assert balance("u_ada") == (50, 0)
    assert balance("u_bob") == (20, 0)
    assert not InboxEvent.objects.exclude(status__in=("processed", "ignored")).exists()
    assert not MissedEvent.objects.exclude(status="done").exists()

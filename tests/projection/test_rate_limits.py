"""Stripe's rate limits slow a sync down, and lose nothing."""

import pytest

from billing.gateway.client import BUSY_PAUSES, StripeBusyError, gateway
from billing.models import BillingCustomer
from billing.projection.bulk import sync_everything
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
CUSTOMERS = 12


def statuses(sandbox: SandboxProcess) -> list[int]:
    """Of the answers so far."""
    return [entry["status"] for entry in sandbox.control("requests", http="GET")["requests"]]


def test_a_sync_backs_off_and_brings_in_everything(
    sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.gateway.client.PAGE_SIZE", 1)  # so that it asks often
    for number in range(CUSTOMERS):
        sandbox.post("/v1/customers", {"metadata[user_id]": f"u_{number}"}).raise_for_status()
    sandbox.control("rate_limits", on=True, rate=3)
    before = len(statuses(sandbox))
    report = sync_everything(actor="test", kinds=lambda kind: kind == "customer")
    assert report.read == {"customer": CUSTOMERS}
    assert BillingCustomer.objects.count() == CUSTOMERS
    assert 429 in statuses(sandbox)[before:]


def test_a_sync_that_is_refused_for_long_says_so(
    sandbox: SandboxProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("billing.gateway.client.BUSY_PAUSES", tuple(0 for _ in BUSY_PAUSES))
    sandbox.control("faults", path="/v1/customers", status=429)
    with pytest.raises(StripeBusyError, match="429"):
        list(gateway().pages("/v1/customers"))
    assert statuses(sandbox) == [429] * (len(BUSY_PAUSES) + 1)

"""Webhooks: signed, retried, counted, over restarts."""

import time
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox, start_sandbox


def register(sandbox: SandboxProcess, url: str, *events: str) -> Any:
    """A webhook endpoint for `events`, or for all."""
    return sandbox.stripe.v1.webhook_endpoints.create(
        {"url": url, "enabled_events": list(events or ["*"])}
    )


def event(sandbox: SandboxProcess, id_: str) -> Any:
    """The event as the API shows it."""
    return sandbox.get(f"/v1/events/{id_}").json()


def listed(sandbox: SandboxProcess, **params: Any) -> list[str]:
    """Ids of listed events, newest first."""
    return [made["id"] for made in sandbox.get("/v1/events", limit=100, **params).json()["data"]]


def attempts(sandbox: SandboxProcess) -> list[Any]:
    """The attempts of deliveries, newest first."""
    deliveries: list[Any] = sandbox.control("state", http="GET")["deliveries"]
    return deliveries


def settled(sandbox: SandboxProcess, *states: str, seconds: float = 10) -> dict[str, int]:
    """The outbox by state, once nothing is in another state than `states`."""
    deadline = time.monotonic() + seconds
    while True:
        outbox: dict[str, int] = sandbox.control("state", http="GET")["outbox"]
        if set(outbox) <= set(states):
            return outbox
        assert time.monotonic() < deadline, outbox
        time.sleep(0.02)


def test_an_event_arrives_signed(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = register(sandbox, receiver.url)
    assert endpoint.secret.startswith("whsec_")
    customer = sandbox.stripe.v1.customers.create({"email": "a@example.com"})
    (got,) = receiver.wait_for(1)
    made = stripe.Webhook.construct_event(got.body, got.signature, endpoint.secret)
    assert (made.type, made.data.object["id"]) == ("customer.created", customer.id)
    assert got.event["api_version"] == "2026-08-26.dahlia"
    assert got.event["livemode"] is False
    assert got.event["pending_webhooks"] == 1
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(got.body, got.signature, "whsec_other")
    settled(sandbox, "succeeded")
    assert event(sandbox, made.id)["pending_webhooks"] == 0


def test_an_event_names_the_request_that_caused_it(sandbox: SandboxProcess) -> None:
    answer = sandbox.post("/v1/customers", {"name": "A"}, headers={"Idempotency-Key": "because"})
    (newest,) = sandbox.get("/v1/events").json()["data"]
    assert newest["request"] == {
        "id": answer.headers["Request-Id"],
        "idempotency_key": "because",
    }


def test_endpoints_get_only_what_they_want(sandbox: SandboxProcess) -> None:
    with Receiver() as some, Receiver() as none:
        register(sandbox, some.url, "customer.updated", "product.created")
        disabled = register(sandbox, none.url)
        sandbox.stripe.v1.webhook_endpoints.update(disabled.id, {"disabled": True})
        customer = sandbox.stripe.v1.customers.create({"name": "A"})
        sandbox.stripe.v1.customers.update(customer.id, {"name": "B"})
        sandbox.control("deliver")
        assert some.types == ["customer.updated"]
        assert some.received[0].event["data"]["previous_attributes"] == {"name": "A"}
        assert none.received == []
        created = sandbox.get("/v1/events", type="customer.created").json()["data"][0]
        assert created["pending_webhooks"] == 0


def test_the_secret_is_shown_once(sandbox: SandboxProcess) -> None:
    endpoint = register(sandbox, "http://127.0.0.1:1/hook")
    shown = sandbox.get(f"/v1/webhook_endpoints/{endpoint.id}").json()
    assert "secret" not in shown
    assert (shown["status"], shown["enabled_events"]) == ("enabled", ["*"])
    (entry,) = sandbox.get("/v1/webhook_endpoints").json()["data"]
    assert entry == shown
    gone = sandbox.request("DELETE", f"/v1/webhook_endpoints/{endpoint.id}").json()
    assert gone["deleted"] is True
    assert sandbox.get(f"/v1/webhook_endpoints/{endpoint.id}").status_code == 404


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_what_is_not_2xx_is_tried_again(tmp_path: Path, receiver: Receiver, status: int) -> None:
    receiver.status = status
    with run_sandbox(tmp_path / "s.db", extra_args=["--retry-schedule", "0.05,0.05"]) as sandbox:
        register(sandbox, receiver.url)
        sandbox.stripe.v1.customers.create({"name": "A"})
        receiver.wait_for(3)
        assert settled(sandbox, "failed") == {"failed": 1}
        assert len({got.event["id"] for got in receiver.received}) == 1
        assert [one["attempt"] for one in attempts(sandbox)] == [3, 2, 1]
        assert {one["status_code"] for one in attempts(sandbox)} == {status}
        (failed,) = listed(sandbox, delivery_success="false")
        assert event(sandbox, failed)["pending_webhooks"] == 1
        assert listed(sandbox, delivery_success="true") == []


def test_a_slow_or_absent_endpoint_counts_as_failed(tmp_path: Path, receiver: Receiver) -> None:
    receiver.delay = 1.0
    options = ["--retry-schedule", "", "--delivery-timeout", "0.2"]
    with run_sandbox(tmp_path / "s.db", extra_args=options) as sandbox:
        register(sandbox, receiver.url)
        register(sandbox, "http://127.0.0.1:1/closed")
        sandbox.stripe.v1.customers.create({"name": "A"})
        assert settled(sandbox, "failed") == {"failed": 2}
        errors = " ".join(one["error"] for one in attempts(sandbox))
        assert "timed out" in errors
        assert "ConnectError" in errors
        assert len(listed(sandbox, delivery_success="false")) == 1


def test_an_event_is_pending_until_every_endpoint_took_it(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    with Receiver(status=500) as broken:
        register(sandbox, receiver.url)
        register(sandbox, broken.url)
        sandbox.stripe.v1.customers.create({"name": "A"})
        sandbox.control("deliver")
        (made,) = listed(sandbox, delivery_success="false")
        assert event(sandbox, made)["pending_webhooks"] == 1
        broken.status = 200
        assert sandbox.control("deliver") == {"attempts": 1}
        assert event(sandbox, made)["pending_webhooks"] == 0
        assert listed(sandbox, delivery_success="false") == []
        assert len(receiver.received) == 1


def test_an_event_is_sent_again_on_request(sandbox: SandboxProcess, receiver: Receiver) -> None:
    endpoint = register(sandbox, receiver.url)
    sandbox.stripe.v1.customers.create({"name": "A"})
    sandbox.control("deliver")
    (made,) = listed(sandbox)
    answer = sandbox.post(f"/v1/events/{made}/retry", {"webhook_endpoint": endpoint.id})
    assert (answer.status_code, answer.json()["id"]) == (200, made)
    first, second = receiver.wait_for(2)
    assert first.event["id"] == second.event["id"] == made
    settled(sandbox, "succeeded")
    assert event(sandbox, made)["pending_webhooks"] == 0
    assert sandbox.post(f"/v1/events/{made}/retry", {}).status_code == 400
    unknown = sandbox.post(f"/v1/events/{made}/retry", {"webhook_endpoint": "we_none"})
    assert unknown.status_code == 400
    assert sandbox.post("/v1/events/evt_none/retry", {}).status_code == 404


def test_pending_deliveries_survive_sigkill(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 503
    data = tmp_path / "s.db"
    first = start_sandbox(data, extra_args=["--retry-schedule", "1.5"])
    register(first, receiver.url)
    first.stripe.v1.customers.create({"name": "A"})
    receiver.wait_for(1)
    deadline = time.monotonic() + 10
    while not attempts(first):
        assert time.monotonic() < deadline
    first.kill()
    receiver.status = 200
    with run_sandbox(data, extra_args=["--retry-schedule", "1.5"]) as again:
        assert settled(again, "succeeded") == {"succeeded": 1}
    assert len(receiver.received) == 2


def test_deliveries_at_once_are_bounded(sandbox: SandboxProcess, receiver: Receiver) -> None:
    receiver.delay = 0.05
    register(sandbox, receiver.url)
    for n in range(40):
        sandbox.stripe.v1.customers.create({"name": str(n)})
    receiver.wait_for(40)
    assert 2 <= receiver.most_at_once <= 8
    assert len({got.event["id"] for got in receiver.received}) == 40


def test_events_are_listed_by_type_and_both_ways(sandbox: SandboxProcess) -> None:
    for n in range(4):
        customer = sandbox.stripe.v1.customers.create({"name": str(n)})
        sandbox.stripe.v1.customers.update(customer.id, {"name": f"{n}!"})
    everything = listed(sandbox)
    assert len(everything) == 8
    assert len(listed(sandbox, type="customer.updated")) == 4
    assert listed(sandbox, type="customer.*") == everything
    two: dict[str, Any] = {"types[]": ["customer.updated", "customer.created"]}
    assert listed(sandbox, **two) == everything
    assert listed(sandbox, **{"types[0]": "product.created"}) == []
    both = {"type": "customer.updated", "types[]": "customer.created"}
    assert sandbox.get("/v1/events", **both).status_code == 400
    page = sandbox.get("/v1/events", limit=3, ending_before=everything[5]).json()
    assert [made["id"] for made in page["data"]] == everything[2:5]
    assert page["has_more"]
    last = sandbox.get("/v1/events", limit=3, ending_before=everything[3]).json()
    assert [made["id"] for made in last["data"]] == everything[:3]
    assert not last["has_more"]

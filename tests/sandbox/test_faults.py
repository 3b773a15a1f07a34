"""Faults on command: what is set happens, as often as it was asked for, and is noted."""

import time

import pytest

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess


def register(sandbox: SandboxProcess, receiver: Receiver) -> str:
    """The id of an endpoint for all events."""
    return sandbox.stripe.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["*"]}
    ).id


def hits(sandbox: SandboxProcess) -> list[int]:
    """How often each fault hit."""
    return [len(fault["hits"]) for fault in sandbox.control("faults", http="GET")["faults"]]


def test_a_request_fails_as_often_as_asked(sandbox: SandboxProcess) -> None:
    sandbox.control(
        "faults",
        method="GET",
        path="/v1/customers/cus_*",
        status=403,
        body={"error": {"type": "invalid_request_error", "message": "no"}},
        count=2,
    )
    statuses = [sandbox.get("/v1/customers/cus_x").status_code for _ in range(3)]
    assert statuses == [403, 403, 404]
    assert sandbox.get("/v1/customers").status_code == 200
    (fault,) = sandbox.control("faults", http="DELETE")["faults"]
    assert [hit["path"] for hit in fault["hits"]] == ["/v1/customers/cus_x"] * 2
    assert sandbox.control("faults", http="GET") == {"faults": []}


def test_a_failed_request_had_no_effect_or_had_it(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="/v1/customers", status=500, count=1)
    assert sandbox.post("/v1/customers", {"name": "A"}).status_code == 500
    assert sandbox.get("/v1/customers").json()["data"] == []
    sandbox.control("faults", path="/v1/customers", status=500, count=1, after=True)
    assert sandbox.post("/v1/customers", {"name": "A"}).status_code == 500
    assert len(sandbox.get("/v1/customers").json()["data"]) == 1


def test_answers_are_delayed(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="*", delay_seconds=0.3, count=1)
    begun = time.monotonic()
    assert sandbox.get("/v1/account").status_code == 200
    assert time.monotonic() - begun >= 0.3


def test_a_dropped_delivery_stays_pending_until_it_is_sent_again(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    endpoint = register(sandbox, receiver)
    price = sandbox.stripe.v1.prices.create(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Pack"}}
    ).id
    sandbox.control("faults", drop_deliveries=True, types=["checkout.session.completed"], count=1)
    lost = sandbox.story("buy_pack", price=price)["events"][-1]
    kept = sandbox.story("buy_pack", price=price)["events"][-1]
    sandbox.control("deliver")
    arrived = {got.event["id"] for got in receiver.received}
    assert kept in arrived
    assert lost not in arrived
    waiting = sandbox.get("/v1/events", delivery_success="false").json()["data"]
    assert [(made["id"], made["pending_webhooks"]) for made in waiting] == [(lost, 1)]
    assert hits(sandbox) == [1]
    sandbox.post(f"/v1/events/{lost}/retry", {"webhook_endpoint": endpoint})
    sandbox.control("deliver")
    assert lost in {got.event["id"] for got in receiver.received}
    assert sandbox.get("/v1/events", delivery_success="false").json()["data"] == []


def test_an_event_is_never_made(sandbox: SandboxProcess, receiver: Receiver) -> None:
    register(sandbox, receiver)
    sandbox.control("faults", no_event=True, types=["customer.*"], count=1)
    first = sandbox.stripe.v1.customers.create({"name": "A"})
    sandbox.stripe.v1.customers.update(first.id, {"name": "B"})
    sandbox.control("deliver")
    assert receiver.types == ["customer.updated"]
    types = [made["type"] for made in sandbox.get("/v1/events").json()["data"]]
    assert types == ["customer.updated"]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"path": "*"},
        {"status": 500},
        {"path": "*", "status": "500"},
        {"path": "*", "status": 500, "no_event": True},
        {"drop_deliveries": True, "types": "x"},
        {"colour": "red"},
    ],
    ids=str,
)
def test_a_fault_that_makes_no_sense_is_refused(
    shared: SandboxProcess, spec: dict[str, object]
) -> None:
    answer = shared.request("POST", "/_sandbox/faults", json=spec)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert shared.request("POST", "/_sandbox/faults", content=b"{").status_code == 400
    assert shared.request("POST", "/_sandbox/faults", json=[1]).status_code == 400

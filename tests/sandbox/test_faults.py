"""Faults on command: what is set happens, as often as it was asked for, and is noted."""

import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import stripe

from billing.ingress.signature import SignatureError, verify
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import API_KEY, SandboxProcess, run_sandbox
from tests.support.waiting import wait_until


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
    told = sandbox.story("buy_pack", price=price)
    (fault,) = sandbox.control("faults", http="GET")["faults"]
    (hit,) = fault["hits"]
    lost = hit["event"]
    assert lost in told["events"]
    assert (hit["type"], hit["endpoint"]) == ("checkout.session.completed", endpoint)
    sandbox.story("buy_pack", price=price)
    sandbox.control("deliver")
    assert receiver.types.count("checkout.session.completed") == 1
    assert lost not in {got.event["id"] for got in receiver.received}
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
        {"reset": True},
        {"path": "*", "status": 500, "reset": True},
        {"path": "*", "status": 99},
        {"path": "*", "delay_seconds": -1},
        {"path": "*", "status": 500, "types": ["*"]},
        {"no_event": True, "drop_deliveries": True},
        {"no_event": True, "endpoints": ["we_1"]},
        {"duplicate_deliveries": 1},
        {"delay_deliveries": True},
        {"wrong_secret": True, "types": [1]},
        {"wrong_secret": True, "count": 0},
        {"wrong_secret": True, "probability": 1.1},
        {"wrong_secret": True, "probability": 0},
        {"wrong_secret": True, "seed": "1"},
        {"count": 1},
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


def make_customers(sandbox: SandboxProcess, count: int) -> list[str]:
    """Customers named 0, 1, ..., each an event; their ids."""
    return [sandbox.stripe.v1.customers.create({"name": str(n)}).id for n in range(count)]


def names(receiver: Receiver) -> list[int]:
    """The customers that the received events are about, in order of arrival."""
    return [int(got.event["data"]["object"]["name"]) for got in receiver.received]


def log(sandbox: SandboxProcess) -> list[Any]:
    """All hits since the sandbox was started."""
    hits_of_all: list[Any] = sandbox.control("faults/log", http="GET")["hits"]
    return hits_of_all


def customer_count(sandbox: SandboxProcess) -> int:
    """How many customers there are."""
    return len(sandbox.get("/v1/customers", limit=100).json()["data"])


# --- The truth ------------------------------------------------------------------------------


def test_what_was_hit_is_told_when_a_fault_ends_and_afterwards(sandbox: SandboxProcess) -> None:
    slow = sandbox.control("faults", path="/v1/account", delay_seconds=0.01)["id"]
    other = sandbox.control("faults", path="/v1/customers", method="POST", status=503)["id"]
    request = sandbox.get("/v1/account").headers["Request-Id"]
    ended = sandbox.control(f"faults/{slow}", http="DELETE")
    assert [hit["request"] for hit in ended["hits"]] == [request]
    assert sandbox.request("DELETE", f"/_sandbox/faults/{slow}").status_code == 404
    failed = sandbox.post("/v1/customers").headers["Request-Id"]
    assert [fault["id"] for fault in sandbox.control("faults", http="DELETE")["faults"]] == [other]

    first, second = log(sandbox)
    assert first["effects"] == {"delay_seconds": 0.01}
    assert (first["fault"], first["path"], first["request"]) == (slow, "/v1/account", request)
    assert second["effects"] == {"status": 503}
    assert (second["fault"], second["method"], second["request"]) == (other, "POST", failed)
    assert first["at"] <= second["at"] <= time.time() + 1


def test_the_same_seed_hits_the_same_ones(sandbox: SandboxProcess) -> None:
    def hit(**fault: Any) -> list[int]:
        sandbox.control("faults", path="/v1/customers/*", status=500, **fault)
        answers = [sandbox.get(f"/v1/customers/{n}").status_code for n in range(40)]
        (ended,) = sandbox.control("faults", http="DELETE")["faults"]
        assert ended["hit_count"] == answers.count(500)
        return [n for n, status in enumerate(answers) if status == 500]

    some = hit(probability=0.3, seed=7)
    assert 3 <= len(some) <= 25
    assert hit(probability=0.3, seed=7) == some
    assert hit(probability=0.3, seed=8) != some
    assert hit(probability=0.3, seed=7, count=3) == some[:3]
    assert hit() == list(range(40))


def test_the_same_seed_hits_the_same_deliveries(sandbox: SandboxProcess) -> None:
    def dropped(seed: int) -> list[int]:
        with Receiver() as receiver:
            endpoint = register(sandbox, receiver)
            fault = {"drop_deliveries": True, "probability": 0.4, "seed": seed}
            sandbox.control("faults", endpoints=[endpoint], **fault)
            made = make_customers(sandbox, 30)
            sandbox.control("deliver")
            (ended,) = sandbox.control("faults", http="DELETE")["faults"]
            sandbox.request("DELETE", f"/v1/webhook_endpoints/{endpoint}")
            arrived = sorted(names(receiver))
        lost = [n for n in range(30) if n not in arrived]
        about = [sandbox.get(f"/v1/events/{hit['event']}").json() for hit in ended["hits"]]
        assert [made.index(event["data"]["object"]["id"]) for event in about] == lost
        return lost

    lost = dropped(seed=3)
    assert 3 <= len(lost) <= 25
    assert dropped(seed=3) == lost
    assert dropped(seed=4) != lost


# --- Deliveries -----------------------------------------------------------------------------


def test_a_fault_is_for_the_endpoints_that_it_names(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    register(sandbox, receiver)
    with Receiver() as other:
        deaf = register(sandbox, other)
        sandbox.control("faults", drop_deliveries=True, endpoints=[deaf])
        make_customers(sandbox, 3)
        sandbox.control("deliver")
        assert sorted(names(receiver)) == [0, 1, 2]
        assert other.received == []
        assert {hit["endpoint"] for hit in log(sandbox)} == {deaf}
        waiting = sandbox.get("/v1/events", delivery_success="false").json()["data"]
        assert [event["pending_webhooks"] for event in waiting] == [1, 1, 1]


def test_a_delivery_is_delayed(sandbox: SandboxProcess, receiver: Receiver) -> None:
    register(sandbox, receiver)
    sandbox.control("faults", delay_deliveries=600, jitter=60, types=["customer.created"])
    (customer,) = make_customers(sandbox, 1)
    sandbox.stripe.v1.customers.update(customer, {"name": "1"})
    receiver.wait_for(1)
    assert receiver.types == ["customer.updated"]
    (hit,) = log(sandbox)
    assert 600 <= hit["due"] - hit["at"] + 1 <= 662
    sandbox.control("deliver")
    assert receiver.types == ["customer.updated", "customer.created"]


def test_a_delay_ends_by_itself(sandbox: SandboxProcess, receiver: Receiver) -> None:
    register(sandbox, receiver)
    sandbox.control("faults", delay_deliveries=0.5)
    make_customers(sandbox, 1)
    (hit,) = log(sandbox)
    receiver.wait_for(1, seconds=60)
    assert time.time() >= hit["due"]


def test_delays_vary_by_the_seed(sandbox: SandboxProcess, receiver: Receiver) -> None:
    register(sandbox, receiver)

    def delays(seed: int) -> list[float]:
        sandbox.control("faults", delay_deliveries=10**5, jitter=10**5, seed=seed)
        make_customers(sandbox, 5)
        (ended,) = sandbox.control("faults", http="DELETE")["faults"]
        return [hit["due"] - hit["at"] for hit in ended["hits"]]

    first = delays(seed=1)
    assert len({round(seconds) for seconds in first}) == 5
    assert delays(seed=1) == pytest.approx(first, abs=1)
    assert delays(seed=2) != pytest.approx(first, abs=1)


def test_a_delivery_comes_twice_although_it_was_acknowledged(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    register(sandbox, receiver)
    sandbox.control("faults", duplicate_deliveries=3, count=2)
    make_customers(sandbox, 3)
    sandbox.control("deliver")
    assert sorted(Counter(names(receiver)).values()) == [1, 3, 3]
    assert sandbox.control("state", http="GET")["outbox"] == {"succeeded": 3}
    assert sandbox.get("/v1/events", delivery_success="false").json()["data"] == []


def test_deliveries_are_reordered_by_the_seed(tmp_path: Path) -> None:
    def order(seed: int, run: str) -> list[int]:
        with run_sandbox(tmp_path / run) as sandbox, Receiver() as receiver:
            sandbox.control("delivery", at_once=1)
            register(sandbox, receiver)
            sandbox.control("faults", reorder_deliveries=600, seed=seed)
            make_customers(sandbox, 12)
            assert receiver.received == []
            sandbox.control("deliver")
            return names(receiver)

    first = order(1, "first")
    assert sorted(first) == list(range(12))
    assert first != sorted(first)
    assert order(1, "second") == first
    assert order(2, "third") != first


def test_a_wrong_secret_is_used_until_the_fault_ends(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 400
    endpoint = sandbox.stripe.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["*"]}
    )
    secret = str(endpoint.secret)
    sandbox.control("faults", wrong_secret=True)
    make_customers(sandbox, 1)
    sandbox.control("deliver")
    for got in receiver.wait_for(1):
        with pytest.raises(SignatureError, match="wrong signature"):
            verify(got.body, got.signature, [secret])
    assert sandbox.control("state", http="GET")["outbox"] == {"pending": 1}
    sandbox.control("faults", http="DELETE")
    receiver.status = 200
    sandbox.control("deliver")
    last = receiver.received[-1]
    verify(last.body, last.signature, [secret])
    assert sandbox.control("state", http="GET")["outbox"] == {"succeeded": 1}


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_stripes_clock_is_wrong(sandbox: SandboxProcess, receiver: Receiver, seconds: int) -> None:
    endpoint = sandbox.stripe.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["*"]}
    )
    secret = str(endpoint.secret)
    sandbox.control("faults", skew_signatures=seconds)
    sandbox.control("faults", skew_events=seconds)
    before = int(time.time())
    make_customers(sandbox, 1)
    (got,) = receiver.wait_for(1)
    with pytest.raises(SignatureError, match="too old or from the future"):
        verify(got.body, got.signature, [secret])
    verify(got.body, got.signature, [secret], now=time.time() + seconds)
    assert before <= got.event["created"] - seconds <= time.time()
    assert [hit["event"] for hit in log(sandbox)] == [got.event["id"]] * 2


# --- Requests -------------------------------------------------------------------------------


def test_too_many_requests_are_refused_in_stripes_words(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="*", status=429)
    answer = sandbox.get("/v1/account")
    assert answer.json()["error"]["code"] == "rate_limit"
    assert "Retry-After" not in answer.headers
    with pytest.raises(stripe.RateLimitError):
        sandbox.stripe.v1.accounts.retrieve_current()


def test_the_connection_is_really_reset(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="/v1/customers", reset=True)
    address = urlsplit(sandbox.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(
            f"GET /v1/customers HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {API_KEY}\r\n\r\n".encode()
        )
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize(("after", "made"), [(False, 0), (True, 1)])
def test_a_reset_comes_before_or_after_the_effect(
    sandbox: SandboxProcess, after: bool, made: int
) -> None:
    sandbox.control("faults", path="/v1/customers", method="POST", reset=True, after=after)
    for _ in range(3):  # whether the connection is new or was used before
        assert sandbox.get("/v1/account").status_code == 200
        with pytest.raises(httpx.TransportError):
            sandbox.post("/v1/customers", {"name": "A"})
    sandbox.control("faults", http="DELETE")
    assert customer_count(sandbox) == 3 * made
    posts = [
        one for one in sandbox.control("requests", http="GET")["requests"] if not one["status"]
    ]
    assert [one["request_id"] for one in posts] == [hit["request"] for hit in log(sandbox)]


@pytest.mark.parametrize("after", [False, True])
def test_who_tries_again_with_the_same_key_has_one_effect(
    sandbox: SandboxProcess, after: bool
) -> None:
    sandbox.control("faults", path="/v1/customers", reset=True, after=after, count=2)
    client = stripe.StripeClient(
        API_KEY, base_addresses={"api": sandbox.url}, max_network_retries=2
    )
    client.v1.customers.create({"name": "A"})
    assert len(log(sandbox)) == 2
    assert customer_count(sandbox) == 1


def test_a_slow_answer_holds_up_nobody_else(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="/v1/account", delay_seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        sandbox.request("GET", "/v1/account", timeout=0.5)
    assert sandbox.get("/v1/customers").status_code == 200
    wait_until(lambda: len(log(sandbox)) == 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "evil.example"},
        {"origin": "null"},
    ],
)
def test_another_website_sets_no_faults(sandbox: SandboxProcess, headers: dict[str, str]) -> None:
    address = f"{sandbox.url}/_sandbox/faults"
    answer = sandbox.http.post(address, content=b'{"path":"/v1/*","status":500}', headers=headers)
    assert answer.status_code == 403
    assert sandbox.control("faults", "GET")["faults"] == []

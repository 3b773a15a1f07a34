"""Webhooks: signed, retried, counted, over restarts."""

import time
from pathlib import Path
from typing import Any

import pytest
import stripe

from billing.ingress.signature import SignatureError, verify
from tests.sandbox.receiver import Received, Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox, start_sandbox
from tests.support.waiting import wait_until


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


def settled(sandbox: SandboxProcess, *states: str, seconds: float = 60) -> dict[str, int]:
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
    wait_until(lambda: attempts(first))
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


def test_deliveries_can_be_made_one_by_one_in_order(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    sandbox.control("delivery", at_once=1)
    register(sandbox, receiver.url)
    for n in range(20):
        sandbox.stripe.v1.customers.create({"name": str(n)})
    received = receiver.wait_for(20)
    assert receiver.most_at_once == 1
    assert [got.event["data"]["object"]["name"] for got in received] == [str(n) for n in range(20)]


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


def pending(sandbox: SandboxProcess, id_: str) -> int:
    """How many endpoints have not taken the event yet."""
    count: int = event(sandbox, id_)["pending_webhooks"]
    return count


def status(sandbox: SandboxProcess, endpoint: str) -> str:
    """Whether the endpoint is enabled or disabled."""
    shown: str = sandbox.get(f"/v1/webhook_endpoints/{endpoint}").json()["status"]
    return shown


def new_event(sandbox: SandboxProcess) -> str:
    """The id of an event that was just made."""
    sandbox.stripe.v1.customers.create({"name": "A"})
    return listed(sandbox)[0]


# --- What an event still waits for ----------------------------------------------------------


def test_pending_webhooks_counts_down_endpoint_by_endpoint(sandbox: SandboxProcess) -> None:
    with Receiver(status=500) as first, Receiver(status=500) as second, Receiver(500) as third:
        receivers = (first, second, third)
        sandbox.control("delivery", retry_schedule=[600] * 10)
        for one in receivers:
            register(sandbox, one.url)
        register(sandbox, "http://127.0.0.1:1/not_for_this_type", "product.created")
        made = new_event(sandbox)
        assert pending(sandbox, made) == 3
        for left, one in enumerate(receivers):
            sandbox.control("deliver")
            assert pending(sandbox, made) == 3 - left
            assert listed(sandbox, delivery_success="false") == [made]
            one.status = 204
        sandbox.control("deliver")
        assert pending(sandbox, made) == 0
        assert listed(sandbox, delivery_success="false") == []
        assert listed(sandbox, delivery_success="true") == [made]


def test_a_tls_fault_counts_as_failed(tmp_path: Path, receiver: Receiver) -> None:
    with run_sandbox(tmp_path / "s.db", extra_args=["--retry-schedule", ""]) as sandbox:
        register(sandbox, receiver.url.replace("http://", "https://"))
        made = new_event(sandbox)
        assert settled(sandbox, "failed") == {"failed": 1}
        (attempt,) = attempts(sandbox)
        assert (attempt["status_code"], "SSL" in attempt["error"]) == (None, True)
        assert pending(sandbox, made) == 1


def test_an_event_that_is_asked_for_while_it_is_under_way_comes_again(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.delay = 1
    endpoint = register(sandbox, receiver.url)
    made = new_event(sandbox)
    wait_until(lambda: receiver.most_at_once == 1)
    sandbox.post(f"/v1/events/{made}/retry", {"webhook_endpoint": endpoint.id})
    assert pending(sandbox, made) == 1
    receiver.wait_for(2)
    settled(sandbox, "succeeded")
    assert pending(sandbox, made) == 0


# --- Retries --------------------------------------------------------------------------------


def test_a_retry_that_would_wait_for_minutes_can_be_sped_up(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 500
    register(sandbox, receiver.url)
    made = new_event(sandbox)
    wait_until(lambda: attempts(sandbox))
    terms = sandbox.control("delivery", retry_schedule=[0.05], timeout=30)
    assert (terms["retry_schedule"], terms["timeout"]) == ([0.05], 30)
    assert sandbox.control("delivery", http="GET") == terms
    assert settled(sandbox, "failed") == {"failed": 1}
    assert [one["attempt"] for one in attempts(sandbox)] == [2, 1]
    assert pending(sandbox, made) == 1


def test_stripes_own_schedules_have_names(sandbox: SandboxProcess) -> None:
    live = sandbox.control("delivery", retry_schedule="live")["retry_schedule"]
    assert live == sorted(live)
    assert 2 * 86400 < sum(live) <= 3 * 86400
    test = sandbox.control("delivery", retry_schedule="test")["retry_schedule"]
    assert len(test) == 3
    assert 3600 < sum(test) < 12 * 3600


def test_the_command_line_knows_stripes_schedules(tmp_path: Path) -> None:
    with run_sandbox(tmp_path / "s.db", extra_args=["--retry-schedule", "test"]) as sandbox:
        shown = sandbox.control("delivery", http="GET")["retry_schedule"]
        assert shown == sandbox.control("delivery", retry_schedule="test")["retry_schedule"]


@pytest.mark.parametrize(
    "terms",
    [
        {"retry_schedule": [-1]},
        {"retry_schedule": "never"},
        {"retry_schedule": None},
        {"timeout": "1"},
        {"at_once": 0},
        {"at_once": 2.5},
        {"disable_after_failures": True},
        {"colour": "red"},
    ],
    ids=str,
)
def test_terms_that_make_no_sense_are_refused(
    shared: SandboxProcess, terms: dict[str, object]
) -> None:
    before = shared.control("delivery", http="GET")
    answer = shared.request("POST", "/_sandbox/delivery", json=terms)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(terms))
    assert shared.control("delivery", http="GET") == before


# --- Disabled endpoints ---------------------------------------------------------------------


def test_an_endpoint_that_fails_for_too_long_is_disabled(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 500
    endpoint = register(sandbox, receiver.url)
    sandbox.control(
        "delivery",
        retry_schedule=[0.1] * 100,
        disable_after_failures=4,
        disable_after_seconds=0.5,
        at_once=1,
    )
    missed = new_event(sandbox)
    wait_until(lambda: status(sandbox, endpoint.id) == "disabled")
    assert sandbox.control("state", http="GET")["outbox"] == {"failed": 1}
    assert len(receiver.received) >= 4
    failed = attempts(sandbox)
    assert failed[0]["at"] - failed[-1]["at"] >= 0.5
    (email,) = sandbox.control("emails", http="GET")["emails"]
    assert receiver.url in email["text"]

    receiver.status = 200
    receiver.received.clear()
    unheard = new_event(sandbox)
    assert sandbox.control("deliver") == {"attempts": 0}
    assert (pending(sandbox, missed), pending(sandbox, unheard)) == (1, 0)
    assert listed(sandbox, delivery_success="false") == [missed]
    resend = {"webhook_endpoint": endpoint.id}
    assert sandbox.post(f"/v1/events/{missed}/retry", resend).status_code == 400

    sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": False})
    assert sandbox.control("deliver") == {"attempts": 0}
    heard = new_event(sandbox)
    assert sandbox.post(f"/v1/events/{missed}/retry", resend).status_code == 200
    sandbox.control("deliver")
    assert {got.event["id"] for got in receiver.received} == {heard, missed}
    assert listed(sandbox, delivery_success="false") == []


def test_one_success_in_between_keeps_an_endpoint_enabled(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    endpoint = register(sandbox, receiver.url)
    sandbox.control("delivery", disable_after_failures=3, disable_after_seconds=0, at_once=1)
    for made, answer in enumerate((500, 500, 200, 500, 500), start=1):
        receiver.status = answer
        new_event(sandbox)
        wait_until(lambda made=made: len(attempts(sandbox)) == made)  # type: ignore[misc]
        assert status(sandbox, endpoint.id) == "enabled"
    new_event(sandbox)
    wait_until(lambda: status(sandbox, endpoint.id) == "disabled")


def test_failures_of_before_it_was_enabled_again_do_not_count(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 500
    endpoint = register(sandbox, receiver.url)
    sandbox.control("delivery", disable_after_failures=2, disable_after_seconds=0, at_once=1)
    for failures in (1, 3):
        new_event(sandbox)
        wait_until(lambda made=failures: len(attempts(sandbox)) == made)  # type: ignore[misc]
        assert status(sandbox, endpoint.id) == "enabled"
        new_event(sandbox)
        wait_until(lambda: status(sandbox, endpoint.id) == "disabled")
        assert len(attempts(sandbox)) == failures + 1
        sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": False})


def test_a_disabled_endpoint_is_not_tried_again(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 500
    endpoint = register(sandbox, receiver.url)
    made = new_event(sandbox)
    wait_until(lambda: attempts(sandbox))
    receiver.status = 200
    sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    sandbox.control("deliver")
    sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": False})
    sandbox.control("deliver")
    assert len(receiver.received) == 1
    assert sandbox.control("state", http="GET")["outbox"] == {"failed": 1}
    assert pending(sandbox, made) == 1


def test_an_endpoint_that_is_enabled_again_in_time_gets_the_retry(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    receiver.status = 500
    endpoint = register(sandbox, receiver.url)
    made = new_event(sandbox)
    wait_until(lambda: attempts(sandbox))
    receiver.status = 200
    for disabled in (True, False):
        sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": disabled})
    sandbox.control("deliver")
    assert [got.event["id"] for got in receiver.received] == [made, made]
    assert pending(sandbox, made) == 0


# --- Secrets --------------------------------------------------------------------------------


def signed_with(got: Received, *secrets: str) -> bool:
    """Whether a back office that knows these secrets takes it."""
    try:
        verify(got.body, got.signature, secrets)
    except SignatureError:
        return False
    return True


def test_while_a_secret_is_rolled_both_are_good(tmp_path: Path, receiver: Receiver) -> None:
    data = tmp_path / "s.db"
    with run_sandbox(data) as sandbox:
        endpoint = register(sandbox, receiver.url)
        old = str(endpoint.secret)
        roll = f"webhook_endpoints/{endpoint.id}/roll"
        rolled = sandbox.control(roll, expire_in_seconds=3600)
        new = rolled["secret"]
        assert new.startswith("whsec_")
        assert new != old
        assert abs(rolled["previous_secrets_expire_at"] - time.time() - 3600) < 60
    with run_sandbox(data) as again:
        new_event(again)
        (got,) = receiver.wait_for(1)
        assert got.signature.count("v1=") == 2
        assert signed_with(got, old)
        assert signed_with(got, new)
        assert signed_with(got, old, new)
        assert not signed_with(got, "whsec_other")
        stripe.Webhook.construct_event(got.body, got.signature, new)


def test_a_rolled_secret_expires(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.control("delivery", at_once=1)
    endpoint = register(sandbox, receiver.url)
    roll = f"webhook_endpoints/{endpoint.id}/roll"
    first = str(endpoint.secret)
    second = sandbox.control(roll)["secret"]
    new_event(sandbox)
    (got,) = receiver.wait_for(1)
    assert (signed_with(got, first), signed_with(got, second)) == (False, True)

    third = sandbox.control(roll, expire_in_seconds=0.5)["secret"]

    def second_expired() -> bool:
        new_event(sandbox)
        sandbox.control("deliver")
        assert signed_with(receiver.received[-1], third)
        return not signed_with(receiver.received[-1], second)

    wait_until(second_expired)


def test_only_a_secret_that_exists_is_rolled(shared: SandboxProcess) -> None:
    unknown = shared.request("POST", "/_sandbox/webhook_endpoints/we_none/roll", json={})
    assert unknown.status_code == 404
    endpoint = register(shared, "http://127.0.0.1:1/hook").id
    path = f"/_sandbox/webhook_endpoints/{endpoint}/roll"
    for wrong in (-1, "1", True, None):
        answer = shared.request("POST", path, json={"expire_in_seconds": wrong})
        assert answer.status_code == 400

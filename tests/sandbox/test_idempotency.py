"""Idempotency keys: the first answer to a key is the only one."""

import sqlite3
import threading
import time

import httpx

from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.waiting import wait_until


def create(sandbox: SandboxProcess, key: str, **data: str) -> httpx.Response:
    """Makes a customer under an idempotency key."""
    return sandbox.post("/v1/customers", data, headers={"Idempotency-Key": key})


def customers(sandbox: SandboxProcess) -> int:
    """How many there are."""
    return len(sandbox.get("/v1/customers", limit=100).json()["data"])


def test_an_answer_is_replayed_over_a_crash(sandbox: SandboxProcess) -> None:
    first = create(sandbox, "k", name="A")
    sandbox.kill()
    with run_sandbox(sandbox.data) as again:
        second = create(again, "k", name="A")
        assert second.content == first.content
        assert second.headers["Idempotent-Replayed"] == "true"
        assert second.headers["Original-Request"] == first.headers["Request-Id"]
        assert customers(again) == 1


def test_another_endpoint_and_other_parameters_are_told_apart(sandbox: SandboxProcess) -> None:
    create(sandbox, "k", name="A")
    other = create(sandbox, "k", name="B").json()["error"]
    elsewhere = sandbox.post(
        "/v1/products", {"name": "A"}, headers={"Idempotency-Key": "k"}
    ).json()["error"]
    assert other["type"] == elsewhere["type"] == "idempotency_error"
    assert "with the same parameters" in other["message"]
    assert "('/v1/products' vs '/v1/customers')" in elsewhere["message"]


def test_the_order_of_parameters_does_not_matter(sandbox: SandboxProcess) -> None:
    first = create(sandbox, "k", name="A", email="a@example.com")
    assert create(sandbox, "k", email="a@example.com", name="A").content == first.content


def test_a_key_in_use_is_a_conflict(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", method="POST", path="/v1/customers", delay_seconds=5, count=1)
    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(create(sandbox, "k", name="A")))
    slow.start()
    wait_until(lambda: sandbox.control("faults", http="GET")["faults"][0]["hits"])
    meanwhile = create(sandbox, "k", name="A")
    assert meanwhile.status_code == 409
    assert meanwhile.json()["error"]["type"] == "idempotency_error"
    assert meanwhile.json()["error"]["code"] == "idempotency_key_in_use"
    assert meanwhile.headers["Stripe-Should-Retry"] == "true"
    slow.join()
    assert answers[0].status_code == 200
    assert create(sandbox, "k", name="A").content == answers[0].content
    assert customers(sandbox) == 1


def test_what_was_refused_before_it_began_leaves_the_key_free(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "k"}
    assert create(sandbox, "k", shoe="45").status_code == 400
    assert create(sandbox, "k", email="nobody").status_code == 400
    unknown = sandbox.post("/v1/customers/cus_none", headers=headers)
    assert unknown.status_code == 404
    sandbox.control("faults", path="/v1/customers", status=429, count=1)
    assert create(sandbox, "k", name="A").status_code == 429
    assert create(sandbox, "k", name="A").status_code == 200


def test_what_the_state_of_things_forbids_is_replayed(sandbox: SandboxProcess) -> None:
    client = sandbox.stripe.v1
    customer = client.customers.create().id
    invoice = client.invoices.create({"customer": customer}).id
    headers = {"Idempotency-Key": "send"}
    path = f"/v1/invoices/{invoice}/send"
    refused = sandbox.post(path, headers=headers)
    assert refused.status_code == 400
    client.invoices.update(invoice, {"collection_method": "send_invoice", "days_until_due": 30})
    again = sandbox.post(path, headers=headers)
    assert (again.status_code, again.content) == (400, refused.content)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert sandbox.post(path, headers={"Idempotency-Key": "another"}).status_code == 200


def test_a_key_lives_for_a_day(sandbox: SandboxProcess) -> None:
    create(sandbox, "k", name="A")
    sandbox.stop()
    with sqlite3.connect(sandbox.data) as db:
        db.execute("UPDATE idempotency SET at = ?", (time.time() - 24 * 3600 - 1,))
    db.close()
    with run_sandbox(sandbox.data) as again:
        assert create(again, "k", name="B").json()["name"] == "B"
        assert customers(again) == 2


def test_only_posts_have_keys_and_they_have_a_length(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = sandbox.request("GET", "/v1/customers", headers=headers)
        assert "Idempotent-Replayed" not in answer.headers
    assert create(sandbox, "k" * 255, name="A").status_code == 200
    assert create(sandbox, "k" * 256, name="A").status_code == 400


def test_an_error_after_the_effect_is_replayed_too(sandbox: SandboxProcess) -> None:
    sandbox.control("faults", path="/v1/customers", status=500, count=1, after=True)
    headers = {"Idempotency-Key": "lost"}
    first = sandbox.post("/v1/customers", {"name": "A"}, headers=headers)
    again = sandbox.post("/v1/customers", {"name": "A"}, headers=headers)
    assert first.status_code == again.status_code == 500
    assert first.content == again.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(sandbox.get("/v1/customers").json()["data"]) == 1

"""Live and test mode: two worlds of one account, which the key chooses between."""

import json
import sqlite3
from typing import Any

import httpx
import stripe

from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess, run_sandbox

LIVE_KEY = "sk_live_" + "sandbox0" * 4


def live(sandbox: SandboxProcess, method: str, path: str, **options: Any) -> httpx.Response:
    """A request in live mode."""
    headers = {"Authorization": f"Bearer {LIVE_KEY}"} | options.pop("headers", {})
    return sandbox.request(method, path, headers=headers, **options)


def live_client(sandbox: SandboxProcess) -> stripe.StripeClient:
    """The official package in live mode."""
    return stripe.StripeClient(LIVE_KEY, base_addresses={"api": sandbox.url}, max_network_retries=0)


def test_each_mode_has_a_world_of_its_own(sandbox: SandboxProcess) -> None:
    ours = live(sandbox, "POST", "/v1/customers", data={"name": "Real"}).json()
    theirs = sandbox.post("/v1/customers", {"name": "Trial"}).json()
    assert (ours["livemode"], theirs["livemode"]) == (True, False)
    for listed, made in (
        (live(sandbox, "GET", "/v1/customers").json(), ours),
        (sandbox.get("/v1/customers").json(), theirs),
    ):
        assert listed["data"] == [made]
    event = live(sandbox, "GET", "/v1/events").json()["data"][0]
    assert (event["livemode"], event["data"]["object"]) == (True, ours)
    assert [made["livemode"] for made in sandbox.get("/v1/events").json()["data"]] == [False]


def test_an_id_of_the_other_mode_says_so(sandbox: SandboxProcess) -> None:
    ours = live(sandbox, "POST", "/v1/customers").json()["id"]
    theirs = sandbox.post("/v1/customers").json()["id"]
    wrong = sandbox.get(f"/v1/customers/{ours}")
    assert wrong.status_code == 404
    assert wrong.json()["error"]["code"] == "resource_missing"
    assert wrong.json()["error"]["message"] == (
        f"No such customer: '{ours}'; a similar object exists in live mode, but a test mode key "
        "was used to make this request."
    )
    named = live(sandbox, "GET", f"/v1/invoices?customer={theirs}")
    assert named.status_code == 400
    assert named.json()["error"]["message"].endswith(
        "a similar object exists in test mode, but a live mode key was used to make this request."
    )


def test_every_object_of_live_mode_says_so_at_every_depth(sandbox: SandboxProcess) -> None:
    client = live_client(sandbox).v1
    price = client.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Plan"},
        }
    )
    customer = client.customers.create(
        {
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
            "metadata": {"note": '"livemode":false'},
        }
    )
    client.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    session = live(
        sandbox,
        "POST",
        "/v1/checkout/sessions",
        data={
            "mode": "subscription",
            "success_url": "https://x.example",
            "line_items[0][price]": price.id,
            "line_items[0][quantity]": 1,
            "expand[]": "line_items",
        },
    ).json()
    assert session["id"].startswith("cs_live_")
    assert set(modes(session)) == {True}
    with sqlite3.connect(f"file:{sandbox.data}.live?mode=ro", uri=True) as db:
        stored = [json.loads(text) for (text,) in db.execute("SELECT json FROM objects")]
    db.close()
    assert len({made["object"] for made in stored}) > 8
    assert {said for made in stored for said in modes(made)} == {True}
    assert live(sandbox, "GET", f"/v1/customers/{customer.id}").json()["metadata"] == {
        "note": '"livemode":false'
    }


def modes(value: Any) -> list[bool]:
    """What `livemode` says, wherever it stands in a JSON value."""
    if isinstance(value, list):
        return [said for entry in value for said in modes(entry)]
    if not isinstance(value, dict):
        return []
    own = [value["livemode"]] if "livemode" in value else []
    return own + [said for inner in value.values() for said in modes(inner)]


def test_endpoints_and_idempotency_keys_belong_to_a_mode(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    live_client(sandbox).v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["customer.created"]}
    )
    assert sandbox.get("/v1/webhook_endpoints").json()["data"] == []
    headers = {"Idempotency-Key": "the same"}
    theirs = sandbox.post("/v1/customers", {"name": "Trial"}, headers=headers).json()
    ours = live(sandbox, "POST", "/v1/customers", data={"name": "Real"}, headers=headers).json()
    assert ours["name"] == "Real"
    assert ours["id"] != theirs["id"]
    (got,) = receiver.wait_for(1, seconds=30)
    assert (got.event["data"]["object"]["id"], got.event["livemode"]) == (ours["id"], True)


def test_the_control_api_reaches_either_mode(sandbox: SandboxProcess) -> None:
    live(sandbox, "POST", "/v1/customers")
    assert sandbox.control("state", http="GET")["objects"] == {}
    assert sandbox.control("state?mode=live", http="GET")["objects"]["customer"] == 1
    sandbox.control("faults?mode=live", path="/v1/customers", status=500)
    assert live(sandbox, "GET", "/v1/customers").status_code == 500
    assert sandbox.get("/v1/customers").status_code == 200


def test_live_mode_survives_a_crash(sandbox: SandboxProcess) -> None:
    customer = live(sandbox, "POST", "/v1/customers", data={"name": "Real"}).json()["id"]
    sandbox.kill()
    with run_sandbox(sandbox.data) as again:
        assert live(again, "GET", f"/v1/customers/{customer}").json()["name"] == "Real"

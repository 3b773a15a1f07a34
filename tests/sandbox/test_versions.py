"""API versions: old clients and old endpoints get the old shapes, and keep them."""

from typing import Any

import pytest

from backoffice.sandbox import API_VERSION
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import SandboxProcess

ACACIA = "2025-02-24.acacia"
BASIL = "2025-06-30.basil"


def get(sandbox: SandboxProcess, path: str, version: str, **params: Any) -> Any:
    """The answer to a client of `version`."""
    answer = sandbox.request("GET", path, headers={"Stripe-Version": version}, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Stripe-Version"] == version
    return answer.json()


@pytest.fixture
def subscribed(sandbox: SandboxProcess) -> dict[str, Any]:
    """What the story of a new subscription made, and its price."""
    price = sandbox.stripe.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Plan"},
        }
    ).id
    return {"price": price, **sandbox.story("subscribe", price=price, email="a@example.com")}


def test_a_subscription_has_its_period_itself(
    sandbox: SandboxProcess, subscribed: dict[str, Any]
) -> None:
    path = f"/v1/subscriptions/{subscribed['subscription']}"
    new, old = get(sandbox, path, API_VERSION), get(sandbox, path, ACACIA)
    item = new["items"]["data"][0]
    assert "current_period_end" not in new
    assert old["current_period_start"] == item["current_period_start"]
    assert old["current_period_end"] == item["current_period_end"]
    assert "current_period_end" not in old["items"]["data"][0]
    assert get(sandbox, path, BASIL) == new
    listed = get(sandbox, "/v1/subscriptions", ACACIA, limit=1)
    assert listed["data"] == [old]


def test_an_invoice_names_its_subscription_and_its_payment(
    sandbox: SandboxProcess, subscribed: dict[str, Any]
) -> None:
    path = "/v1/invoices"
    (new,), (old,) = (get(sandbox, path, v)["data"] for v in (API_VERSION, ACACIA))
    assert new["parent"]["subscription_details"]["subscription"] == subscribed["subscription"]
    assert not {"subscription", "payment_intent", "charge", "paid"} & new.keys()
    assert "parent" not in old
    assert old["subscription"] == subscribed["subscription"]
    (intent,) = sandbox.get("/v1/payment_intents").json()["data"]
    assert (old["payment_intent"], old["charge"]) == (intent["id"], intent["latest_charge"])
    assert (old["paid"], old["paid_out_of_band"]) == (True, False)
    (line,) = old["lines"]["data"]
    assert (line["price"]["id"], line["proration"]) == (subscribed["price"], False)
    assert (line["subscription"], line["type"]) == (subscribed["subscription"], "subscription")
    assert not {"parent", "pricing"} & line.keys()


def test_old_fields_are_expanded(sandbox: SandboxProcess, subscribed: dict[str, Any]) -> None:
    (invoice,) = get(sandbox, "/v1/invoices", ACACIA)["data"]
    expanded = get(
        sandbox,
        f"/v1/invoices/{invoice['id']}",
        ACACIA,
        **{"expand[]": ["subscription.latest_invoice", "charge.payment_intent"]},
    )
    assert expanded["subscription"]["current_period_end"]
    assert expanded["subscription"]["latest_invoice"] == invoice
    assert expanded["charge"]["payment_intent"]["id"] == invoice["payment_intent"]
    refused = sandbox.get(f"/v1/invoices/{invoice['id']}", **{"expand[]": "charge"})
    assert refused.status_code == 400


def test_paid_out_of_band_is_not_an_amount_paid(sandbox: SandboxProcess) -> None:
    client = sandbox.stripe.v1
    customer = client.customers.create().id
    client.invoice_items.create({"customer": customer, "amount": 700, "currency": "usd"})
    made = client.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    client.invoices.pay(made.id, {"paid_out_of_band": True})
    path = f"/v1/invoices/{made.id}"
    new, old = get(sandbox, path, API_VERSION), get(sandbox, path, ACACIA)
    assert (new["amount_paid"], new["status"]) == (700, "paid")
    assert "paid_out_of_band" not in new
    assert (old["paid"], old["paid_out_of_band"], old["amount_paid"]) == (True, True, 0)


def test_an_endpoint_gets_the_shapes_of_its_version(
    sandbox: SandboxProcess, receiver: Receiver, subscribed: dict[str, Any]
) -> None:
    kinds = ["customer.subscription.updated", "invoice.finalized", "invoice.paid"]
    with Receiver() as modern:
        for listening, version in ((receiver, {"api_version": ACACIA}), (modern, {})):
            sandbox.stripe.v1.webhook_endpoints.create(
                {"url": listening.url, "enabled_events": kinds, **version}  # type: ignore[typeddict-item]
            )
        sandbox.story("renew", subscription=subscribed["subscription"])
        sandbox.control("deliver")
        old = {got.event["type"]: got.event for got in receiver.wait_for(3, seconds=30)}
        new = {got.event["id"]: got.event for got in modern.wait_for(3, seconds=30)}
    for event in old.values():
        assert event["api_version"] == ACACIA
        assert new[event["id"]]["api_version"] == API_VERSION
        stored = sandbox.get(f"/v1/events/{event['id']}").json()
        assert stored["api_version"] == API_VERSION
        assert stored["data"] == new[event["id"]]["data"]
    updated = old["customer.subscription.updated"]["data"]
    period = new[old["customer.subscription.updated"]["id"]]["data"]["object"]["items"]["data"][0]
    assert updated["object"]["current_period_end"] == period["current_period_end"]
    assert updated["previous_attributes"]["current_period_end"] < period["current_period_end"]
    finalized, paid = (old[kind]["data"]["object"] for kind in kinds[1:])
    assert (finalized["paid"], paid["paid"]) == (False, True)
    assert finalized["payment_intent"] == paid["payment_intent"] is not None
    assert finalized["charge"] is None
    assert paid["charge"].startswith("ch_")


def test_a_payload_is_the_same_however_late_it_is_sent(
    sandbox: SandboxProcess, receiver: Receiver, subscribed: dict[str, Any]
) -> None:
    endpoint = sandbox.stripe.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["invoice.payment_failed"], "api_version": ACACIA}
    ).id
    sandbox.story("past_due", subscription=subscribed["subscription"])
    (first,) = receiver.wait_for(1, seconds=30)
    sandbox.post(f"/v1/invoices/{first.event['data']['object']['id']}/pay").raise_for_status()
    answer = sandbox.post(f"/v1/events/{first.event['id']}/retry", {"webhook_endpoint": endpoint})
    answer.raise_for_status()
    again = receiver.wait_for(2, seconds=30)[1].event
    assert again["data"] == first.event["data"]


def test_each_request_notes_its_version(sandbox: SandboxProcess) -> None:
    get(sandbox, "/v1/customers", ACACIA)
    get(sandbox, "/v1/customers", BASIL)
    seen = sandbox.control("requests", http="GET")["requests"]
    assert [entry["version"] for entry in seen] == [ACACIA, BASIL]

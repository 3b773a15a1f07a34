"""Every object that the sandbox makes has exactly the fields of the `stripe` package's type."""

import json
import sqlite3
from collections import defaultdict
from typing import Any

import pytest
from stripe._object_classes import get_object_class

from backoffice.sandbox.app import ROUTES
from backoffice.sandbox.params import fields, parameter_type
from tests.sandbox.server import SandboxProcess
from tests.sandbox.typing_of import fields_of, resource_problems

KINDS = {
    "balance_transaction",
    "bank_account",
    "billing_portal.session",
    "charge",
    "checkout.session",
    "customer",
    "dispute",
    "event",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "item",
    "line_item",
    "payment_intent",
    "payment_method",
    "payout",
    "price",
    "product",
    "refund",
    "setup_intent",
    "subscription",
    "webhook_endpoint",
}


def stored(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    """Every object in the sandbox's file."""
    db = sqlite3.connect(sandbox.data)
    try:
        return [json.loads(text) for (text,) in db.execute("SELECT json FROM objects")]
    finally:
        db.close()


def everything(sandbox: SandboxProcess) -> None:
    """Makes objects of every kind, through most life cycles."""
    client = sandbox.stripe.v1
    product = client.products.create({"name": "Leads", "metadata": {"lead_credits": "10"}})
    pack = client.prices.create({"product": product.id, "currency": "jpy", "unit_amount": 900})
    plan = client.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "unit_amount": 2900,
            "recurring": {"interval": "month"},
        }
    )
    bought = sandbox.story("buy_pack", email="a@example.com", user_id="u_1", price=pack.id)
    sandbox.story(
        "fail_refund", **_only(sandbox.story("refund", charge=bought["charge"]), "refund")
    )
    for outcome in ("succeed", "fail", "pending"):
        sandbox.story("buy_pack", price=pack.id, async_=outcome)
    for inquiry in (True, False):
        charge = sandbox.story("buy_pack", price=pack.id)["charge"]
        opened = sandbox.story("dispute", charge=charge, inquiry=inquiry)
        sandbox.story("close_dispute", dispute=opened["dispute"], won=not inquiry)
    for story in ("renew", "past_due", "unpaid", "cancel", "pause"):
        made = sandbox.story("subscribe", price=plan.id, email=f"{story}@example.com")
        sandbox.story(story, subscription=made["subscription"])
    customer = client.customers.create({"email": "b@example.com", "payment_method": "pm_card_visa"})
    for place in range(12):
        client.invoice_items.create(
            {"customer": customer.id, "amount": 100 + place, "currency": "usd"}
        )
    invoice = client.invoices.create(
        {"customer": customer.id, "pending_invoice_items_behavior": "include"}
    )
    client.invoices.pay(invoice.id, {"paid_out_of_band": True})
    client.billing_portal.sessions.create(
        {"customer": customer.id, "return_url": "https://x.example"}
    )
    client.webhook_endpoints.create({"url": "http://127.0.0.1:1/", "enabled_events": ["*"]})
    setup = client.checkout.sessions.create(
        {
            "mode": "setup",
            "success_url": "https://x.example",
            "customer": customer.id,
            "currency": "usd",
        }
    )
    card = client.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
    answer = sandbox.post(f"/v1/payment_pages/{setup.id}/confirm", {"payment_method": card.id})
    assert answer.status_code == 200, answer.text
    sandbox.advance(days=3)
    payout = client.payouts.create({"amount": 100, "currency": "usd"})
    sandbox.story("fail_payout", payout=payout.id)


def _only(made: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: made[name] for name in names}


def report(objects: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Problems by kind; indexes are left out, so that one problem shows once."""
    found: dict[str, set[str]] = defaultdict(set)
    for made in objects:
        for problem in resource_problems(made):
            found[made["object"]].add(problem)
    return found


def test_objects_have_the_fields_of_the_package(sandbox: SandboxProcess) -> None:
    everything(sandbox)
    objects = stored(sandbox)
    assert {made["object"] for made in objects} == KINDS
    assert report(objects) == {}


def test_a_world_has_the_fields_of_the_package(world: SandboxProcess) -> None:
    assert report(stored(world)) == {}


def test_the_account_has_the_fields_of_the_package(shared: SandboxProcess) -> None:
    assert resource_problems(shared.get("/v1/account").json()) == []


def test_event_snapshots_have_the_fields_of_the_package(world: SandboxProcess) -> None:
    events = [made for made in stored(world) if made["object"] == "event"]
    assert report([event["data"]["object"] for event in events]) == {}
    for event in events:
        known = fields_of(get_object_class("V1", event["data"]["object"]["object"]))
        assert event["data"].get("previous_attributes", {}).keys() <= known.keys()


@pytest.mark.parametrize(
    "expansion",
    [
        ("checkout/sessions", "line_items"),
        ("checkout/sessions", "payment_intent.latest_charge.balance_transaction"),
        ("invoices", "payments.data.payment"),
        ("invoices", "parent.subscription_details.subscription"),
        ("subscriptions", "latest_invoice.payments"),
        ("subscriptions", "customer"),
        ("charges", "refunds"),
        ("customers", "subscriptions"),
    ],
    ids=str,
)
def test_expanded_objects_have_the_fields_of_the_package(
    world: SandboxProcess, expansion: tuple[str, str]
) -> None:
    path, what = expansion
    answer = world.get(f"/v1/{path}", **{"limit": 30, "expand[]": f"data.{what}"})
    assert answer.status_code == 200, answer.text
    assert report(answer.json()["data"]) == {}


def test_every_supported_parameter_is_one_of_the_package() -> None:
    for route in ROUTES:
        known: set[str] = set()
        for name in route.types:
            known |= fields(parameter_type(name)).keys()
        assert route.supported <= known, (route.method, route.path, route.supported - known)

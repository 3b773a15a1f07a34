"""The commands of Stripe's CLI that the runbook and its readers use, against a sandbox."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.hooked import Hooked
from tests.cli.stripe_cli import PATIENCE, StripeCli
from tests.sandbox.server import API_KEY
from tests.support.tools import stripe_cli_environment

pytestmark = pytest.mark.stripe_cli


class Shop:
    """A sandbox with a plan, and customers who subscribe or get invoices."""

    def __init__(self, hooked: Hooked) -> None:
        self.client = hooked.sandbox.stripe.v1
        product = self.client.products.create({"name": "Leads"}).id
        self.plan = self.client.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": 2900,
                "recurring": {"interval": "month"},
            }
        ).id
        hooked.news()

    def customer(self, email: str = "ann@example.com", *, card: bool = True) -> str:
        """A new customer, with a card that pays invoices or without one."""
        made: Any = {"email": email}
        if card:
            made["payment_method"] = "pm_card_visa"
            made["invoice_settings"] = {"default_payment_method": "pm_card_visa"}
        return self.client.customers.create(made).id

    def subscription(self, **given: Any) -> str:
        """A new subscription of a new customer; active unless told otherwise."""
        customer = self.customer(card="trial_period_days" not in given)
        wanted: Any = {"customer": customer, "items": [{"price": self.plan}], **given}
        return self.client.subscriptions.create(wanted).id

    def invoice(self, **given: Any) -> str:
        """An open invoice over 15 dollars."""
        customer = self.customer()
        self.client.invoice_items.create({"customer": customer, "amount": 1500, "currency": "usd"})
        wanted: Any = {
            "customer": customer,
            "pending_invoice_items_behavior": "include",
            **given,
        }
        drafted = self.client.invoices.create(wanted)
        return self.client.invoices.finalize_invoice(drafted.id).id


@pytest.fixture
def shop(hooked: Hooked) -> Shop:
    return Shop(hooked)


def types(hooked: Hooked) -> list[str]:
    """The types of the events since the last look, oldest first."""
    return [event["type"] for event in hooked.news()]


def as_it_stands(line: str, cli: StripeCli, socket: Path) -> str:
    """What a line of the runbook prints in a shell, to which only the environment is given."""
    environment = stripe_cli_environment(
        cli.home, STRIPE_API_KEY=API_KEY, STRIPE_CLI_UNIX_SOCKET=str(socket)
    )
    environment["PATH"] = f"{Path(cli.program).parent}:{environment['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout


def test_the_runbooks_subscription_is_retrieved_as_it_stands(
    cli: StripeCli, hooked: Hooked, shop: Shop
) -> None:
    subscription = shop.subscription()
    line = "stripe subscriptions retrieve sub_xxx".replace("sub_xxx", subscription)
    printed = as_it_stands(line, cli, hooked.socket)
    assert f'"id":"{subscription}"' in printed.replace(" ", "")
    assert '"status":"active"' in printed.replace(" ", "")


@pytest.mark.jq
def test_the_runbooks_active_subscriptions_are_counted_as_it_stands(
    cli: StripeCli, hooked: Hooked, shop: Shop
) -> None:
    line = "stripe subscriptions list --status=active --limit=100 | jq '.data | length'"
    before = int(as_it_stands(line, cli, hooked.socket))
    for _ in range(12):
        shop.subscription()
    shop.client.subscriptions.cancel(shop.subscription())
    assert int(as_it_stands(line, cli, hooked.socket)) == before + 12


def test_an_error_is_shown_as_stripe_words_it(cli: StripeCli) -> None:
    error = cli.answer("subscriptions", "retrieve", "sub_none")["error"]
    assert error["message"] == "No such subscription: 'sub_none'"
    assert (error["type"], error["code"]) == ("invalid_request_error", "resource_missing")


def test_events_are_listed_retrieved_and_resent(cli: StripeCli, hooked: Hooked, shop: Shop) -> None:
    shop.client.customers.update(shop.customer(), {"name": "Ann"})
    hooked.wait_for_delivery()
    listed = cli("events", "list", "--type=customer.updated", "--limit=1")
    assert (listed["object"], len(listed["data"])) == ("list", 1)
    event = listed["data"][0]
    assert event["data"]["object"]["name"] == "Ann"
    assert cli("events", "retrieve", event["id"]) == event
    assert hooked.deliveries(event["id"]) == 1
    resent = cli("events", "resend", event["id"], f"--webhook-endpoint={hooked.endpoint}")
    assert (resent["object"], resent["id"]) == ("event", event["id"])
    hooked.wait_for_delivery()
    assert hooked.deliveries(event["id"]) == 2


def test_subscriptions_are_listed_by_status(cli: StripeCli, shop: Shop) -> None:
    active, canceled = shop.subscription(), shop.subscription()
    shop.client.subscriptions.cancel(canceled)
    trialing = shop.subscription(trial_period_days=7)
    for status, id_ in (("active", active), ("canceled", canceled), ("trialing", trialing)):
        listed = cli("subscriptions", "list", f"--status={status}", "--limit=100")["data"]
        assert id_ in [one["id"] for one in listed]
        assert {one["status"] for one in listed} == {status}
    everything = cli.ids("subscriptions", "list", "--status=all", "--limit=100")
    assert {active, canceled, trialing} <= set(everything)
    assert canceled not in cli.ids("subscriptions", "list", "--limit=100")
    newest, next_one = cli.ids("subscriptions", "list", "--limit=2")
    assert cli.ids("subscriptions", "list", f"--starting-after={newest}", "--limit=1") == [next_one]


def test_a_subscription_is_retrieved_updated_and_canceled(
    cli: StripeCli, hooked: Hooked, shop: Shop
) -> None:
    id_ = shop.subscription()
    shown = cli("subscriptions", "retrieve", id_, "--expand=customer")
    assert (shown["object"], shown["status"]) == ("subscription", "active")
    assert shown["customer"]["email"] == "ann@example.com"
    hooked.news()
    updated = cli(
        "subscriptions", "update", id_, "--cancel-at-period-end=true", "-d", "metadata[user_id]=7"
    )
    assert (updated["cancel_at_period_end"], updated["metadata"]) == (True, {"user_id": "7"})
    assert set(types(hooked)) == {"customer.subscription.updated"}
    canceled = cli("subscriptions", "cancel", id_)
    assert (canceled["id"], canceled["status"]) == (id_, "canceled")
    assert types(hooked) == ["customer.subscription.deleted"]
    assert shop.client.subscriptions.retrieve(id_).status == "canceled"


def test_a_paused_subscription_is_resumed(cli: StripeCli, hooked: Hooked, shop: Shop) -> None:
    pausing: Any = {"end_behavior": {"missing_payment_method": "pause"}}
    id_ = shop.subscription(trial_period_days=7, trial_settings=pausing)
    assert shop.client.subscriptions.update(id_, {"trial_end": "now"}).status == "paused"
    customer = str(shop.client.subscriptions.retrieve(id_).customer)
    card = shop.client.payment_methods.attach("pm_card_visa", {"customer": customer}).id
    shop.client.customers.update(customer, {"invoice_settings": {"default_payment_method": card}})
    hooked.news()
    resumed = cli("subscriptions", "resume", id_, "--billing-cycle-anchor=now")
    assert (resumed["id"], resumed["status"]) == (id_, "active")
    assert types(hooked)[-1] == "customer.subscription.resumed"


def test_an_invoice_is_paid_by_card(cli: StripeCli, hooked: Hooked, shop: Shop) -> None:
    id_ = shop.invoice()
    hooked.news()
    paid = cli("invoices", "pay", id_)
    assert (paid["object"], paid["status"], paid["amount_paid"]) == ("invoice", "paid", 1500)
    assert [kind for kind in types(hooked) if kind in ("charge.succeeded", "invoice.paid")] == [
        "charge.succeeded",
        "invoice.paid",
    ]
    again = cli.answer("invoices", "pay", id_)["error"]
    assert again["message"] == "Invoice is already paid"


@pytest.mark.parametrize("flag", ["--paid-out-of-band", "--paid-out-of-band=true"])
def test_an_invoice_is_marked_paid_elsewhere_and_nothing_is_charged(
    cli: StripeCli, hooked: Hooked, shop: Shop, flag: str
) -> None:
    id_ = shop.invoice()
    hooked.news()
    paid = cli("invoices", "pay", id_, flag)
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 1500, 0)
    assert types(hooked) == ["payment_intent.canceled", "invoice.updated", "invoice.paid"]


def test_an_invoice_is_sent_and_voided(cli: StripeCli, hooked: Hooked, shop: Shop) -> None:
    id_ = shop.invoice(collection_method="send_invoice", days_until_due=30)
    hooked.news()
    sent = cli("invoices", "send_invoice", id_)
    assert (sent["id"], sent["status"]) == (id_, "open")
    assert types(hooked) == ["invoice.sent"]
    voided = cli("invoices", "void_invoice", id_)
    assert (voided["id"], voided["status"]) == (id_, "void")
    assert types(hooked)[-1] == "invoice.voided"
    assert shop.client.invoices.retrieve(id_).status == "void"


def test_customers_are_created_listed_and_searched(
    cli: StripeCli, hooked: Hooked, shop: Shop
) -> None:
    made = cli("customers", "create", "--email=bo@example.com", "-d", "metadata[user_id]=77")
    assert (made["object"], made["metadata"]) == ("customer", {"user_id": "77"})
    assert types(hooked) == ["customer.created"]
    other = shop.customer("cy@example.com")
    assert cli.ids("customers", "list", "--email=bo@example.com") == [made["id"]]
    assert cli.ids("customers", "list", "--limit=2") == [other, made["id"]]
    found = cli("customers", "search", "--query=email:'bo@example.com'")
    assert found["object"] == "search_result"
    assert [one["id"] for one in found["data"]] == [made["id"]]
    assert cli.ids("customers", "search", "--query=metadata['user_id']:'77'") == [made["id"]]
    assert cli.ids("customers", "search", "--query=email:'nobody@example.com'") == []


def test_checkout_sessions_are_listed_by_status_and_customer(cli: StripeCli, shop: Shop) -> None:
    customer = shop.customer()
    wanted: Any = {
        "mode": "subscription",
        "customer": customer,
        "success_url": "https://x.example",
        "line_items": [{"price": shop.plan, "quantity": 1}],
    }
    left, wasted = (shop.client.checkout.sessions.create(wanted).id for _ in range(2))
    shop.client.checkout.sessions.expire(wasted)
    listing = ["checkout", "sessions", "list", f"--customer={customer}"]
    assert cli.ids(*listing) == [wasted, left]
    assert cli.ids(*listing, "--status=open") == [left]
    assert cli.ids(*listing, "--status=expired") == [wasted]
    assert cli(*listing, "--limit=1")["has_more"] is True

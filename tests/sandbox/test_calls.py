"""Every call takes the parameters, and answers with the objects, that the `stripe` package says.

A new call fails these tests until the tour takes it in.
"""

import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from stripe._object_classes import get_object_class

from backoffice.sandbox.app import ROUTES
from backoffice.sandbox.params import fields, parameter_type
from backoffice.sandbox.routing import Route
from tests.sandbox.package_calls import package_calls, shape_of
from tests.sandbox.server import SandboxProcess
from tests.sandbox.typing_of import resource_problems

Json = dict[str, Any]
# What the official CLI calls without its being documented, and a URL that charges name.
NOT_IN_THE_PACKAGE = {
    "GET /v1/charges/{id}/refunds",
    "GET /v1/payment_pages/{id}",
    "POST /v1/events/{id}/retry",
    "POST /v1/payment_pages/{id}/confirm",
}
URL = "https://x.example"


def name_of(route: Route) -> str:
    """As the sandbox's own log names it."""
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", ROUTES, ids=name_of)
def test_a_call_takes_the_parameters_of_the_package(route: Route) -> None:
    call = package_calls().get((route.method, shape_of(route.path)))
    if call is None:
        assert name_of(route) in NOT_IN_THE_PACKAGE
        return
    assert route.types == (call.params,)
    assert not route.extra
    assert route.supported <= fields(parameter_type(call.params)).keys()


@dataclass
class Tour:
    """Calls the API and checks each answer as it comes."""

    sandbox: SandboxProcess
    made: set[str] = field(default_factory=set)

    def __call__(self, call: str, id: str = "", **form: Any) -> Json:  # noqa: A002
        """Makes a call, such as `POST /v1/customers/{id}`."""
        method, path = call.split(" ")
        part = "data" if method == "POST" else "params"
        answer = self.sandbox.request(method, path.format(id=id), **{part: form})
        assert answer.status_code == 200, (call, answer.text)
        value: Json = answer.json()
        self.made.add(call)
        if call not in NOT_IN_THE_PACKAGE:
            kind = package_calls()[method, shape_of(path)].answer
            assert list(problems_of(value, kind, call)) == []
        return value

    def first(self, call: str, **form: Any) -> Json:
        """The first object of a list, which has one."""
        listed: list[Json] = self(call, **form)["data"]
        assert listed, call
        return listed[0]


def problems_of(value: Json, answer: str, call: str) -> list[str]:
    """What is wrong with an answer that the package annotates as `answer`."""
    listed = re.fullmatch(r"(ListObject|SearchResultObject)\[(.*)\]", answer)
    if listed is None:
        return object_problems(value, answer, deleted=call.startswith("DELETE"))
    envelope = {"object", "data", "has_more", "url"}
    if listed[1] == "SearchResultObject":
        envelope.add("next_page")
    found = [] if value.keys() == envelope else [f"{call}: {sorted(value)}"]
    return found + [p for one in value["data"] for p in object_problems(one, listed[2])]


def object_problems(value: Json, answer: str, *, deleted: bool = False) -> list[str]:
    """What is wrong with one object."""
    if get_object_class("V1", value["object"]).__name__ != answer:
        return [f"{value['object']} is no {answer}"]
    if deleted and value.get("deleted"):
        return [] if value.keys() == {"id", "object", "deleted"} else [str(sorted(value))]
    return resource_problems(value)


def test_every_call_answers_with_the_objects_of_the_package(sandbox: SandboxProcess) -> None:
    tour = Tour(sandbox)
    catalogue(tour)
    taxes(tour)
    customer = people(tour)
    subscriptions(tour, customer)
    invoices(tour, customer)
    payments(tour, customer)
    payouts(tour)
    checkout(tour, customer)
    platform(tour)
    clocks(tour)
    tour("DELETE /v1/customers/{id}", customer)
    assert {name_of(route) for route in ROUTES} - tour.made == set()


def catalogue(tour: Tour) -> None:
    """Products and prices."""
    product = tour("POST /v1/products", name="Leads")["id"]
    tour("POST /v1/products/{id}", product, description="More of them")
    tour("GET /v1/products/{id}", product)
    price = tour("POST /v1/prices", product=product, currency="usd", unit_amount=500)["id"]
    tour("POST /v1/prices/{id}", price, nickname="Pack")
    tour("GET /v1/prices/{id}", price)
    tour.first("GET /v1/prices")
    tour.first("GET /v1/products")
    tour("DELETE /v1/products/{id}", tour("POST /v1/products", name="None")["id"])


def taxes(tour: Tour) -> None:
    """Tax rates."""
    rate = tour("POST /v1/tax_rates", display_name="VAT", percentage=19, inclusive="false")["id"]
    tour("POST /v1/tax_rates/{id}", rate, description="VAT Germany")
    tour("GET /v1/tax_rates/{id}", rate)
    tour.first("GET /v1/tax_rates")


def price_of(tour: Tour, **more: Any) -> str:
    """A new price for a new product."""
    form = {"currency": "usd", "unit_amount": 2900, "product_data[name]": "Plan", **more}
    return str(tour("POST /v1/prices", **form)["id"])


def people(tour: Tour) -> str:
    """A customer who can pay."""
    customer = str(tour("POST /v1/customers", email="a@example.com")["id"])
    card = {"type": "card", "card[token]": "tok_visa"}
    method = tour("POST /v1/payment_methods", **card)["id"]
    tour("POST /v1/payment_methods/{id}", method, **{"metadata[a]": "b"})
    tour("GET /v1/payment_methods/{id}", method)
    tour("POST /v1/payment_methods/{id}/attach", method, customer=customer)
    default = {"invoice_settings[default_payment_method]": method}
    tour("POST /v1/customers/{id}", customer, **default)
    tour("GET /v1/customers/{id}", customer)
    tour.first("GET /v1/customers")
    tour.first("GET /v1/customers/search", query='email:"a@example.com"')
    tour.first("GET /v1/payment_methods", customer=customer)
    tour.first("GET /v1/customers/{id}/payment_methods", id=customer)
    tour("GET /v1/customers/{id}/sources", customer)
    spare = tour("POST /v1/payment_methods/{id}/attach", "pm_card_visa", customer=customer)["id"]
    tour("POST /v1/payment_methods/{id}/detach", spare)
    tour("POST /v1/billing_portal/sessions", customer=customer, return_url=URL)
    setup = tour("POST /v1/setup_intents", customer=customer)["id"]
    tour("POST /v1/setup_intents/{id}", setup, description="Later")
    tour("POST /v1/setup_intents/{id}/confirm", setup, payment_method="pm_card_visa")
    tour("GET /v1/setup_intents/{id}", setup)
    tour("POST /v1/setup_intents/{id}/cancel", tour("POST /v1/setup_intents")["id"])
    tour.first("GET /v1/setup_intents")
    return customer


def subscriptions(tour: Tour, customer: str) -> None:
    """Made, changed, paused, resumed and canceled."""
    ordered = {"customer": customer, "items[0][price]": price_of(tour, **monthly())}
    made = tour("POST /v1/subscriptions", **ordered)["id"]
    tour("POST /v1/subscriptions/{id}", made, cancel_at_period_end="true")
    tour("GET /v1/subscriptions/{id}", made)
    tour.first("GET /v1/subscriptions")
    tour.first("GET /v1/subscription_items", subscription=made)
    tour("DELETE /v1/subscriptions/{id}", made)
    paused = tour.sandbox.story("subscribe", price=price_of(tour, **monthly()))["subscription"]
    tour.sandbox.story("pause", subscription=paused)
    tour("POST /v1/subscriptions/{id}/resume", paused)


def monthly() -> Json:
    """What makes a price recurring."""
    return {"recurring[interval]": "month"}


def invoices(tour: Tour, customer: str) -> None:
    """Invoices through all that can become of them."""

    def opened(**more: Any) -> str:
        tour("POST /v1/invoiceitems", customer=customer, amount=700, currency="usd")
        drafted = {"customer": customer, "pending_invoice_items_behavior": "include", **more}
        made = str(tour("POST /v1/invoices", **drafted)["id"])
        tour("POST /v1/invoices/{id}", made, description="For leads")
        tour("POST /v1/invoices/{id}/finalize", made)
        return made

    paid = opened()
    tour("POST /v1/invoices/{id}/pay", paid)
    tour("GET /v1/invoices/{id}", paid)
    tour.first("GET /v1/invoices/{id}/lines", id=paid)
    tour("POST /v1/invoices/{id}/void", opened())
    tour("POST /v1/invoices/{id}/mark_uncollectible", opened())
    sent = opened(collection_method="send_invoice", days_until_due=30)
    tour("POST /v1/invoices/{id}/send", sent)
    tour("DELETE /v1/invoices/{id}", tour("POST /v1/invoices", customer=customer)["id"])
    tour.first("GET /v1/invoices")
    payment = tour.first("GET /v1/invoice_payments")["id"]
    tour("GET /v1/invoice_payments/{id}", payment)
    item = tour("POST /v1/invoiceitems", customer=customer, amount=700, currency="usd")["id"]
    tour("GET /v1/invoiceitems/{id}", item)
    tour.first("GET /v1/invoiceitems")
    tour("DELETE /v1/invoiceitems/{id}", item)


def payments(tour: Tour, customer: str) -> None:
    """Payment intents, charges, refunds, disputes and what they book."""

    def intent(**more: Any) -> Json:
        return tour("POST /v1/payment_intents", amount=500, currency="usd", **more)

    changed = intent()["id"]
    tour("POST /v1/payment_intents/{id}", changed, description="Leads")
    tour("POST /v1/payment_intents/{id}/confirm", changed, payment_method="pm_card_visa")
    tour("GET /v1/payment_intents/{id}", changed)
    tour("POST /v1/payment_intents/{id}/cancel", intent()["id"])
    held = intent(capture_method="manual", confirm="true", payment_method="pm_card_visa")
    tour("POST /v1/payment_intents/{id}/capture", held["id"])
    tour.first("GET /v1/payment_intents")
    charge = tour.first("GET /v1/charges")["id"]
    tour("POST /v1/charges/{id}", charge, description="Leads")
    tour("GET /v1/charges/{id}", charge)
    refund = tour("POST /v1/refunds", charge=charge, amount=100)["id"]
    tour("POST /v1/refunds/{id}", refund, **{"metadata[a]": "b"})
    tour("GET /v1/refunds/{id}", refund)
    tour.first("GET /v1/refunds")
    tour.first("GET /v1/charges/{id}/refunds", id=charge)
    slow = intent(confirm="true", payment_method="pm_card_pendingRefund")
    pending = tour("POST /v1/refunds", payment_intent=slow["id"])
    tour("POST /v1/refunds/{id}/cancel", pending["id"])
    for call in ("POST /v1/disputes/{id}", "POST /v1/disputes/{id}/close"):
        intent(confirm="true", payment_method="pm_card_createDispute", customer=customer)
        dispute = tour.first("GET /v1/disputes")["id"]
        tour(call, dispute)
        tour("GET /v1/disputes/{id}", dispute)
    booked = tour.first("GET /v1/balance_transactions")["id"]
    tour("GET /v1/balance_transactions/{id}", booked)


def payouts(tour: Tour) -> None:
    """The balance, and what leaves it."""
    assert resource_problems(tour("GET /v1/balance")) == []
    tour.sandbox.advance(days=3)
    payout = tour("POST /v1/payouts", amount=100, currency="usd")["id"]
    tour("GET /v1/payouts/{id}", payout)
    tour("POST /v1/payouts/{id}", payout, **{"metadata[a]": "b"})
    tour.first("GET /v1/payouts")
    tour("POST /v1/payouts/{id}/cancel", payout)


def checkout(tour: Tour, customer: str) -> None:
    """A session that is paid, and one that expires."""

    def session() -> str:
        line = {"line_items[0][price]": price_of(tour), "line_items[0][quantity]": 1}
        form = {"mode": "payment", "success_url": URL, "customer": customer, **line}
        return str(tour("POST /v1/checkout/sessions", **form)["id"])

    paid = session()
    tour("GET /v1/payment_pages/{id}", paid)
    tour("POST /v1/payment_pages/{id}/confirm", paid, payment_method="pm_card_visa")
    tour("GET /v1/checkout/sessions/{id}", paid)
    tour("POST /v1/checkout/sessions/{id}", paid, **{"metadata[a]": "b"})
    tour.first("GET /v1/checkout/sessions/{id}/line_items", id=paid)
    tour("POST /v1/checkout/sessions/{id}/expire", session())
    tour.first("GET /v1/checkout/sessions")


def platform(tour: Tour) -> None:
    """The account, endpoints and events."""
    account = tour("GET /v1/account")["id"]
    tour("GET /v1/accounts/{id}", account)
    tour("GET /v1/accounts")
    listening = {"url": "http://127.0.0.1:1/", "enabled_events[]": "*"}
    endpoint = tour("POST /v1/webhook_endpoints", **listening)["id"]
    tour("POST /v1/webhook_endpoints/{id}", endpoint, description="Ours")
    tour("GET /v1/webhook_endpoints/{id}", endpoint)
    tour.first("GET /v1/webhook_endpoints")
    event = tour.first("GET /v1/events")["id"]
    tour("GET /v1/events/{id}", event)
    resent = tour("POST /v1/events/{id}/retry", event, webhook_endpoint=endpoint)
    assert resource_problems(resent) == []
    tour("DELETE /v1/webhook_endpoints/{id}", endpoint)


def clocks(tour: Tour) -> None:
    """Test clocks."""
    now = int(time.time())
    clock = tour("POST /v1/test_helpers/test_clocks", frozen_time=now)["id"]
    tour("GET /v1/test_helpers/test_clocks/{id}", clock)
    tour.first("GET /v1/test_helpers/test_clocks")
    tour("POST /v1/test_helpers/test_clocks/{id}/advance", clock, frozen_time=now + 60)
    tour("DELETE /v1/test_helpers/test_clocks/{id}", clock)

"""A marketplace in which everything that a bridge has an item for has happened."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pytest_django import Settings

from billing.revenue.days import midnight
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.environment import SECRET_KEY
from tests.support.events import Event, deliver_and_drain, events_of

ZONE = "Europe/Berlin"
A_MINUTE = timedelta(minutes=1)


@dataclass
class Market:
    """A sandbox around the day on which the clocks of ZONE change next; its window is 4 days."""

    sandbox: SandboxProcess
    shop: Shop = field(init=False)
    day: date = field(init=False)
    events: list[Event] = field(init=False)
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shop = Shop(self.sandbox)
        self.day = next_change(self.now())

    @property
    def since(self) -> datetime:
        return self.begins(-1)

    @property
    def until(self) -> datetime:
        return self.begins(3)

    def begins(self, days: int) -> datetime:
        """When the day so many days after the change of the clocks begins."""
        return midnight(self.day + timedelta(days=days), ZoneInfo(ZONE))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.sandbox.control("clock", http="GET")["now"], UTC)

    def go_to(self, moment: datetime) -> None:
        self.sandbox.advance(seconds=(moment - self.now()).total_seconds())

    def customer(self, name: str, **more: Any) -> str:
        made = {"email": f"{name}@example.com", "metadata": {"user_id": f"u_{name}"}, **more}
        customer = self.sandbox.stripe.v1.customers.create(made)
        return str(customer.id)

    def price(self, amount: int, currency: str) -> str:
        product = self.sandbox.stripe.v1.products.create({"name": currency})
        return str(
            self.sandbox.stripe.v1.prices.create(
                {
                    "product": product.id,
                    "currency": currency,
                    "unit_amount": amount,
                    "metadata": {"lead_credits": "5"},
                }
            ).id
        )

    def invoice(self, customer: str, amount: int, **paid: Any) -> str:
        """A finalized invoice; paid as `paid` says, or left open."""
        client = self.sandbox.stripe.v1
        item: Any = {"customer": customer, "amount": amount, "currency": "usd"}
        client.invoice_items.create(item)
        made: Any = {"customer": customer, "pending_invoice_items_behavior": "include"}
        invoice = client.invoices.create(made)
        client.invoices.finalize_invoice(invoice.id)
        if paid:
            client.invoices.pay(invoice.id, paid)  # type: ignore[arg-type]
        return str(invoice.id)

    def bank_account(self, customer: str) -> str:
        """A bank account whose debits take four days."""
        made: Any = {
            "type": "us_bank_account",
            "us_bank_account": {"account_number": "000123456789", "routing_number": "110000000",
                                "account_holder_type": "individual"},
            "billing_details": {"name": "Ada"},
        }  # fmt: skip
        method = self.sandbox.stripe.v1.payment_methods.create(made)
        self.sandbox.stripe.v1.payment_methods.attach(method.id, {"customer": customer})
        return str(method.id)


def next_change(now: datetime) -> date:
    """The next day, a week off at least, that is longer or shorter than others in ZONE."""
    day = (now + timedelta(days=7)).date()
    zone = ZoneInfo(ZONE)
    while midnight(day + timedelta(days=1), zone) - midnight(day, zone) == timedelta(days=1):
        day += timedelta(days=1)
    return day


def live(market: Market) -> None:
    """What happens in it, in the order of time."""
    tell, shop, ids = market.sandbox.story, market.shop, market.ids
    euro, yen = market.price(3000, "eur"), market.price(5000, "jpy")
    ada = market.customer("ada")

    market.go_to(market.begins(-4) + 30 * A_MINUTE)  # arrives after midnight of the change's day
    ids["debited"] = market.invoice(ada, 8000, payment_method=market.bank_account(ada))
    market.go_to(market.begins(-1) + 60 * A_MINUTE)
    slow = shop.buy(user_id="u_slow", async_="pending")
    market.go_to(market.begins(0) - 10 * A_MINUTE)
    shop.buy(user_id="u_before")
    market.go_to(market.begins(0) + 10 * A_MINUTE)
    shop.buy(user_id="u_after", quantity=2)

    market.go_to(market.begins(0) + timedelta(hours=12))
    subscribed = shop.subscribe(customer=ada)
    ids["elsewhere"] = market.invoice(ada, 5100, paid_out_of_band=True)
    rich = market.customer("rich", balance=-7000)
    market.invoice(rich, 4000)  # the balance pays it whole
    visa = market.sandbox.stripe.v1.payment_methods.attach("pm_card_visa", {"customer": rich})
    market.invoice(rich, 10000, payment_method=visa.id)  # and 3000 of this one
    ids["open"] = market.invoice(rich, 1234)
    shop.buy(user_id="u_eva", price=euro)
    shop.buy(user_id="u_ken", price=yen, quantity=3)
    tell("refund", charge=shop.buy(user_id="u_part")["charge"], amount=1000)
    tell("refund", charge=shop.buy(user_id="u_euro", price=euro)["charge"])
    tell("dispute", charge=shop.buy(user_id="u_lost")["charge"])
    won = tell("dispute", charge=shop.buy(user_id="u_won")["charge"])["dispute"]
    bounces = tell("refund", charge=shop.buy(user_id="u_back")["charge"])["refund"]
    direct: Any = {
        "amount": 777, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True,
    }  # fmt: skip
    mistaken = market.sandbox.stripe.v1.payment_intents.create(direct)
    tell("refund", payment_intent=mistaken.id)

    market.go_to(market.begins(1) - 10 * A_MINUTE)
    shop.buy(user_id="u_late")
    market.go_to(market.begins(1) + 10 * A_MINUTE)
    tell("renew", subscription=subscribed["subscription"])
    tell("close_dispute", dispute=won, won=True)
    tell("fail_refund", refund=bounces)
    tell("settle", checkout_session=slow["checkout_session"])
    market.go_to(market.begins(4))
    market.events = events_of(market.sandbox)


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    """One for all tests of a process, which only read it."""
    with run_sandbox(tmp_path_factory.mktemp("revenue") / "stripe.sqlite3") as running:
        made = Market(running)
        live(made)
        yield made


@pytest.fixture
def books(db: None, market: Market, settings: Settings) -> Market:
    """The same, and the back office has had all of its events."""
    settings.STRIPE_API_BASE = settings.STRIPE_API_HOST = market.sandbox.url
    settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = SECRET_KEY
    deliver_and_drain(market.events)
    return market

"""The bridge between what was paid here and Stripe's balance, in a world that has all its items."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backoffice.drill.books import Stripe
from billing.gateway.client import gateway
from billing.models import BillingInvoice, BillingPayment, Purchase, acting_as
from billing.reconciliation.measures import clearing, timeliness
from billing.revenue.bridge import bridge
from tests.revenue.conftest import A_MINUTE, ZONE, Market

pytestmark = pytest.mark.django_db

Rows = dict[tuple[str, str], Counter[str]]


def bridged(market: Market, **window: Any) -> Any:
    """The bridge of the market's four days."""
    return bridge(
        **{"since": market.since, "until": market.until, "timezone": ZONE} | window,
        stripe=gateway(),
    )


def by_day(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """The rows' amounts that are not 0, by date and currency."""
    return {
        (row["date"], row["currency"]): {
            name: value for name, value in row.items() if isinstance(value, int) and value
        }
        for row in rows
    }


class Worked:
    """The same bridge, worked out from all of the sandbox's objects, held in memory."""

    def __init__(self, market: Market) -> None:
        self.market, self.stripe = market, Stripe(market.sandbox)
        self.rows: dict[str, Rows] = {"collected": defaultdict(Counter),
                                      "settled": defaultdict(Counter)}  # fmt: skip
        everything = list(self.stripe.all("balance_transactions"))
        self.booked = {booked["id"]: booked for booked in everything}
        self.charges = list(self.stripe.all("charges"))
        self.paid_by = {charge["payment_intent"]: charge for charge in self.charges}
        self.here()
        self.at_stripe()
        self.balance()

    def add(self, part: str, at: int, currency: str, **amounts: int) -> None:
        moment = datetime.fromtimestamp(at, UTC)
        if self.market.since <= moment < self.market.until:
            day = moment.astimezone(ZoneInfo(ZONE)).date().isoformat()
            self.rows[part][day, currency].update(amounts)

    def move(self, part: str, currency: str, amount: int, from_: int, to: int) -> None:
        zone = ZoneInfo(ZONE)
        days = [datetime.fromtimestamp(at, UTC).astimezone(zone).date() for at in (from_, to)]
        if days[0] != days[1]:
            self.add(part, from_, currency, timing=-amount)
            self.add(part, to, currency, timing=amount)

    def here(self) -> None:
        expand = {"expand[]": "data.amount_paid_off_stripe"}
        paid_at = {}
        for made in self.stripe.all("invoices", status="paid", **expand):
            at = paid_at[made["id"]] = made["status_transitions"]["paid_at"]
            self.add("collected", at, made["currency"], invoices=made["total"],
                     customer_balance=made["starting_balance"] - made["ending_balance"],
                     out_of_band=-made["amount_paid_off_stripe"])  # fmt: skip
        bought = set()
        for link in self.stripe.all("invoice_payments", status="paid"):
            charge = self.paid_by[link["payment"]["payment_intent"]]
            bought.add(charge["id"])
            at = paid_at[link["invoice"]]
            self.move("collected", link["currency"], link["amount_paid"], at, charge["created"])
        for made in self.stripe.all("checkout/sessions"):
            if made["mode"] == "payment" and made["payment_status"] == "paid":
                charge = self.paid_by[made["payment_intent"]]
                bought.add(charge["id"])
                amount, currency = made["amount_total"], made["currency"]
                self.add("collected", charge["created"], currency, packs=amount)
        for charge in self.charges:
            if charge["id"] not in bought and charge["refunded"]:
                amount, currency = charge["amount"], charge["currency"]
                self.add("collected", charge["created"], currency, returned=amount)

    def at_stripe(self) -> None:
        for charge in self.charges:
            made, amount, currency = charge["created"], charge["amount"], charge["currency"]
            for part in ("collected", "settled"):
                self.add(part, made, currency, charges=amount)
            booked = self.booked[charge["balance_transaction"]]
            at, settled_in = booked["created"], booked["currency"]
            self.move("settled", currency, amount, made, at)
            if settled_in != currency:
                self.add("settled", at, currency, exchanged=-amount)
                self.add("settled", at, settled_in, exchanged=booked["amount"])

    def balance(self) -> None:
        taken = {"refund": "refunds", "refund_failure": "refunds",
                 "dispute": "disputes", "dispute_reversal": "disputes"}  # fmt: skip
        for booked in self.booked.values():
            at, currency, category = (
                booked["created"], booked["currency"], booked["reporting_category"],
            )  # fmt: skip
            self.add("settled", at, currency, fees=-booked["fee"], net=booked["net"])
            if category in taken:
                self.add("settled", at, currency, **{taken[category]: booked["amount"]})

    def by_day(self, part: str) -> dict[tuple[str, str], dict[str, int]]:
        return {
            key: {name: value for name, value in amounts.items() if value}
            for key, amounts in self.rows[part].items()
            if any(amounts.values())
        }


def test_every_item_is_what_stripes_own_objects_say(books: Market) -> None:
    with CaptureQueriesContext(connection) as statements:
        said = bridged(books)
    assert len(statements.captured_queries) <= 25
    worked = Worked(books)
    for part in ("collected", "settled"):
        assert by_day(said[part]) == worked.by_day(part)
    assert (said["explained"], said["causes"], said["more_causes"]) == (True, [], 0)
    assert said["api_calls"] == 5  # four lists of one page, and the invoice paid elsewhere

    changed = books.day.isoformat()
    assert by_day(said["collected"])[changed, "usd"] == {
        "invoices": 8000 + 2900 + 5100 + 4000 + 10000,
        "customer_balance": -4000 - 3000,
        "out_of_band": -5100,
        "packs": 2 * 4500 + 5 * 4500,  # u_late's is from its last ten minutes
        "returned": 777,
        "timing": -8000,  # paid by a debit of four days before
        "charges": 42177,
    }
    assert by_day(said["collected"])[changed, "jpy"] == {"packs": 15000, "charges": 15000}
    assert by_day(said["settled"])[changed, "jpy"] == {"charges": 15000, "exchanged": -15000}
    assert [row for row in said["exchanges"] if row["from"] == "jpy"] == [
        {"date": changed, "from": "jpy", "amount": 15000, "to": "usd", "settled": 10050,
         "rates": [0.0067, 0.0067]}
    ]  # fmt: skip
    assert said["totals"]["settled"]["usd"]["remainder"] == 0
    cleared = clearing(books.begins(-5), books.until)
    assert (cleared["unexplained"], cleared["count"]["refund"]) == ([], 1)
    arrived = timeliness(books.begins(-5), books.until)["money"]["usd"]
    assert arrived["amount"] == cleared["money"]["usd"]["all"] + 5100  # paid elsewhere
    assert sum(row["net"] for row in said["categories"]) == said["totals"]["settled"]["usd"]["net"]
    assert {row["category"]: row["count"] for row in said["categories"]} == {
        "charge": 16, "refund": 4, "refund_failure": 1, "dispute": 2, "dispute_reversal": 1,
    }  # fmt: skip


def test_a_window_that_cuts_a_day_or_a_payment_is_explained_as_well(books: Market) -> None:
    noon = books.begins(0) + timedelta(hours=12)
    for since, until, zone in [
        (noon, noon + 2 * A_MINUTE, ZONE),
        (books.begins(0) - 5 * A_MINUTE, books.begins(0) + 35 * A_MINUTE, ZONE),
        (books.begins(-4), books.begins(-3), ZONE),  # charged, and paid four days later
        (books.since, books.until, "America/Los_Angeles"),
        (books.since, books.until, "Asia/Kathmandu"),
        (books.until, books.until + A_MINUTE, ZONE),
    ]:
        said = bridged(books, since=since, until=until, timezone=zone)
        assert said["explained"], said
        assert not said["causes"]


def test_what_is_lost_here_or_made_up_remains_and_is_named(books: Market) -> None:
    """A charge of which nothing came; an invoice marked paid by SQL; a payment of no charge."""
    day = books.day.isoformat()
    noon = books.begins(0) + timedelta(hours=12)
    before = bridged(books)
    lost = Purchase.objects.filter(user_id="u_before").get()
    charge = BillingPayment.objects.get(payment_intent_id=lost.payment_intent_id)
    made_up = Purchase.objects.get(user_id="u_late")
    away = BillingPayment.objects.get(payment_intent_id=made_up.payment_intent_id)
    unknown = Purchase.objects.get(user_id="u_after")
    with acting_as("test"):
        charge.delete()
        lost.delete()
        BillingPayment.objects.filter(pk=away.pk).update(stripe_charge_id="ch_madeUp")
        BillingInvoice.objects.filter(stripe_invoice_id=books.ids["open"]).update(
            status="paid", paid_at=noon, amount_paid=1234
        )
        Purchase.objects.filter(pk=unknown.pk).update(amount=1)
    said = bridged(books)
    assert not said["explained"]
    assert said["settled"] == before["settled"]
    remainders = {
        (row["date"], row["currency"]): row["remainder"]
        for row in said["collected"]
        if row["remainder"]
    }
    first = (books.day - timedelta(days=1)).isoformat()
    assert remainders == {(first, "usd"): 4500, (day, "usd"): -1234 + 8999}
    causes = {cause["id"]: (cause["date"], cause["amount"], cause["why"])
              for cause in said["causes"]}  # fmt: skip
    assert causes[charge.stripe_charge_id] == (first, 4500, "It is not here at all.")
    why = "It is paid here, and no charge at Stripe paid it."
    assert causes[books.ids["open"]] == (day, -1234, why)
    why = f"It paid {made_up.source} here, and Stripe does not list it."
    assert causes["ch_madeUp"] == (day, -4500, why)
    assert len(causes) == 4


def test_a_payment_that_nothing_explains_remains(books: Market) -> None:
    """Its invoice is not paid here; no purchase is here; a dispute that was won."""
    won = Purchase.objects.get(user_id="u_won")
    subscription = BillingInvoice.objects.filter(billing_reason="subscription_create").get()
    with acting_as("test"):
        won.delete()
        BillingInvoice.objects.filter(pk=subscription.pk).update(status="open", amount_paid=0)
    whys = {cause["why"] for cause in bridged(books)["causes"]}
    assert whys == {
        f"Its invoice {subscription.stripe_invoice_id} is not paid here.",
        "No invoice and no purchase here explains it.",
    }
    with acting_as("test"):  # a part of what it asks for is paid
        BillingInvoice.objects.filter(pk=subscription.pk).update(amount_paid=2900)
    said = bridged(books)
    assert [cause["amount"] for cause in said["causes"]] == [4500]


def test_an_invoice_of_an_old_version_says_itself_what_was_paid_elsewhere(books: Market) -> None:
    """Before basil: `paid_out_of_band`, which `amount_paid` leaves out, and `tax`."""
    here = BillingInvoice.objects.filter(stripe_invoice_id=books.ids["elsewhere"])
    with acting_as("test"):
        here.update(amount_paid=0)
    mirror(books.ids["elsewhere"], paid_out_of_band=True,
           total_taxes=None, total_tax_amounts=[{"amount": 100}, {"amount": 7}])  # fmt: skip
    mirror(books.ids["debited"], total_taxes=[{"amount": 640}])
    said = bridged(books)
    assert (said["explained"], said["api_calls"]) == (True, 4)
    row = by_day(said["collected"])[books.day.isoformat(), "usd"]
    assert (row["out_of_band"], row["invoices"], row["tax"]) == (-5100, 30000, 747)

    mirror(books.ids["elsewhere"], amount_paid_off_stripe=5100)
    with acting_as("test"):
        here.update(amount_paid=5100)
    again = bridged(books)
    assert (again["explained"], again["api_calls"]) == (True, 4)
    assert by_day(again["collected"])[books.day.isoformat(), "usd"] == row


def mirror(invoice: str, **changes: Any) -> None:
    """Changes what Stripe's object says in our copy of it."""
    from djstripe.models import Invoice

    row = Invoice.objects.get(id=invoice)
    row.stripe_data = {**row.stripe_data, **changes}
    row.save(update_fields=["stripe_data"])

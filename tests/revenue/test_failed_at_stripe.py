"""Failed payments and ageing of what happened at the sandbox, against its own state."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from billing.models import BillingInvoice, InvoiceDunning, InvoicePayment
from billing.operations.sync import SyncFromStripe
from billing.revenue import dunning
from billing.revenue.ageing import Ageing
from billing.revenue.days import ONE_DAY, midnight
from billing.revenue.failed import FailedPayments
from tests.operations.shop import BOB, Shop
from tests.revenue.failing import asked, table
from tests.sandbox.server import SandboxProcess
from tests.support.events import Event, deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
ZONE = "Europe/Berlin"
GOOD, BAD = "pm_card_visa", "pm_card_chargeCustomerFail"


def lived(sandbox: SandboxProcess) -> tuple[dict[str, str], list[Event]]:
    """Two months of the marketplace: invoices that were in trouble by name, and all events.

    Stripe lists its events for 30 days only.
    """
    client, shop = sandbox.stripe.v1, Shop(sandbox)
    recovers, canceled, unpaid, written_off = (shop.subscribe() for _ in range(4))
    card(sandbox, canceled["customer"], BAD)
    its_own = {"default_payment_method": ""}
    sandbox.post(f"/v1/subscriptions/{canceled['subscription']}", its_own).raise_for_status()
    named = {
        "recovers": sandbox.story("renew", subscription=recovers["subscription"], fail=True),
        "canceled": sandbox.story("past_due", subscription=canceled["subscription"]),
        "unpaid": sandbox.story("unpaid", subscription=unpaid["subscription"]),
        "written_off": sandbox.story("unpaid", subscription=written_off["subscription"]),
    }
    ids = {name: told["invoice"] for name, told in named.items()}
    ids |= {"sent": billed(sandbox, 3300, "eur"), "void": billed(sandbox, 4400, "jpy")}
    ids["bad"] = billed(sandbox, 700, "usd", pay_with=BAD)
    sandbox.advance(days=2)
    client.invoices.mark_uncollectible(ids["written_off"])
    sandbox.advance(days=3)  # the first retry of `recovers` is with a good card
    client.invoices.void_invoice(ids["void"])
    client.invoices.void_invoice(ids["bad"])
    told = events_of(sandbox)
    sandbox.advance(days=24)  # none of them is on the edge of the 30 days while they are listed
    told += [event for event in events_of(sandbox) if event not in told]
    client.invoices.pay(ids["written_off"], {"paid_out_of_band": True})
    client.invoices.pay(ids["unpaid"], {"payment_method": visa(sandbox, unpaid["customer"])})
    sandbox.advance(days=29)
    told += [event for event in events_of(sandbox) if event not in told]
    return ids, told


def visa(sandbox: SandboxProcess, customer: str, card: str = GOOD) -> str:
    return sandbox.stripe.v1.payment_methods.attach(card, {"customer": customer}).id


def card(sandbox: SandboxProcess, customer: str, token: str) -> None:
    """A card that pays from now on."""
    method = visa(sandbox, customer, token)
    settings: Any = {"invoice_settings": {"default_payment_method": method}}
    sandbox.stripe.v1.customers.update(customer, settings)


def billed(sandbox: SandboxProcess, amount: int, currency: str, pay_with: str = "") -> str:
    """An invoice that was sent and is due in 10 days; or one that a card did not pay."""
    client = sandbox.stripe.v1
    customer = client.customers.create({"email": "eva@example.com"}).id
    item: Any = {"customer": customer, "amount": amount, "currency": currency}
    client.invoice_items.create(item)
    terms = {} if pay_with else {"collection_method": "send_invoice", "days_until_due": 10}
    made: Any = {"customer": customer, "currency": currency, "auto_advance": False,
                 "pending_invoice_items_behavior": "include", **terms}  # fmt: skip
    invoice = client.invoices.create(made).id
    client.invoices.finalize_invoice(invoice)
    if pay_with:
        paying = {"payment_method": visa(sandbox, customer, pay_with)}
        sandbox.post(f"/v1/invoices/{invoice}/pay", paying)
    return str(invoice)


def everything(sandbox: SandboxProcess, path: str, **params: Any) -> Iterator[Any]:
    page = sandbox.get(f"/v1/{path}", limit=100, **params).json()
    assert not page["has_more"], path
    yield from page["data"]


def moment(value: int | None) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if value else None


def expected(sandbox: SandboxProcess, events: list[Event]) -> dict[str, tuple[Any, ...]]:
    """What became of each invoice that failed: by Stripe's own state alone."""
    charges = defaultdict(list)
    for charge in everything(sandbox, "charges"):
        if charge["status"] == "failed":
            charges[charge["payment_intent"]].append((charge["created"], charge["outcome"]))
    failures = defaultdict(list)
    for link in everything(sandbox, "invoice_payments"):
        failures[link["invoice"]] += charges[link["payment"]["payment_intent"]]
    ended = {
        one["id"]: one["ended_at"] for one in everything(sandbox, "subscriptions", status="all")
    }
    gave_up = {}
    for event in events:
        shown = event["data"]["object"]
        if shown["object"] == "subscription" and shown["status"] == "unpaid":
            gave_up.setdefault(shown["id"], event["created"])
    found = {}
    for invoice in everything(sandbox, "invoices"):
        if not failures[invoice["id"]]:
            continue
        first, outcome = min(failures[invoice["id"]], key=lambda one: one[0])
        times = invoice["status_transitions"]
        of = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
        ways = [
            times["voided_at"],
            times["marked_uncollectible_at"],
            ended.get(of),
            gave_up.get(of),
        ]
        lost = min((at for at in ways if at and at < (times["paid_at"] or at + 1)), default=None)
        found[invoice["id"]] = (
            moment(first), moment(times["paid_at"]), moment(lost), outcome["reason"],
            invoice["amount_due"], invoice["currency"],
        )  # fmt: skip
    return found


def ours() -> dict[str, tuple[Any, ...]]:
    dunning.refresh()
    columns = ("entered_at", "recovered_at", "lost_at", "decline_reason", "amount", "currency")
    return {row[0]: row[1:] for row in InvoiceDunning.objects.values_list("pk", *columns)}


def check_months(facts: dict[str, tuple[Any, ...]]) -> None:
    """The report's months are the facts' own, in its zone."""
    months: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for entered, recovered, lost, _, amount, currency in facts.values():
        for number, at in enumerate((entered, recovered, lost)):
            if at:
                month = at.astimezone(ZoneInfo(ZONE)).strftime("%Y-%m-01")
                months[month, currency][number] += amount
    first = min(at for at, *_ in facts.values()).astimezone(ZoneInfo(ZONE)).date()
    given = asked(first.replace(day=1), first + timedelta(days=150), zone=ZONE)
    rows = table(FailedPayments(), given)
    told = {
        (row["date"], row["currency"]): [
            row["entered_amount"], row["recovered_amount"], row["lost_amount"],
        ]
        for row in rows
        if row["entered"] or row["recovered"] or row["lost"]
    }  # fmt: skip
    assert told == dict(months)
    assert rows[-1]["in_dunning"] == 0


def check_ageing(sandbox: SandboxProcess, day: date) -> None:
    """What was open at the end of a day, by Stripe's own state."""
    end = midnight(day + ONE_DAY, ZoneInfo(ZONE)).timestamp()
    parts: dict[tuple[str, str], int] = defaultdict(int)
    for invoice in everything(sandbox, "invoices"):
        times = invoice["status_transitions"]
        closing = [times[f"{how}_at"] for how in ("paid", "voided", "marked_uncollectible")]
        if not times["finalized_at"] or times["finalized_at"] >= end:
            continue
        if any(at and at < end for at in closing) or not invoice["amount_due"]:
            continue
        due = datetime.fromtimestamp(invoice["due_date"] or times["finalized_at"], ZoneInfo(ZONE))
        late = (day - due.date()).days
        bounds = ((0, "not_due"), (31, "0_30"), (61, "31_60"), (91, "61_90"), (10**6, "over_90"))
        part = next(name for bound, name in bounds if late < bound)
        parts[invoice["currency"], part] += invoice["amount_due"]
    told = {
        (row["currency"], row["key"]): row["amount"]
        for row in table(Ageing(), asked(day, day, zone=ZONE))
        if row["invoices"]
    }
    assert told == dict(parts)


def test_what_failed_at_stripe_is_here_as_it_was(sandbox: SandboxProcess) -> None:
    ids, events = lived(sandbox)
    deliver_and_drain(events)
    facts = expected(sandbox, events)
    assert {ids[name] for name in ("recovers", "canceled", "unpaid", "written_off", "bad")} <= set(
        facts
    )
    assert ids["sent"] not in facts
    assert ours() == facts
    assert facts[ids["recovers"]][1]
    assert not facts[ids["recovers"]][2]
    assert facts[ids["unpaid"]][1]
    assert facts[ids["unpaid"]][2]
    assert facts[ids["canceled"]][2]
    check_months(facts)
    start = BillingInvoice.objects.earliest("finalized_at").finalized_at
    assert start is not None
    for days in (0, 1, 4, 12, 31, 45, 57, 100):
        check_ageing(sandbox, start.date() + timedelta(days=days))
    assert dunning.check() == []
    assert dunning.rebuild() == 0

    times = ("pk", "finalized_at", "paid_at", "voided_at", "uncollectible_at")
    kept = list(BillingInvoice.objects.order_by("pk").values_list(*times))
    BillingInvoice.objects.update(finalized_at=None, voided_at=None, uncollectible_at=None)
    with connection.cursor() as cursor:
        cursor.execute(import_module("billing.migrations.0013_invoice_times").FROM_MIRROR)
    assert list(BillingInvoice.objects.order_by("pk").values_list(*times)) == kept

    # A database that was filled by a sync alone has the same charges, whatever it was told.
    links = InvoicePayment.objects.count()
    InvoicePayment.objects.all().delete()
    SyncFromStripe(kind="everything", **BOB).apply()
    assert InvoicePayment.objects.count() >= links
    assert ours() == facts

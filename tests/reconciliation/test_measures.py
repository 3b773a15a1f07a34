"""How soon events and money are here, and whether every payment has ended in something."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from djstripe.models import Charge

from billing.models import (
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    InboxEvent,
    InvoicePayment,
    PaymentReversal,
    Purchase,
    acting_as,
)
from billing.reconciliation.measures import clearing, timeliness, unexplained_payments

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 2, tzinfo=UTC)
END = START + timedelta(days=1)


def told(number: int, seconds: int | None, type_: str = "product.updated", **payload: Any) -> None:
    """An event that was here so many seconds after Stripe made it; None for one that waits."""
    made = START + timedelta(minutes=number)
    here = None if seconds is None else made + timedelta(seconds=seconds)
    status = InboxEvent.Status.FAILED if here is None else InboxEvent.Status.PROCESSED
    InboxEvent.objects.create(
        stripe_event_id=f"evt_{number}", type=type_, body="{}", status=status,
        stripe_created_at=made, processed_at=here,
    )  # fmt: skip
    if here is not None:
        BillingEvent.objects.create(
            stripe_event_id=f"evt_{number}", type=type_, payload=payload, created_at=made,
            recorded_at=here,
        )  # fmt: skip


def test_events_are_timed_by_count_and_their_money_by_amount() -> None:
    for number in range(1, 10):
        told(number, number)
    told(10, 500)
    told(11, -5)  # Stripe's clock is ahead of ours
    told(12, None)
    told(13, None)
    told(-1, 9999)  # before the window
    usd, session = {"currency": "usd"}, {"mode": "payment", "payment_status": "paid"}
    told(20, 3, "charge.succeeded", id="ch_1", payment_intent="pi_1", amount=100, **usd)
    told(21, 30, "invoice.paid", id="in_1", amount_paid=100, **usd)
    InvoicePayment.objects.create(payment_intent_id="pi_1", stripe_invoice_id="in_1")
    told(22, 2, "checkout.session.completed", id="cs_2", payment_intent="pi_2",
         amount_total=250, **usd, **session)  # fmt: skip
    told(23, 4, "charge.succeeded", id="ch_2", payment_intent="pi_2", amount=250, **usd)
    told(24, 7, "invoice.paid", id="in_3", amount_paid=0, **usd)
    told(25, 8, "checkout.session.completed", id="cs_4", payment_intent="pi_4", amount_total=900,
         currency="usd", mode="payment", payment_status="unpaid")  # fmt: skip
    told(26, 9, "invoice.paid", id="in_5", amount_paid=5000, currency="jpy")
    with CaptureQueriesContext(connection) as statements:
        said = timeliness(START, END)
    assert len(statements.captured_queries) == 4
    assert said["events"] == 18
    assert said["median"] == 5.5
    assert said["worst"] == {"seconds": 500.0, "event": "evt_10", "type": "product.updated"}
    assert said["p95"] == pytest.approx(30 + 0.15 * 470)
    assert said["money"] == {
        "jpy": {"payments": 1, "amount": 5000, "half": 9.0, "p95": 9.0},
        "usd": {"payments": 2, "amount": 350, "half": 4.0, "p95": 30.0},
    }
    assert said["waiting"] == {
        "events": 2, "by_status": {"failed": 2}, "oldest": "2026-11-02T00:12:00Z",
    }  # fmt: skip


def test_a_replay_does_not_make_an_event_late() -> None:
    told(1, 4)
    InboxEvent.objects.update(processed_at=END + timedelta(days=9))
    assert timeliness(START, END)["worst"]["seconds"] == 4.0
    assert timeliness(None, END) == timeliness(START, END)


def test_a_window_without_events_has_no_delay() -> None:
    said = timeliness(START, END)
    assert (said["events"], said["median"], said["p95"], said["worst"]) == (0, None, None, None)
    assert (said["money"], said["waiting"]["events"]) == ({}, 0)
    assert clearing(START, END) == {
        "count": {"all": 0, "invoice": 0, "purchase": 0, "refund": 0, "dispute": 0, "nothing": 0,
                  "share": 1.0},
        "money": {},
        "unexplained": [],
    }  # fmt: skip


def paid(name: str, amount: int = 1000, **more: Any) -> None:
    """A payment that went through, with an intent of its name."""
    usual = {"payment_intent_id": f"pi_{name}", "status": "succeeded", "currency": "usd",
             "created_at": START}  # fmt: skip
    with acting_as("test"):
        BillingPayment.objects.create(stripe_charge_id=f"ch_{name}", amount=amount, **usual | more)


def invoiced(name: str, status: str, amount_paid: int) -> None:
    with acting_as("test"):
        BillingInvoice.objects.create(
            stripe_invoice_id=f"in_{name}", status=status, amount_paid=amount_paid
        )
    InvoicePayment.objects.create(payment_intent_id=f"pi_{name}", stripe_invoice_id=f"in_{name}")


def reversed_(name: str, *, active: bool) -> None:
    PaymentReversal.objects.create(
        stripe_id=f"du_{name}", kind="dispute", payment_intent_id=f"pi_{name}", amount=1000,
        status="needs_response", active=active, created_at=START,
    )  # fmt: skip


def test_every_payment_ends_in_what_explains_it_or_is_named() -> None:
    for name, status, amount_paid in [("whole", "paid", 1000), ("part", "open", 1000),
                                      ("open", "open", 0)]:  # fmt: skip
        paid(name)
        invoiced(name, status, amount_paid)
    paid("pack", 4500, currency="eur")
    Purchase.objects.create(
        source="cs_1", kind="pack", status="unattributed", payment_intent_id="pi_pack",
        created_at=START,
    )  # fmt: skip
    paid("back", amount_refunded=1000)
    paid("some", amount_refunded=999)
    for name, active in [("lost", True), ("won", False)]:
        paid(name)
        reversed_(name, active=active)
    paid("legacy", payment_intent_id="")
    paid("failed", status="failed")
    paid("nil", 0)
    paid("later", created_at=END)
    paid("held")
    Charge.objects.create(id="ch_held", amount=10, currency="usd", status="succeeded",
                          stripe_data={"id": "ch_held", "captured": False})  # fmt: skip
    with CaptureQueriesContext(connection) as statements:
        said = clearing(START, END)
    assert len(statements.captured_queries) == 2
    assert said["unexplained"] == ["ch_legacy", "ch_won", "ch_some", "ch_open"]
    assert said["count"] == {
        "all": 9, "invoice": 2, "purchase": 1, "refund": 1, "dispute": 1, "nothing": 4,
        "share": 5 / 9,
    }  # fmt: skip
    assert said["money"]["eur"]["share"] == 1.0
    usd = said["money"]["usd"]
    assert (usd["all"], usd["invoice"], usd["nothing"]) == (8000, 2000, 4000)
    suspects = unexplained_payments().filter(created_at__lte=END)
    assert set(suspects.values_list("stripe_charge_id", flat=True)) == {
        *said["unexplained"], "ch_later",
    }  # fmt: skip


def test_ids_are_named_up_to_a_number() -> None:
    for number in range(25):
        paid(f"n{number}", created_at=START + timedelta(minutes=number))
    said = clearing(START, END)
    assert said["count"]["nothing"] == 25
    assert clearing(None, END) == said
    assert said["unexplained"] == [f"ch_n{number}" for number in range(24, 4, -1)]

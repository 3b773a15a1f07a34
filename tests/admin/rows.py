"""Rows for the admin to show, as the back office itself would have written them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from billing.models import (
    Alert,
    Assessment,
    AuditEvent,
    AuditLink,
    Backup,
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    BulkItem,
    BulkJob,
    CreditEntry,
    CreditPrice,
    FindingRecord,
    InboxEvent,
    Incident,
    LeadClaim,
    LeadCredits,
    MissedEvent,
    MonthClose,
    Note,
    OperationRecord,
    PaymentReversal,
    Purchase,
    ReasonCode,
    ReconciliationRun,
    Recovery,
    SmokeTest,
    StatusOverride,
    WebhookRejection,
    acting_as,
)
from billing.projection import ledger
from billing.projection.ledger import Entry

MODELS = (
    BillingCustomer,
    BillingSubscription,
    BillingInvoice,
    BillingPayment,
    Purchase,
    PaymentReversal,
    LeadCredits,
    CreditEntry,
    LeadClaim,
    CreditPrice,
    InboxEvent,
    BillingEvent,
    WebhookRejection,
    OperationRecord,
    AuditEvent,
    BulkJob,
    ReasonCode,
    StatusOverride,
    Note,
    Alert,
    Incident,
    FindingRecord,
    ReconciliationRun,
    SmokeTest,
    Assessment,
    Recovery,
    MonthClose,
    Backup,
)
# Settings of ours, and what is acted upon on its own page.
EDITED = (CreditPrice, ReasonCode, BulkJob)
USER, CUSTOMER = "u_ada", "cus_Ada"
HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"


@contextmanager
def writing() -> Iterator[None]:
    with transaction.atomic(), acting_as("test"):
        yield


def customer(user: str | None = USER, id_: str = CUSTOMER, **more: Any) -> BillingCustomer:
    """Ada, unless told otherwise."""
    fields = {"email": "ada@example.com", "name": "Ada", "attributed_by": "customer", **more}
    with writing():
        return BillingCustomer.objects.create(user_id=user, stripe_customer_id=id_, **fields)


def subscription(id_: str = "sub_1", **more: Any) -> BillingSubscription:
    fields = {
        "user_id": USER,
        "stripe_customer_id": CUSTOMER,
        "status": "active",
        "price_id": "price_1",
        "amount": 2900,
        "currency": "usd",
        "current_period_end": timezone.now() + timedelta(days=20),
        **more,
    }
    with writing():
        return BillingSubscription.objects.create(stripe_subscription_id=id_, **fields)


def invoice(id_: str = "in_1", **more: Any) -> BillingInvoice:
    fields = {
        "user_id": USER,
        "stripe_customer_id": CUSTOMER,
        "stripe_subscription_id": "sub_1",
        "number": f"NUMBER-{id_}",
        "status": "paid",
        "currency": "usd",
        "total": 2900,
        "amount_paid": 2900,
        **more,
    }
    with writing():
        return BillingInvoice.objects.create(stripe_invoice_id=id_, **fields)


def payment(id_: str = "ch_1", **more: Any) -> BillingPayment:
    """One of Ada's that went through."""
    fields = {
        "stripe_customer_id": CUSTOMER,
        "payment_intent_id": f"pi_of_{id_}",
        "status": "succeeded",
        "amount": 2900,
        "currency": "usd",
        "brand": "visa",
        "last4": "4242",
        **more,
    }
    with writing():
        return BillingPayment.objects.create(stripe_charge_id=id_, **fields)


def purchase(source: str = "cs_1", **more: Any) -> Purchase:
    fields = {
        "kind": Purchase.Kind.PACK,
        "status": Purchase.Status.GRANTED,
        "user_id": USER,
        "stripe_customer_id": CUSTOMER,
        "payment_intent_id": f"pi_of_{source}",
        "amount": 4500,
        "currency": "usd",
        "lines": [{"id": "li_1", "price": "price_1", "quantity": 1}],
        "credits": 50,
        "created_at": timezone.now(),
        **more,
    }
    return Purchase.objects.create(source=source, **fields)


def reversal(id_: str = "re_1", **more: Any) -> PaymentReversal:
    fields = {
        "kind": PaymentReversal.Kind.REFUND,
        "payment_intent_id": "pi_of_cs_1",
        "charge_id": "ch_1",
        "amount": 4500,
        "currency": "usd",
        "status": "succeeded",
        "active": True,
        "created_at": timezone.now(),
        **more,
    }
    return PaymentReversal.objects.create(stripe_id=id_, **fields)


def inbox_event(id_: str = "evt_1", **more: Any) -> InboxEvent:
    """A paid checkout of Ada's, dead."""
    session = {
        "id": "cs_1",
        "object": "checkout.session",
        "customer": CUSTOMER,
        "amount_total": 4500,
        "currency": "usd",
        "client_reference_id": USER,
    }
    body = {"id": id_, "type": "checkout.session.completed", "data": {"object": session}}
    fields = {
        "type": body["type"],
        "object_id": "cs_1",
        "customer_id": CUSTOMER,
        "body": json.dumps(body),
        "status": InboxEvent.Status.DEAD,
        "reason": "Stripe refused: no such line",
        "attempts": 9,
        "stripe_created_at": timezone.now(),
        **more,
    }
    return InboxEvent.objects.create(stripe_event_id=id_, **fields)


def event(id_: str | None = "evt_1", **more: Any) -> BillingEvent:
    fields = {
        "type": "checkout.session.completed",
        "payload": {"id": "cs_1", "customer": CUSTOMER, "metadata": {"user_id": USER}},
        **more,
    }
    with writing():
        return BillingEvent.objects.create(stripe_event_id=id_, **fields)


def claim(lead: str = "lead_1", **more: Any) -> LeadClaim:
    with writing():
        return LeadClaim.objects.create(**{"user_id": USER, "lead_id": lead, **more})


def price(id_: str = "price_1", **more: Any) -> CreditPrice:
    with writing():
        return CreditPrice.objects.create(
            **{"price_id": id_, "name": "Pack", "credits": 50, **more}
        )


def record(key: str = "op_1", **more: Any) -> OperationRecord:
    fields = {
        "name": "grant_credits",
        "subject": USER,
        "actor": "support",
        "reason": "The customer called",
        "status": OperationRecord.Status.APPLIED,
        "plan": {"changes": [{"label": "Balance", "before": "0", "after": "50"}]},
        "result": {"summary": "Granted 50 credits."},
        "finished_at": timezone.now(),
        **more,
    }
    return OperationRecord.objects.create(key=key, **fields)


def rejection(reason: str = "wrong signature", **more: Any) -> WebhookRejection:
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    return WebhookRejection.objects.create(**{"hour": hour, "reason": reason, "count": 2, **more})


def grant(user: str = USER, amount: int = 50, source: str | None = None) -> None:
    with writing():
        ledger.post([Entry(user, amount, CreditEntry.Kind.PACK, source, "Paid")])


def audit(operation: str = "op_1", **payload: Any) -> BillingEvent:
    """An audit event, as an operation leaves it."""
    said = {"user_id": USER, "customer": CUSTOMER, "operation": operation, **payload}
    return event(None, type="manual.credit_adjustment", payload=said)


def override(id_: str = "sub_1", **more: Any) -> StatusOverride:
    """A status set by hand, in force for a day."""
    fields = {
        "status_before": "canceled",
        "status": "active",
        "actor": "erin",
        "reason": "Stripe is down",
        "operation_key": f"op_of_{id_}",
        "expires_at": timezone.now() + timedelta(days=1),
        **more,
    }
    return StatusOverride.objects.create(stripe_subscription_id=id_, **fields)


def note(text: str = "Pays by wire", **more: Any) -> Note:
    fields = {
        "stripe_customer_id": CUSTOMER,
        "user_id": USER,
        "actor": "support",
        "operation_key": f"op_of_{text}",
        **more,
    }
    return Note.objects.create(text=text, **fields)


def alert(title: str = "Events fail", **more: Any) -> Alert:
    """An open one."""
    fields = {
        "rule": "failing",
        "severity": "danger",
        "detail": "5 of 9 failed.",
        "page": "/admin/billing/inboxevent/?status=dead",
        **more,
    }
    return Alert.objects.create(title=title, **fields)


def incident(title: str = "No webhooks come in", **more: Any) -> Incident:
    """An open one, of the past two hours."""
    fields = {
        "started_at": timezone.now() - timedelta(hours=2),
        "owner": "sue",
        "opened_by": "support",
        "operation_key": f"op_of_{title}",
        **more,
    }
    with writing():
        return Incident.objects.create(title=title, **fields)


def bulk_job(key: str = "job_1", target: str = USER, **more: Any) -> BulkJob:
    """A job with one target that is done."""
    fields = {"name": "grant_credits", "actor": "support", "reason": "All", "status": "done"}
    job = BulkJob.objects.create(key=key, **{**fields, **more})
    BulkItem.objects.create(job=job, target=target, status="done", said=f"Done for {target}.")
    return job


def finding(subject: str = "cs_1", **more: Any) -> FindingRecord:
    """A pack that was paid and never granted, found by no run yet."""
    fields = {
        "kind": "pack_not_granted",
        "severity": "access",
        "rank": 0,
        "verdict": f"They paid 45.00 USD for 50 credits ({subject}), and got none.",
        "evidence": [{"label": "Purchase", "value": "paid", "id": subject, "time": None}],
        "fix": {"operation": "grant_purchase", "params": {"purchase_id": subject}},
        "amount": 4500,
        "currency": "usd",
        "credits": 50,
        "user_id": USER,
        "stripe_customer_id": CUSTOMER,
        **more,
    }
    return FindingRecord.objects.create(subject=subject, **fields)


def run(**more: Any) -> ReconciliationRun:
    """A daily run that is done, and found one thing."""
    now = timezone.now()
    fields = {
        "kind": "daily",
        "status": "done",
        "since": now - timedelta(days=2),
        "until": now,
        "actor": "worker",
        "started_at": now - timedelta(seconds=80),
        "finished_at": now,
        "seconds": 75.2,
        "api_calls": 12,
        "counts": {
            "invoice": {
                "stripe": 3, "here": 2, "missing": 1, "only_here": 0, "differs": 0,
                "amounts": {"usd": {"stripe": 8700, "here": 5800}},
            },
            "event": {"stripe": 9, "here": 8, "missing": 1, "only_here": 0, "differs": 0},
        },
        "differences": {"pack_not_granted": 1},
        "at_stake": {"usd": 4500, "credits": 50},
        "measures": {
            "credits": {
                "lots": 60, "periods": 60, "unread": 3, "ledger": 63, "balances": 63,
                "difference": 0,
            },
            "completeness": {
                "count": {"stripe": 12, "here": 11, "share": 11 / 12},
                "money": {"usd": {"stripe": 8700, "here": 5800, "share": 5800 / 8700}},
            },
            "timeliness": {"median": 1.5, "worst": 7200},
            "events_by_hour": [["2026-03-01T10:00:00+00:00", 9, 8]],
        },
        **more,
    }  # fmt: skip
    return ReconciliationRun.objects.create(**fields)


def backup(number: int = 0, **more: Any) -> Backup:
    """A verified one, so many days old."""
    taken_at = timezone.now() - timedelta(days=number, minutes=5)
    name = f"billing-{number}"
    fields = {
        "taken_at": taken_at,
        "actor": "schedule",
        "location": f"/srv/backups/{name}.dump",
        "size": 12_345_678,
        "seconds": 75.2,
        "verified_at": taken_at + timedelta(seconds=75),
        "manifest": {
            "database": "billing",
            "server_version": "18.1",
            "sha256": "9f2c",
            "contents": {
                "rows": {"credit_entries": 1200, "lead_credits": 7, "lead_claims": 0},
                "highest": {"credit_entries": 1234},
                "ledger": {"delta": 60, "owed_delta": 2, "balance": 60, "owed": 2},
                "audit_head": {"position": 41, "hash": "ab12" * 16},
                "newest_event": {"id": "evt_9", "created_at": "2026-03-01T02:29:00+00:00"},
                "migrations": ["billing.0001_initial"],
            },
        },
        **more,
    }
    return Backup.objects.create(**{"name": name, **fields})


def smoke_test(**more: Any) -> SmokeTest:
    """One that got stuck at its first step."""
    step = {
        "name": "buy a pack",
        "ok": False,
        "seconds": 60.2,
        "detail": "The event came, and is still pending.",
        "advice": "Start a worker: manage.py run_worker.",
        "page": "/admin/billing/inboxevent/?status=pending",
    }
    fields = {"actor": "cli:erin", "mode": "sandbox", "ok": False, "steps": [step]}
    return SmokeTest.objects.create(**{**fields, "finished_at": timezone.now(), **more})


def assessment(**more: Any) -> Assessment:
    """One that found Ada's balance to differ from her ledger."""
    check = {
        "name": "ledger sums",
        "verdict": "damaged",
        "detail": "1 balances are not what their ledger adds up to.",
        "advice": "manage.py tie_out_balance",
        "page": f"/admin/billing/leadcredits/{USER}/change/",
        "numbers": {"wrong": 1},
        "rows": [{"id": USER, "page": f"/admin/billing/leadcredits/{USER}/change/"}],
        "users": [USER],
        "is_blind": False,
    }
    fields = {"actor": "cli:erin", "is_whole": False, "checks": [check], "users": [USER]}
    return Assessment.objects.create(**{**fields, "finished_at": timezone.now(), **more})


def recovery(**more: Any) -> Recovery:
    """A recovery of two hours that left one event to people, unless told otherwise."""
    now = timezone.now().replace(microsecond=0)
    fields = {
        "kind": "outage",
        "status": "done",
        "since": now - timedelta(hours=2),
        "until": now,
        "actor": "erin",
        "started_at": now - timedelta(seconds=80),
        "finished_at": now,
        "seconds": 75.2,
        "api_calls": 12,
        "counts": {"listed": 9, "here": 6, "calls": {"listing": 1, "comparing": 11}},
        "report": {
            "missed": 3,
            "missed_as": {"undelivered": 2, "unstored": 1},
            "types": {"invoice.paid": 3},
            "failed": {"count": 1, "events": []},
            "left": {"count": 0, "findings": []},
        },
        **more,
    }
    return Recovery.objects.create(**fields)


def missed_event(recovery: Recovery, number: int, **more: Any) -> MissedEvent:
    """A paid pack whose event failed, unless told otherwise."""
    session = {
        "id": f"cs_{number}", "object": "checkout.session", "customer": CUSTOMER,
        "client_reference_id": USER, "amount_total": 4500, "currency": "usd",
        "payment_status": "paid", "mode": "payment",
    }  # fmt: skip
    fields = {
        "position": number,
        "stripe_event_id": f"evt_missed_{number}",
        "type": "checkout.session.completed",
        "object_id": session["id"],
        "customer_id": CUSTOMER,
        "created_at": recovery.since,
        "body": json.dumps({"data": {"object": session}}),
        "missed_as": "undelivered",
        "rank": 1,
        "status": "failed",
        "said": "Stripe refused: no such price.",
        **more,
    }
    return MissedEvent.objects.create(recovery=recovery, **fields)


def all_of(model: type[Model]) -> QuerySet[Any]:
    """The rows that a model's pages are about."""
    everything = model._default_manager.all()
    if model is AuditEvent:
        return everything.filter(pk__in=AuditLink.objects.values("event_id"))
    return everything


def month(number: int = 0, **more: Any) -> MonthClose:
    """A month that is over and open, so many before October 2025."""
    year, index = divmod(2025 * 12 + 9 - number, 12)
    given = {"month": date(year, index + 1, 1), "timezone": "UTC", **more}
    return MonthClose.objects.create(**given)


def fill(number: int, *, start: int = 0) -> None:
    """So many rows of every table, all of them about Ada."""
    for i in range(start, start + number):
        customer(USER if i == 0 else f"u_{i}", CUSTOMER if i == 0 else f"cus_{i}")
        subscription(f"sub_{i}")
        invoice(f"in_{i}")
        payment(f"ch_{i}")
        purchase(f"cs_{i}", payment_intent_id="pi_1")
        reversal(f"re_{i}", payment_intent_id="pi_1")
        inbox_event(f"evt_{i}")
        event(f"evt_{i}")
        claim(f"lead_{i}")
        price(f"price_{i}")
        record(f"op_{i}")
        rejection(f"reason {i}")
        audit(f"op_{i}")
        bulk_job(f"job_{i}")
        override(f"sub_{i}")
        note(f"Note {i}")
        alert(f"Alert {i}", key=f"{i}")
        incident(f"Incident {i}")
        finding(f"cs_{i}")
        run()
        smoke_test()
        assessment()
        missed_event(recovery(), i)
        month(i)
        backup(i)
        ReasonCode.objects.create(code=f"code_{i}", label=f"Reason {i}")
        grant(USER, 1, f"checkout:cs_{i}")
        grant(f"u_{i}", 1, f"invoice:in_{i}")

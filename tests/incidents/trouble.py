"""An incident in which things go wrong for several customers, told from findings and events."""

import json
from datetime import timedelta
from typing import Any

from django.utils import timezone

from billing.models import Incident, MissedEvent, Recovery
from tests.admin import rows

HOUR = timedelta(hours=1)


def recovery(incident: Incident | None, **more: Any) -> Recovery:
    now = timezone.now()
    fields = {"kind": "outage", "actor": "erin", "since": now - 2 * HOUR, "until": now, **more}
    return Recovery.objects.create(incident=incident, **fields)


def missed(found: Recovery, number: int, type_: str, customer: str, **more: Any) -> MissedEvent:
    """One event that a recovery has listed."""
    body = {"id": f"evt_m{number}", "type": type_, "data": {"object": more.pop("about", {})}}
    fields = {
        "position": number,
        "stripe_event_id": body["id"],
        "type": type_,
        "object_id": f"obj_{number}",
        "customer_id": customer,
        "created_at": timezone.now() - HOUR,
        "body": json.dumps(body),
        "missed_as": "undelivered",
        "rank": 0,
        **more,
    }
    return MissedEvent.objects.create(recovery=found, **fields)


def outage() -> Incident:
    """Of five customers, one has no access, one no credits, one is only known from her event."""
    row = rows.incident()
    for name in ("ada", "bob", "cy"):
        rows.customer(f"u_{name}", f"cus_{name}", email=f"{name}@example.com")
    rows.subscription("sub_cy", user_id="u_cy", stripe_customer_id="cus_cy")
    found = {"first_seen_at": timezone.now() - HOUR, "last_seen_at": timezone.now() - HOUR}
    rows.finding("cs_ada", user_id="u_ada", stripe_customer_id="cus_ada", **found)
    rows.finding(
        "sub_bob", kind="paid_not_active", user_id="u_bob", stripe_customer_id="cus_bob",
        amount=2900, currency="eur", credits=None, **found,
    )  # fmt: skip
    rows.finding(
        "in_cy", kind="invoice_differs", severity="warning", rank=2, user_id="u_cy",
        stripe_customer_id="cus_cy", amount=5, credits=None, **found,
    )  # fmt: skip
    lost = recovery(row)
    missed(lost, 1, "customer.subscription.created", "cus_dee")  # nobody here knows her
    missed(lost, 2, "customer.subscription.updated", "cus_cy")  # whose is active all the time
    missed(lost, 3, "checkout.session.completed", "cus_ada", object_id="cs_ada",
           about={"mode": "payment"})  # fmt: skip
    missed(lost, 4, "invoice.paid", "cus_eve", about={"billing_reason": "manual"})
    missed(lost, 5, "customer.created", "cus_fay", status="done")
    missed(lost, 6, "product.updated", "")
    return row

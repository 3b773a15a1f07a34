"""Invoices that failed to be paid, as rows; and reports asked for them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.models import (
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    InvoicePayment,
    acting_as,
)
from billing.revenue.asked import Asked
from billing.revenue.periods import By
from billing.revenue.report import Report, Row


def at(month: int, day: int, hour: int = 12) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def asked(first: date, last: date, by: By = "month", zone: str = "UTC", **more: Any) -> Asked:
    return Asked(first, last, zone, by=by, **more)


YEAR = asked(date(2026, 1, 1), date(2026, 12, 31))


def invoice(
    name: str, finalized: datetime | None, amount: int = 1000, **more: Any
) -> BillingInvoice:
    """An invoice that was open from then on; paid, voided or written off as `more` says."""
    made = {
        "status": "paid" if "paid_at" in more else "open",
        "currency": "usd",
        "amount_due": amount,
        "amount_remaining": 0 if "paid_at" in more else amount,
        "finalized_at": finalized,
        **({"created_at": finalized} if finalized else {}),
        "stripe_customer_id": "cus_ada",
    }
    with acting_as("test"):
        return BillingInvoice.objects.create(stripe_invoice_id=f"in_{name}", **made | more)


def charge(name: str, when: datetime, status: str = "failed", **more: Any) -> BillingPayment:
    """A charge of the invoice of that name."""
    intent = f"pi_{name}"
    InvoicePayment.objects.get_or_create(payment_intent_id=intent, stripe_invoice_id=f"in_{name}")
    given = {"amount": 1000, "currency": "usd", "decline_reason": "insufficient_funds"} | more
    with acting_as("test"):
        return BillingPayment.objects.create(
            stripe_charge_id=f"ch_{name}_{when:%m%d%H}",
            payment_intent_id=intent,
            status=status,
            created_at=when,
            **given,
        )


def failed(name: str, when: datetime, amount: int = 1000, **more: Any) -> BillingInvoice:
    """An invoice whose first charge failed as soon as it was finalised."""
    reason = more.pop("reason", "insufficient_funds")
    made = invoice(name, when, amount, **more)
    charge(name, when, amount=amount, decline_reason=reason)
    return made


def subscription(name: str, **more: Any) -> BillingSubscription:
    with acting_as("test"):
        return BillingSubscription.objects.create(stripe_subscription_id=f"sub_{name}", **more)


def table(report: Report, given: Asked, name: str = "") -> list[Row]:
    """The rows of a report's table; of its own unless another is named."""
    tables = {table.name: table for table in report.view(given).tables}
    return list(tables[name or report.name].rows)


def behind(report: Report, given: Asked, row: Row, column: str, name: str = "") -> list[str]:
    """The ids of the invoices behind a figure."""
    tables = {table.name: table for table in report.view(given).tables}
    drill = tables[name or report.name].drill
    assert drill is not None
    wanted = drill(row, column)
    assert wanted is not None
    return sorted(one["invoice_id"] for one in report.behind(given, wanted).rows)


DAY = timedelta(days=1)

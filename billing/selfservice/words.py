"""What a customer has, in their words: no ids, no jargon, dates as people write them."""

from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.conf import settings

from billing.diagnosis.checks.subscriptions import decline, failed_payment
from billing.diagnosis.facts import Facts
from billing.formatting import format_money
from billing.models import BillingInvoice, BillingPayment, BillingSubscription

UPDATE_CARD = "Please update your payment method under Manage Billing."
STRIPES = "https://api.stripe.com"


def day(moment: datetime) -> str:
    """A date in UTC: `3 March 2026`."""
    return f"{moment.astimezone(UTC):%-d %B %Y}"


def on(moment: datetime | None) -> str:
    """` on 3 March 2026`; '' where nobody knows."""
    return f" on {day(moment)}" if moment else ""


def status(row: BillingSubscription, facts: Facts) -> str:
    """A subscription's standing, and what to do about it, in one or two sentences."""
    match row.status:
        case "active" | "trialing":
            return _running(row)
        case "past_due":
            return f"Payment failed{_why(row, facts)}. {UPDATE_CARD}"
        case "unpaid":
            return f"On hold: its invoices are not paid{_why(row, facts)}. {UPDATE_CARD}"
        case "incomplete":
            return "Not started yet: the first payment is not complete. Pay the open invoice below."
        case "incomplete_expired":
            return "Never started: the first payment was not completed in time."
        case "paused":
            return f"Paused: the free trial ended without a payment method. {UPDATE_CARD}"
        case "canceled":
            return f"Cancelled{on(row.ended_at or row.canceled_at)}."
    return "We are looking into its state. Please ask us if anything does not work."


def _running(row: BillingSubscription) -> str:
    is_trial = row.status == "trialing"
    ends = row.cancel_at or (row.current_period_end if row.cancel_at_period_end else None)
    standing = "Free trial" if is_trial else "Active"
    if ends or row.cancel_at_period_end:
        return f"{standing}, and cancelled: it ends{on(ends)}."
    if row.collection_paused:
        return f"{standing}. Payments are paused at the moment."
    turns = row.trial_end if is_trial else row.current_period_end
    if turns is None:
        return f"{standing}."
    return f"{standing}, {'the first payment is due' if is_trial else 'renews'}{on(turns)}."


def _why(row: BillingSubscription, facts: Facts) -> str:
    """`: your bank said “insufficient funds”`; '' where no attempt of a payment is known."""
    unpaid = [
        invoice
        for invoice in facts.invoices
        if invoice.stripe_subscription_id == row.stripe_subscription_id
        and invoice.status in ("open", "uncollectible")
    ]
    payment = failed_payment(facts, unpaid[0]) if unpaid else None
    return f": your bank said “{bank_said(payment)}”" if payment else ""


def bank_said(payment: BillingPayment) -> str:
    """The bank's own reason, else Stripe's sentence."""
    return payment.decline_reason.replace("_", " ") or decline(payment)


def invoice_status(row: BillingInvoice) -> str:
    match row.status:
        case "paid":
            return f"Paid{on(row.paid_at)}"
        case "open" if row.attempt_count:
            return "Payment failed"
        case "open":
            return f"Open, due{on(row.due_date)}" if row.due_date else "Open"
        case "void":
            return "Cancelled, nothing to pay"
        case "uncollectible":
            return "Not paid"
    return "In preparation"


def every(interval: str, count: int) -> str:
    """` a month`, ` every 3 months`; '' for what does not recur."""
    if not interval:
        return ""
    return f" a {interval}" if count == 1 else f" every {count} {interval}s"


def price(row: BillingSubscription, interval: str, count: int) -> str:
    """`29.00 USD a month`; '' where the amount is not known, such as by usage."""
    if row.amount is None or not row.currency:
        return ""
    return format_money(row.amount, row.currency) + every(interval, count)


def credits_owed(owed: int) -> str:
    """What is owed, in a sentence; '' where nothing is."""
    if not owed:
        return ""
    return f"{owed:,} credits are still to be made up for: your next purchase covers them first."


def safe_link(url: object) -> str:
    """An address of Stripe's own pages, over TLS, or of the API's stand-in; else ''."""
    if not isinstance(url, str):
        return ""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return ""
    is_stripes = parts.scheme == "https" and (host == "stripe.com" or host.endswith(".stripe.com"))
    if is_stripes and "@" not in parts.netloc:
        return url
    return url if stand_in() and f"{parts.scheme}://{parts.netloc}" == stand_in() else ""


def stand_in() -> str:
    """The origin of what stands in for Stripe; '' where it is Stripe itself."""
    return "" if settings.STRIPE_API_BASE == STRIPES else str(settings.STRIPE_API_BASE)

"""The kinds of findings, by the names that commands, filters and reconciliation use.

The comment behind each names the line of the runbook whose symptom it is (README, Where each
line of the runbook lives now).
"""

from django.db.models import TextChoices


class Kind(TextChoices):
    """A kind of finding and what it is called."""

    PAID_NOT_ACTIVE = "paid_not_active", "Paid, but the subscription is not active"  # W1 F9 P1
    ACTIVE_ONLY_AT_STRIPE = "active_only_at_stripe", "Active at Stripe, cancelled here"  # S1
    ACTIVE_ONLY_HERE = "active_only_here", "Active here, not at Stripe"  # S4
    STATUS_DIFFERS = "status_differs", "Another status at Stripe"  # S4
    PRICE_DIFFERS = "price_differs", "Another price at Stripe"  # W3 S4
    PERIOD_DIFFERS = "period_differs", "Another period at Stripe"  # W3 S4
    CANCELLATION_DIFFERS = "cancellation_differs", "Another cancellation at Stripe"  # W3 S4
    SUBSCRIPTION_DIFFERS = "subscription_differs", "Subscription differs from Stripe"  # W3 S4
    SUBSCRIPTION_UNATTRIBUTED = "subscription_unattributed", "Subscription of no known user"  # S3
    SEVERAL_SUBSCRIPTIONS = "several_subscriptions", "More than one live subscription"
    PAST_DUE = "past_due", "Past due"  # F3
    CANCELLATION_SCHEDULED = "cancellation_scheduled", "Cancellation scheduled"  # P3
    CANCELED_FOR_NONPAYMENT = "canceled_for_nonpayment", "Cancelled after failed payments"  # F1 P3
    CANCELED_BY_CUSTOMER = "canceled_by_customer", "Cancelled by the customer"  # F1 P3
    CANCELED_BY_US = "canceled_by_us", "Cancelled by us"  # F1 P3
    OVERRIDE_IN_FORCE = "override_in_force", "Status set by hand"  # S7
    INVOICE_UNPAID = "invoice_unpaid", "Invoice open or failed"  # F5
    INVOICE_DIFFERS = "invoice_differs", "Invoice differs from Stripe"  # R4
    EVENT_NOT_RECEIVED = "event_not_received", "Event never received"  # W4 W7 R2
    EVENT_FAILED = "event_failed", "Event received and failed"  # W4 W5
    EVENT_WAITING = "event_waiting", "Event waits to be processed"  # W5
    EVENT_SET_ASIDE = "event_set_aside", "Event received and set aside"  # W5
    EVENT_UNKNOWN = "event_unknown", "Event that Stripe does not know"  # R2
    CUSTOMER_DELETED = "customer_deleted", "Customer deleted at Stripe"
    CUSTOMER_UNKNOWN = "customer_unknown", "Customer unknown at Stripe"
    CUSTOMER_DIFFERS = "customer_differs", "Customer differs from Stripe"
    RAW_SQL = "raw_sql", "Changed by raw SQL"
    UNKNOWN_AT_STRIPE = "unknown_at_stripe", "Here, and unknown at Stripe"  # R1 S4
    PAYMENT_DIFFERS = "payment_differs", "Payment differs from Stripe"  # R4
    PAYMENT_UNEXPLAINED = "payment_unexplained", "Paid for nothing that we know of"  # R4
    PACK_NOT_GRANTED = "pack_not_granted", "Pack paid, not granted"  # W2 C1 P2
    NO_CREDITS_THIS_PERIOD = "no_credits_this_period", "Active, no credits this period"  # S2
    PAYMENT_UNATTRIBUTED = "payment_unattributed", "Paid by nobody we know"
    PRICE_UNMAPPED = "price_unmapped", "Paid for a price that grants nothing yet"
    GRANTED_WITHOUT_PAYMENT = "granted_without_payment", "Granted without payment"
    GRANTED_TWICE = "granted_twice", "Granted twice"
    REFUND_NOT_TAKEN_BACK = "refund_not_taken_back", "Refunded, credits not taken back"
    DISPUTE_NOT_TAKEN_BACK = "dispute_not_taken_back", "Disputed, credits not taken back"
    REVERSAL_DIFFERS = "reversal_differs", "Refund or dispute differs from Stripe"  # R4
    CREDITS_OWED = "credits_owed", "Credits owed"
    BALANCE_DIFFERS = "balance_differs", "Balance differs from the ledger"
    BALANCE_NEGATIVE = "balance_negative", "Negative balance"  # C3
    CLAIM_DEBITED = "claim_debited", "Claim failed, credits deducted"  # C2
    CLAIM_REFUSED = "claim_refused", "Claim refused for want of credits"  # F2
    ROW_SET_APART = "row_set_apart", "Adopted row that nobody sees"
    STATUS_UNKNOWN = "status_unknown", "Status that Stripe does not know"
    EVENTS_WITHOUT_ID = "events_without_id", "Events without Stripe's id"
    OPENING_DIFFERS = "opening_differs", "Opening balance that purchases do not explain"


# What explains a customer's standing and is no difference between two books: past due, say.
STATES = frozenset(
    {
        Kind.SEVERAL_SUBSCRIPTIONS,
        Kind.PAST_DUE,
        Kind.CANCELLATION_SCHEDULED,
        Kind.CANCELED_FOR_NONPAYMENT,
        Kind.CANCELED_BY_CUSTOMER,
        Kind.CANCELED_BY_US,
        Kind.INVOICE_UNPAID,
        Kind.CREDITS_OWED,
        Kind.CLAIM_REFUSED,
    }
)
RECONCILED = frozenset(Kind) - STATES
"""What reconciliation keeps as findings: what should be nowhere."""


def label_of(kind: str) -> str:
    """What a kind is called; its own name for one that is no more."""
    return str(Kind(kind).label) if kind in Kind.values else kind.replace("_", " ")

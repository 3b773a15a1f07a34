"""Do the rows that name each other by Stripe's ids have each other? No foreign key says so.

One transaction writes Stripe's object into the mirror, projects it onto our tables, and logs its
event. So a row that lacks its counterpart was lost, or written by somebody else.
"""

from collections.abc import Iterator

from billing.recovery.assessment.books import check_of
from billing.recovery.assessment.outcomes import Question

SYNC = "Fetch it again: manage.py sync_from_stripe --everything, or each by its id."
BY_HAND = "Was it written by raw SQL? Its page says so. Else its mirror was lost: "

REVERSALS = "(SELECT * FROM billing_payment_reversals WHERE kind = '{}')"

# A kind of Stripe's, the mirror's table of it, ours with its key, the model, and whether one
# without the other may have an innocent reason: a customer may be known by a session first, or
# expanded in another object; a subscription may have been recorded by the runbook's SQL.
PAIRS = (
    ("customers", "djstripe_customer", "billing_customers", "stripe_customer_id",
     "billing.BillingCustomer", True, True),
    ("subscriptions", "djstripe_subscription", "billing_subscriptions", "stripe_subscription_id",
     "billing.BillingSubscription", False, True),
    ("invoices", "djstripe_invoice", "billing_invoices", "stripe_invoice_id",
     "billing.BillingInvoice", False, False),
    ("payments", "djstripe_charge", "billing_payments", "stripe_charge_id",
     "billing.BillingPayment", False, False),
    ("refunds", "djstripe_refund", REVERSALS.format("refund"), "stripe_id",
     "billing.PaymentReversal", False, False),
    ("disputes", "djstripe_dispute", REVERSALS.format("dispute"), "stripe_id",
     "billing.PaymentReversal", False, False),
)  # fmt: skip
OWNERS = {
    "billing_customers": "o.user_id",
    "billing_subscriptions": "o.user_id",
    "billing_invoices": "o.user_id",
    "billing_payments": (
        "(SELECT c.user_id FROM billing_customers c"
        " WHERE c.stripe_customer_id = o.stripe_customer_id)"
    ),
}
OF_MIRROR = {
    "djstripe_customer": "(SELECT c.user_id FROM billing_customers c"
    " WHERE c.stripe_customer_id = m.id)",
    "djstripe_refund": "NULL::text",
    "djstripe_dispute": "NULL::text",
}


def mirrored() -> Iterator[Question]:
    """Two questions for each kind: what only the mirror has, and what only our table has."""
    for kind, mirror, ours, key, model, expanded, recorded in PAIRS:
        customer = (
            "(SELECT c.user_id FROM billing_customers c"
            " WHERE c.stripe_customer_id = m.stripe_data->>'customer')"
        )
        yield Question(
            f"{kind} projected",
            f"SELECT m.id, {OF_MIRROR.get(mirror, customer)} FROM {mirror} m"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT FROM {ours} o WHERE o.{key} = m.id)",
            f"All {kind} of the mirror are in our table.",
            f"{kind.capitalize()} of the mirror that are not in our table",
            SYNC,
            clues=expanded,
        )
        yield Question(
            f"{kind} mirrored",
            f"SELECT o.id, {OWNERS.get(ours, 'NULL::text')} FROM {ours} o"  # noqa: S608
            f" WHERE NOT EXISTS (SELECT FROM {mirror} m WHERE m.id = o.{key})",
            f"All {kind} of our table are in the mirror.",
            f"{kind.capitalize()} of our table that are not in the mirror",
            BY_HAND + SYNC,
            model=model,
            clues=recorded,
        )


def without_customer(kind: str, table: str, model: str, *, clues: bool) -> Question:
    """Rows that name a customer who is not here."""
    user = "t.user_id" if table != "billing_payments" else "NULL::text"
    return Question(
        f"{kind} of customers",
        f"SELECT t.id, {user} FROM {table} t WHERE t.stripe_customer_id <> '' AND NOT EXISTS"  # noqa: S608
        " (SELECT FROM billing_customers c WHERE c.stripe_customer_id = t.stripe_customer_id)",
        f"All {kind} have their customer.",
        f"{kind.capitalize()} that name a customer who is not here",
        SYNC,
        model=model,
        clues=clues,
    )


QUESTIONS = (
    without_customer(
        "subscriptions", "billing_subscriptions", "billing.BillingSubscription", clues=False
    ),
    without_customer("invoices", "billing_invoices", "billing.BillingInvoice", clues=False),
    without_customer("payments", "billing_payments", "billing.BillingPayment", clues=True),
    without_customer("purchases", "billing_purchases", "billing.Purchase", clues=True),
    Question(
        "invoices of subscriptions",
        """
        SELECT i.id, i.user_id FROM billing_invoices i
        WHERE i.stripe_subscription_id <> '' AND NOT EXISTS (
            SELECT FROM billing_subscriptions s
            WHERE s.stripe_subscription_id = i.stripe_subscription_id)
        """,
        "All invoices of subscriptions have their subscription.",
        "Invoices that name a subscription that is not here",
        f"Its event may still be on its way. {SYNC}",
        model="billing.BillingInvoice",
        clues=True,
    ),
    Question(
        "events logged",
        """
        SELECT i.id, c.user_id FROM billing_inbox i
        LEFT JOIN billing_customers c
            ON c.stripe_customer_id = i.customer_id AND i.customer_id <> ''
        WHERE i.status IN ('processed', 'ignored') AND NOT EXISTS (
            SELECT FROM billing_events e WHERE e.stripe_event_id = i.stripe_event_id)
        """,
        "Every event that was processed is in the log.",
        "Events that were processed, and are not in the log",
        "The log lost them. Process them again: manage.py replay_events EVT ... writes them anew.",
        model="billing.InboxEvent",
    ),
    *mirrored(),
)
CHECKS = tuple(map(check_of, QUESTIONS))

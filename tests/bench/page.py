"""How long a customer's page takes for somebody with 10,000 events: a part of `bench.search`."""

import statistics
import time
from typing import Any

EVENTS = 10_000  # of one customer, in the log and in the inbox
TARGET = 300  # milliseconds on the server; what Stripe is asked for comes after it
BUSY = 1  # the number of the customer (tests.bench.search, FILL)

FILL = """
INSERT INTO billing_invoices (user_id, stripe_invoice_id, stripe_customer_id,
    stripe_subscription_id, number, status, currency, total, amount_paid, created_at)
SELECT 'u_{busy}', 'in_busy_' || i, 'cus_{busy}', 'sub_{busy}', 'B' || i, 'paid', 'usd', 2900, 2900,
    now() - i * interval '3 days'
FROM generate_series(1, 400) i;
INSERT INTO billing_payments (stripe_charge_id, stripe_customer_id, payment_intent_id, status,
    amount, currency, last4, created_at)
SELECT 'ch_busy_' || i, 'cus_{busy}', 'pi_busy_' || i, 'succeeded', 2900, 'usd', '4242',
    now() - i * interval '3 days'
FROM generate_series(1, 400) i;
INSERT INTO billing_inbox (stripe_event_id, type, object_id, customer_id, body, status,
    stripe_created_at, received_at)
SELECT 'evt_busy_' || i, 'invoice.paid', 'in_busy_' || i % 400 + 1, 'cus_{busy}', '{{}}',
    'processed', now() - i * interval '2 hours', now() - i * interval '2 hours'
FROM generate_series(1, {events}) i;
INSERT INTO billing_events (stripe_event_id, type, payload, created_at)
SELECT 'evt_busy_' || i, 'invoice.paid', jsonb_build_object('id', 'in_busy_' || i % 400 + 1,
    'customer', 'cus_{busy}'), now() - i * interval '2 hours'
FROM generate_series(1, {events}) i;
"""
CLAIMS = 1_000


def fill() -> None:
    """What a customer of many years has: events, invoices, payments, claims and the ledger."""
    from django.db import connection, transaction

    from billing.models import CreditEntry, LeadClaim, acting_as
    from billing.projection.ledger import Entry, post

    user = f"u_{BUSY}"
    with transaction.atomic(), acting_as("marketplace"):
        post([Entry(user, CLAIMS, CreditEntry.Kind.GRANT)])
        LeadClaim.objects.bulk_create(
            LeadClaim(user_id=user, lead_id=f"busy_{number}", credits_spent=1)
            for number in range(CLAIMS)
        )
        post([Entry(user, -1, CreditEntry.Kind.CLAIM) for _ in range(CLAIMS)])
        with connection.cursor() as cursor:
            cursor.execute(FILL.format(busy=BUSY, events=EVENTS))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def measured(tries: int) -> dict[str, dict[str, Any]]:
    """Median and worst milliseconds of the page, and its statements, once it has been opened."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from billing.admin.cells import page_url
    from billing.models import BillingCustomer
    from tests.admin.conftest import log_in_as

    client = log_in_as("support")
    url = page_url(BillingCustomer.objects.get(stripe_customer_id=f"cus_{BUSY}"))
    times = []
    for _ in range(tries + 1):
        started = time.perf_counter()
        assert client.get(url, headers={"host": "localhost"}).status_code == 200
        times.append((time.perf_counter() - started) * 1000)
    with CaptureQueriesContext(connection) as captured:
        client.get(url, headers={"host": "localhost"})
    return {
        f"page, {EVENTS:,} events": {
            "median": statistics.median(times[1:]),
            "worst": max(times[1:]),
            "target": TARGET,
            "statements": len(captured),
        }
    }

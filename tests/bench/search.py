"""`python -m tests.bench.search`: how long searches and a customer's page take, at full size.

It fills a database of its own by SQL, and prints the median and the worst time of each kind of
term, in milliseconds, with its statements that read a large table from end to end; then those
of the page of a customer with 10,000 events. Example:

    python -m tests.bench.search --customers 20000 --events 100000 --json
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import django

from tests.bench import page, pages
from tests.bench.__main__ import database_server
from tests.bench.fresh import fresh_database

TARGET = 200  # milliseconds, for every kind of term
TRIES = 15  # of each kind, each with another row

# Who is found under which number: the same everywhere, so that each kind of term can be made.
FILL = """
SET LOCAL billing.actor = 'bench';
INSERT INTO billing_customers
    (user_id, email, name, stripe_customer_id, created_at)
SELECT 'u_' || i, md5('e' || i) || i || '@example.com',
    initcap(left(md5('f' || i), 7)) || ' ' || initcap(left(md5('l' || i), 9)), 'cus_' || i,
    now() - i * interval '3 minutes'
FROM generate_series(1, {customers}) i;
INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, stripe_customer_id, status,
    price_id, amount, currency, created_at)
SELECT 'u_' || i, 'sub_' || i, 'cus_' || i, CASE WHEN i % 10 < 7 THEN 'active' ELSE 'canceled' END,
    'price_' || i % 50, 2900, 'usd', now() - i * interval '3 minutes'
FROM generate_series(1, {customers}) i;
INSERT INTO billing_invoices (user_id, stripe_invoice_id, stripe_customer_id,
    stripe_subscription_id, number, status, currency, total, amount_paid, created_at)
SELECT 'u_' || i, 'in_' || i, 'cus_' || i, 'sub_' || i, 'N' || i || '-0001', 'paid', 'usd', 2900,
    2900, now() - i * interval '3 minutes'
FROM generate_series(1, {customers}) i;
INSERT INTO billing_payments (stripe_charge_id, stripe_customer_id, payment_intent_id, status,
    amount, currency, last4, created_at)
SELECT 'ch_' || i, 'cus_' || i, 'pi_' || i, 'succeeded', 2900 + i % 977, 'usd',
    CASE WHEN i % 20 = 0 THEN '4242' ELSE lpad((i * 7919 % 10000)::text, 4, '0') END,
    now() - i * interval '3 minutes'
FROM generate_series(1, {customers}) i;
INSERT INTO billing_purchases (source, kind, status, user_id, stripe_customer_id, email,
    payment_intent_id, amount, currency, lines, credits, created_at, updated_at)
SELECT 'cs_' || i, 'pack', 'granted', 'u_' || i, 'cus_' || i, '', 'pi_' || i, 4500, 'usd', '[]', 50,
    now() - i * interval '3 minutes', now()
FROM generate_series(1, {customers}) i;
INSERT INTO billing_payment_reversals (stripe_id, kind, payment_intent_id, charge_id, amount,
    currency, status, active, livemode, created_at, updated_at)
SELECT 're_' || i, 'refund', 'pi_' || i, 'ch_' || i, 450, 'usd', 'succeeded', true, false, now(),
    now()
FROM generate_series(1, {customers}, 10) i;
INSERT INTO lead_claims (user_id, lead_id, claimed_at)
SELECT 'u_' || i, 'lead_' || i, now() - i * interval '3 minutes'
FROM generate_series(1, {customers}) i;
INSERT INTO billing_inbox (stripe_event_id, type, object_id, customer_id, body, status,
    stripe_created_at)
SELECT 'evt_' || i, 'invoice.paid', 'in_' || i % {customers} + 1, 'cus_' || i % {customers} + 1,
    '{{}}', 'processed', now()
FROM generate_series(1, {events}) i;
INSERT INTO billing_events (stripe_event_id, type, payload)
SELECT 'evt_' || i, 'invoice.paid', jsonb_build_object('id', 'in_' || i % {customers} + 1,
    'customer', 'cus_' || i % {customers} + 1)
FROM generate_series(1, {events}) i;
INSERT INTO djstripe_product ({mirrored}, name) VALUES ('prod_1', now(), now(), '{{}}', 'Plan');
INSERT INTO djstripe_price ({mirrored}, active, currency, nickname, product_id)
SELECT 'price_' || i, now(), now(), '{{}}', true, 'usd', '', 'prod_1' FROM generate_series(0, 49) i;
"""
# Copies of Stripe's objects for each customer, once there are 50 prices.
MIRROR = """
INSERT INTO djstripe_customer ({mirrored}, email)
SELECT 'cus_' || i, now(), now(), '{{}}', '' FROM generate_series(1, {customers}) i;
INSERT INTO djstripe_subscription ({mirrored}, customer_id)
SELECT 'sub_' || i, now(), now(), '{{}}', 'cus_' || i FROM generate_series(1, {customers}) i;
INSERT INTO djstripe_subscriptionitem ({mirrored}, price_id, subscription_id)
SELECT 'si_' || i, now(), now(), '{{}}',
    (SELECT djstripe_id FROM djstripe_price WHERE id = 'price_' || i % 50), 'sub_' || i
FROM generate_series(1, {customers}) i;
"""
MIRRORED = "id, djstripe_created, djstripe_updated, stripe_data"


def terms(number: int) -> dict[str, str]:
    """A term of each kind about the customer of a number, who is there. See FILL."""
    from billing.models import BillingCustomer, BillingPayment, LeadClaim

    ada = BillingCustomer.objects.get(stripe_customer_id=f"cus_{number}")
    paid = BillingPayment.objects.get(stripe_charge_id=f"ch_{number}")
    tenth = number - number % 10 + 1
    return {
        "email": ada.email,
        "part of an email": ada.email[4:16],
        "three letters": ada.email[4:7],
        "two letters": ada.email[:2],
        "what all emails have": "example.com",
        "name": ada.name,
        "part of a name": ada.name.lower()[3:11],
        "user": f"u_{number}",
        "cus_": f"cus_{number}",
        "sub_": f"sub_{number}",
        "in_": f"in_{number}",
        "pi_": f"pi_{number}",
        "ch_": f"ch_{number}",
        "re_": f"re_{tenth}",
        "cs_": f"cs_{number}",
        "evt_": f"evt_{number}",
        "price_": f"price_{number % 50}",
        "invoice number": f"n{number}-0001",
        "card and amount": f"{paid.last4} {paid.amount / 100:.2f}",
        "card and date": f"{paid.last4} {paid.created_at:%Y-%m-%d}",
        "a card that many have": f"4242 {paid.amount / 100:.2f}",
        "lead": f"lead_{number}",
        "claim": f"claim:{LeadClaim.objects.get(lead_id=f'lead_{number}').pk}",
        "nobody": f"zz-nobody-{number}",
        "an unknown id": f"cus_nobody{number}",
    }


def fill(customers: int, events: int) -> None:
    """The rows of so many customers, by SQL, with the planner's statistics about them."""
    from django.db import connection, transaction

    with transaction.atomic(), connection.cursor() as cursor:
        sizes = {"customers": customers, "events": events, "mirrored": MIRRORED}
        cursor.execute(FILL.format(**sizes))
        cursor.execute(mirror(customers))
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for part in ("email", "name"):  # as the autovacuum does
            cursor.execute(f"SELECT gin_clean_pending_list('billing_customers_{part}_part')")
        cursor.execute("ANALYZE")


def mirror(customers: int) -> str:
    """The statements that make Stripe's objects of so many customers."""
    return MIRROR.format(customers=customers, mirrored=MIRRORED)


def measured(customers: int, tries: int) -> dict[str, dict[str, Any]]:
    """Median and worst milliseconds of each kind of term, and what it read from end to end."""
    from billing.diagnosis.search import search

    taken: dict[str, list[float]] = {}
    scanned: dict[str, set[str]] = {}
    for number in (1 + i * (customers - 1) // max(tries, 1) for i in range(tries)):
        for kind, term in terms(number).items():
            started = time.perf_counter()
            search(term)
            taken.setdefault(kind, []).append((time.perf_counter() - started) * 1000)
            scanned.setdefault(kind, set()).update(scans(term) if len(taken[kind]) == 1 else ())
    return {
        kind: {
            "median": statistics.median(times),
            "worst": max(times),
            "target": TARGET,
            "scans": sorted(scanned[kind]),
        }
        for kind, times in taken.items()
    }


def scans(term: str) -> set[str]:
    """The large tables that a search for a term reads from end to end."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    from billing.diagnosis.search import search

    with CaptureQueriesContext(connection) as captured:
        search(term)
    return pages.scans(query["sql"] for query in captured)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills, measures, prints; exit code 1 where a median misses the target."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.search", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--tries", type=int, default=TRIES, help="of each kind of term")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with database_server() as address:
        figures = on_a_fresh_database(address, options)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        for kind, each in figures.items():
            read = f"  reads all of {', '.join(each['scans'])}" if each.get("scans") else ""
            sys.stdout.write(f"{kind:24}{each['median']:8.1f}{each['worst']:8.1f} ms{read}\n")
    sys.exit(any(each["median"] > each["target"] for each in figures.values()))


def on_a_fresh_database(address: str, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    with fresh_database(address):
        fill(options.customers, options.events)
        found = measured(options.customers, options.tries)
        page.fill()
        return found | page.measured(options.tries)


if __name__ == "__main__":
    main()

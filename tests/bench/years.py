"""`python -m tests.bench.years`: every page of the admin, with years of data behind it.

It fills a database of its own by SQL: 200,000 customers, 5,000,000 events in the log and in the
inbox, 1,000,000 invoices, 3,000,000 entries of the ledger, and what people and runs leave in three
years. Then it opens the home page, each list (its last page, each choice of each filter, each
order, searches of each kind), the page of a first and a last row of everything, a customer's page
with 10,000 events, the search, and every page of finance, and prints for each the median, the 95th
percentile and the worst time on the server in milliseconds, its statements, the memory that it
took, and the large tables that it reads from end to end. Example:

    python -m tests.bench.years --invoices 20000 --events 100000 --customers 4000 --json
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

import django

from tests.bench import finance
from tests.bench.__main__ import database_server
from tests.bench.books import Sizes
from tests.bench.fresh import fresh_database
from tests.bench.pages import Page, is_missed, opened, show
from tests.bench.search import mirror

TARGET = 300  # milliseconds, the 95th percentile
LARGE = 50_000  # rows, from which on no table may be read from end to end
TRIES = 20
OF_PEOPLE = 1_000  # notes, alerts, incidents, runs and the like, in three years

MORE = """
INSERT INTO billing_inbox (stripe_event_id, type, object_id, customer_id, body, status,
    stripe_created_at, received_at, processed_at, payload_dropped_at)
SELECT stripe_event_id, type, payload ->> 'id', payload ->> 'customer',
    CASE WHEN created_at > now() - interval '90 days' THEN payload::text ELSE '' END,
    CASE WHEN id %% 50000 = 7 THEN 'dead' WHEN id %% 50000 = 8 THEN 'ignored' ELSE 'processed' END,
    created_at, created_at, created_at + interval '1 second',
    CASE WHEN created_at > now() - interval '90 days' THEN NULL ELSE now() END
FROM billing_events;
INSERT INTO billing_operations (key, name, subject, parameters, actor, reason, status, plan, result,
    created_at, finished_at)
SELECT 'op_' || i, CASE i %% 3 WHEN 0 THEN 'grant_credits' WHEN 1 THEN 'sync' ELSE 'replay' END,
    'u_' || 1 + i %% %(customers)s, '{}', (ARRAY['sue', 'rob', 'erin', 'worker'])[1 + i %% 4],
    'The customer called', CASE i %% 100 WHEN 0 THEN 'failed' ELSE 'applied' END, '{}',
    '{"summary": "Done."}', at, at
FROM (
    SELECT i, %(begin)s::timestamptz
        + (now() - %(begin)s::timestamptz) * (i::float8 / %(operations)s) AS at
    FROM generate_series(1, %(operations)s) i
) done;
WITH made AS (
    INSERT INTO billing_events (type, payload, actor, created_at)
    SELECT 'manual.credit_adjustment', jsonb_build_object('user_id', subject, 'operation', key,
        'summary', 'Granted 5 credits.'), actor, created_at
    FROM billing_operations ORDER BY id RETURNING id
)
INSERT INTO billing_audit_chain (position, event_id, hash)
SELECT row_number() OVER (ORDER BY id), id, md5(id::text) FROM made;
INSERT INTO billing_webhook_rejections (hour, reason, count)
SELECT hour, 'wrong signature', 3
FROM generate_series(date_trunc('hour', %(begin)s::timestamptz), now(), interval '1 hour') hour;
INSERT INTO billing_findings (kind, subject, severity, rank, verdict, evidence, fix, amount,
    currency, user_id, stripe_customer_id, state, first_seen_at, last_seen_at, resolved_at)
SELECT 'pack_not_granted', 'cs_' || i, 'access', 0, 'They paid, and got none.', '[]', NULL, 4500,
    'usd', 'u_' || 1 + i %% %(customers)s, 'cus_' || 1 + i %% %(customers)s,
    CASE WHEN i %% 100 = 0 THEN 'open' ELSE 'resolved' END, now() - i * interval '15 minutes',
    now() - i * interval '14 minutes', CASE WHEN i %% 100 = 0 THEN NULL ELSE now() END
FROM generate_series(1, %(operations)s) i;
INSERT INTO billing_payment_reversals (stripe_id, kind, payment_intent_id, charge_id, amount,
    currency, status, active, livemode, created_at, updated_at)
SELECT source_id, 'refund', '', charge_id, -amount, 'usd', 'succeeded', true, false, created_at,
    created_at
FROM billing_balance_transactions WHERE category = 'refund'
"""


def fill(sizes: Sizes, of_people: int) -> None:
    """The books, what came by webhook, what people and runs left, and a customer of many years."""
    from django.db import connection

    from tests.bench import books, page

    books.fill(sizes)
    given = vars(sizes) | {"begin": books.begin(), "operations": sizes.customers // 2}
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        with books.indexed_afterwards(cursor, ["billing_inbox"]):
            for statement in MORE.split(";\n"):
                cursor.execute(statement, given)
        cursor.execute(mirror(sizes.customers))
        cursor.execute("SET session_replication_role = DEFAULT")
    page.fill()
    leave(of_people)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.in_atomic_block else "VACUUM ANALYZE")


def leave(number: int) -> None:
    """So many of each thing that people make, and of each kind of run."""
    from django.utils import timezone

    from billing.models import ReasonCode
    from tests.admin import rows

    for i in range(number):
        rows.bulk_job(f"job_{i}")
        rows.override(f"sub_{i}", ended_at=None if i % 50 == 0 else timezone.now())
        rows.note(f"Note {i}", stripe_customer_id=f"cus_{i}", user_id=f"u_{i}")
        rows.alert(f"Alert {i}", key=f"{i}")
        rows.incident(f"Incident {i}")
        rows.run()
        rows.smoke_test()
        rows.assessment()
        rows.missed_event(rows.recovery(), i)
        rows.backup(i)
        if i < 50:
            rows.price(f"price_{i}")
            ReasonCode.objects.get_or_create(code=f"code_{i}", defaults={"label": f"Reason {i}"})


def pages(user: Any) -> Iterator[Page]:
    """Every page but finance's, in the state in which people open it."""
    from django.contrib import admin
    from django.urls import reverse

    yield "home", reverse("admin:index"), TARGET
    for model, shown in admin.site._registry.items():
        if model._meta.app_label == "billing":
            yield from lists(user, model, shown)
            yield from rows(model)
    yield from people_and_searches()


def people_and_searches() -> Iterator[Page]:
    """A customer's page and timeline, with many events and with few, and the search."""
    from django.urls import reverse

    from billing.models import BillingCustomer

    for words, customer in (("10,000 events", "cus_1"), ("25 events", "cus_77")):
        row = BillingCustomer.objects.get(stripe_customer_id=customer)
        address = reverse("admin:billing_billingcustomer_change", args=[row.pk])
        yield f"customer with {words}", address, TARGET
        address = reverse("admin:billing_timeline", args=[row.pk])
        yield f"timeline of {words}", address, TARGET
    for term in terms():
        address = f"{reverse('admin:billing_search')}?{urlencode({'q': term})}"
        yield f"search for {term}", address, TARGET


def of_finance() -> Iterator[Page]:
    """Finance's pages, which are to be as quick as all others."""
    for name, address, _ in (*finance.pages(), *finance.behind_each()):
        yield name, address, TARGET


def lists(user: Any, model: Any, shown: Any) -> Iterator[Page]:
    """A list as it opens, its last page, each filter's choices, each order, and searches."""
    from django.test import RequestFactory
    from django.urls import resolve

    from billing.admin.cells import changelist_url

    address, name = changelist_url(model), str(model._meta.verbose_name_plural)
    request = RequestFactory().get(address)
    request.user, request.resolver_match = user, resolve(address)
    found = shown.get_changelist_instance(request)
    yield name, address, TARGET
    if found.paginator.num_pages > 1:
        yield f"{name}, last page", f"{address}?p={found.paginator.num_pages}", TARGET
    for spec in found.filter_specs:
        for choice in spec.choices(found):
            asked = choice.get("query_string", "?")
            if asked != "?":
                yield f"{name}, {spec.title}: {choice['display']}", address + asked, TARGET
    for number, column in enumerate(found.list_display, start=-1):
        if column in (shown.sortable_by or ()):
            for order in (f"{number + 1}", f"-{number + 1}"):
                yield f"{name}, by {column} {order}", f"{address}?o={order}", TARGET
    if shown.search_fields:
        for term in terms():
            yield f"{name}, “{term}”", f"{address}?{urlencode({'q': term})}", TARGET


def rows(model: Any) -> Iterator[Page]:
    """The pages of its first and last row."""
    from billing.admin.cells import page_url
    from tests.admin.rows import all_of

    found = all_of(model).order_by("pk")
    for words, row in (("first", found.first()), ("last", found.last())):
        if row is not None:
            yield f"{model._meta.verbose_name}, the {words} one", page_url(row), TARGET


def terms() -> list[str]:
    """What people look for: ids, users, emails, parts of them, a card, and nobody."""
    return ["u_777", "cus_777", "sub_777", "in_777", "pi_777", "ch_777", "evt_000000777",
            "e777@example.com", "e77", "example.com", "Name 777", "op_777", "N777", "4242",
            "zz-nobody"]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills, measures, prints; exit code 1 where a page misses its target."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.years", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sizes = Sizes()
    parser.add_argument("--invoices", type=int, default=sizes.invoices)
    parser.add_argument("--events", type=int, default=sizes.events)
    parser.add_argument("--customers", type=int, default=sizes.customers)
    parser.add_argument("--of-people", type=int, default=OF_PEOPLE, help="notes, alerts, runs ...")
    parser.add_argument("--tries", type=int, default=TRIES, help="of each page")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with database_server() as address:
        figures = on_a_fresh_database(address, options)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        sys.stdout.write(f"Filled in {figures['filled_in_seconds']:.0f} s: {figures['size']}.\n\n")
        show(figures["pages"], "p95")
    sys.exit(any(is_missed(each, "p95") or each["scans"] for each in figures["pages"].values()))


def on_a_fresh_database(address: str, options: argparse.Namespace) -> dict[str, Any]:
    from django.contrib.auth.models import User

    from tests.admin.conftest import log_in_as

    with fresh_database(address):
        started = time.perf_counter()
        fill(Sizes(options.invoices, options.events, options.customers), options.of_people)
        filled = time.perf_counter() - started
        client = log_in_as("superuser")
        user = User.objects.get(username="superuser")
        return {
            "filled_in_seconds": filled,
            "size": size_of_the_database(),
            "pages": opened(client, pages(user), options.tries, LARGE)
            | opened(client, of_finance(), options.tries, LARGE),
        }


def size_of_the_database() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        return str(cursor.fetchone()[0])


if __name__ == "__main__":
    main()

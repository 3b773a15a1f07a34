"""The lists of the admin, in small: whatever one is narrowed to, an index leads there.

Where PostgreSQL is told not to read tables from end to end, it still does where it has no index,
or reads a whole index and leaves most of it out: on a large table that is what takes seconds.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import resolve

from billing.admin import base
from billing.models import BillingCustomer
from tests.admin.conftest import log_in_as
from tests.bench import pages, years
from tests.bench.books import Sizes
from tests.bench.fresh import fresh_database
from tests.support.databases import Databases

SMALL = Sizes(invoices=3_000, events=6_000, customers=600)
CHOICES = 6  # of a filter: most kinds differ in a word only
# Who is there in this world, too, and one who is not.
TERMS = ["u_77", "cus_77", "in_77", "evt_000000077", "e77@example.com", "op_77", "zz-nobody"]
COUNTED = 60  # rows, instead of 10,000; more than a page has
LARGE = 250  # rows, instead of 50,000
MAY_BE_READ = {
    # A row or a few for each day: a page of months has all of them, and what was before a period
    # is the sum of all days until then.
    *("billing_bridge_days", "billing_balance_days", "billing_mrr_days", "billing_payouts"),
    # Of who got entries since the last refresh: here, everybody.
    "billing_credit_positions",
    # A row for each user who spent: who spent most is found among those who did in these months,
    # by the index of when they spent last. Here, everybody has.
    "billing_credit_spenders",
}


@pytest.fixture
def world(databases: Databases, django_db_blocker: Any) -> Iterator[None]:
    """Three years in a database of their own: what a transaction has changed, its own indexes may
    not lead to."""
    before = dict(connection.settings_dict)
    with django_db_blocker.unblock():
        with fresh_database(databases.address):
            years.fill(SMALL, of_people=2)
            yield
        connection.settings_dict.update(before)
        connections.settings["default"].update(before)


def addresses(user: User, model: Any, shown: Any) -> list[str]:
    """A list as it opens, narrowed by each filter and each kind of term, in each order."""
    by_title: dict[str, int] = {}
    found = []
    for name, address, _ in years.lists(user, model, shown):
        title = name.split(": ")[0]
        by_title[title] = by_title.get(title, 0) + 1
        if by_title[title] <= CHOICES:
            found.append(address)
    return found


def test_lists_and_pages_are_found_through_indexes(
    world: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "MOST_COUNTED", COUNTED)
    monkeypatch.setattr(years, "terms", lambda: TERMS)
    client = log_in_as("superuser")
    user = User.objects.get(username="superuser")
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    read = {address: what for address, what in narrowed(user) if what}
    for name, address, _ in (*years.people_and_searches(), *years.of_finance()):
        if "10,000" in name:  # most of what there is, in small
            continue
        asked = pages.asked_of_the_database(client, address, LARGE)
        if scans := {*asked["scans"]} - MAY_BE_READ:
            read[address] = scans
    assert read == {}, "\n".join(f"{where}: {sorted(what)}" for where, what in read.items())


def narrowed(user: User) -> Iterator[tuple[str, set[str]]]:
    """The addresses of all lists, and the tables that each reads."""
    for model, shown in admin.site._registry.items():
        if model._meta.app_label != BillingCustomer._meta.app_label:
            continue
        for address in addresses(user, model, shown):
            request = RequestFactory().get(address)
            request.user, request.resolver_match = user, resolve(address.split("?")[0])
            with CaptureQueriesContext(connection) as captured:
                list(shown.get_changelist_instance(request).result_list)
            statements = (query["sql"] for query in captured)
            yield address, pages.scans(statements, LARGE) - MAY_BE_READ

"""Customers by a part of what they are known by: through its index, however it is estimated."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.diagnosis import narrowing
from billing.models import BillingCustomer
from tests.admin import rows
from tests.support.plans import plan

pytestmark = pytest.mark.django_db


def plan_of(term: str) -> str:
    """How people are looked up where PostgreSQL would rather not sort."""
    with CaptureQueriesContext(connection) as asked:
        narrowing.people(term)
    return "\n".join(plan(asked[0]["sql"], "seqscan", "sort", "incremental_sort"))


def test_people_are_found_by_what_they_match_and_not_from_the_newest_on() -> None:
    """A quarter of all ANALYZE runs on 200,000 customers led to the latter."""
    assert "billing_customers_created" not in plan_of("e77")
    assert "billing_customers_created" in plan_of("e7")  # so many begin so that the newest do


def test_a_list_of_the_few_who_match_is_not_looked_for_from_the_newest_on() -> None:
    """All who match may be old, which no statistics tell: 122,000 of 200,000 were gone through."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_customers (stripe_customer_id, email, created_at, updated_at)"
            " SELECT 'cus_' || i, CASE WHEN i > 4000 THEN 'e77' ELSE 'amy' END || i || '@e.com',"
            " now() - i * interval '1 minute', now() FROM generate_series(1, 5000) i"
        )
        cursor.execute("ANALYZE billing_customers")
    newest_first = BillingCustomer.objects.order_by("-created_at", "-id")
    page = narrowing.find_customers(newest_first, "e77")[:50]
    assert [each.stripe_customer_id for each in page] == [f"cus_{i}" for i in range(4001, 4051)]
    with CaptureQueriesContext(connection) as asked:
        list(page.all())
    assert "billing_customers_created" not in "\n".join(plan(asked[0]["sql"]))


def test_the_newest_stand_for_all_whom_a_beginning_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        rows.customer(f"u_{i}", f"cus_{i}", email=f"joe{i}@example.com")
    monkeypatch.setattr(narrowing, "MOST_PEOPLE", 2)
    for term in ("JO", "joe", "joe3@example.com"):
        found = narrowing.people(term)
        assert found.customers == ({"cus_3"} if "@" in term else {"cus_2", "cus_3"})
    assert narrowing.people("u_1").customers == narrowing.people("cus_1").customers == {"cus_1"}


@pytest.mark.parametrize("few", [1, 100])
def test_a_part_finds_all_who_have_it_few_or_many(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the search shows: those whom it leaves out stand in the list all the same."""
    monkeypatch.setattr(narrowing, "FEW", few)
    for i in range(30):
        rows.customer(f"u_{i}", f"cus_{i}", email=f"a{i}@example.com", name=f"Joe {i}")
    rows.customer("u_ada", "cus_ada", email="ada@example.org", name="Ada")
    everybody = BillingCustomer.objects.all()
    assert narrowing.find_customers(everybody, "example.com").count() == 30
    assert narrowing.find_customers(everybody, "joe").count() == 30
    assert narrowing.find_customers(everybody, "example.org").get().user_id == "u_ada"

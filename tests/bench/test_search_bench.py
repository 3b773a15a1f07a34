"""The benchmark of searches and a page in small: no table read as a whole, few statements."""

import pytest

from billing.diagnosis.search import search
from tests.bench import page
from tests.bench.search import fill, scans, terms

CUSTOMERS = 20_000
FINDS_MANY = {"three letters", "two letters", "what all emails have", "price_"}
FINDS_NOBODY = {"nobody", "an unknown id"}
# Most rows match it: reading the first ones as they come is the quickest.
MAY_SCAN = {"what all emails have", "two letters", "three letters"}


@pytest.mark.django_db
def test_every_kind_of_term_is_found_through_indexes() -> None:
    fill(CUSTOMERS, CUSTOMERS)
    for kind, term in terms(4320).items():
        found = search(term)
        if kind in FINDS_NOBODY:
            assert found.is_empty, kind
        elif kind not in FINDS_MANY and kind not in ("re_", "evt_", "claim"):
            assert "cus_4320" in [i for hit in found.hits for i in hit.person.customer_ids], kind
        else:
            assert found.hits, kind
        if kind not in MAY_SCAN:
            assert scans(term) == set(), kind


@pytest.mark.django_db
def test_the_page_of_a_customer_with_many_events_takes_few_statements() -> None:
    fill(customers=10, events=10)
    page.fill()
    [figures] = page.measured(tries=1).values()
    assert figures["statements"] <= 30

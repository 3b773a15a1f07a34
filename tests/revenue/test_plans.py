"""No page of finance reads a large table from end to end for a month; none takes many statements.

The books are those of the benchmark (tests.bench.finance), in small: three years of them.
"""

import pytest

from tests.admin.conftest import log_in_as
from tests.bench import finance, pages
from tests.bench.books import LARGE, Sizes, fill


@pytest.mark.django_db
def test_a_month_is_found_through_indexes_in_few_statements() -> None:
    fill(Sizes(invoices=12_000, events=6_000, customers=1_200))
    client = log_in_as("finance")
    for name, address, _ in finance.pages():
        if "a year" in name:
            continue
        asked = pages.asked_of_the_database(client, address)
        assert asked["statements"] <= pages.MOST_STATEMENTS, name
        assert {*LARGE}.isdisjoint(asked["scans"]), (name, asked["scans"])

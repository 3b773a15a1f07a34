"""Addresses of our own pages are what Django's own look-up gives, though looked up once."""

from collections.abc import Iterator

import pytest
from django.contrib.admin.utils import quote
from django.urls import get_script_prefix, reverse, set_script_prefix

from billing.addresses import address
from billing.admin.cells import open_url, page_url
from billing.models import BillingCustomer, LeadCredits
from tests.admin.rows import HOSTILE


@pytest.fixture
def below() -> Iterator[str]:
    """A prefix below which the site is served, as a proxy may have it."""
    before, prefix = get_script_prefix(), "/office/"
    set_script_prefix(prefix)
    yield prefix
    set_script_prefix(before)


@pytest.mark.parametrize(
    "key", ["u_1", HOSTILE, "a/b?c=d&e#f", "ü %41 ~@:!$'()*+,;=", "A-ROW", "{}", "_5F", "\u2028"]
)
def test_a_rows_page_is_found_whatever_its_key(key: str) -> None:
    own = reverse("admin:billing_leadcredits_change", args=[quote(key)])
    assert page_url(LeadCredits(user_id=key)) == own


def test_a_row_with_a_number() -> None:
    assert page_url(BillingCustomer(pk=7)) == reverse(
        "admin:billing_billingcustomer_change", args=[7]
    )


def test_what_was_looked_up_at_one_prefix_is_not_given_at_another(below: str) -> None:
    set_script_prefix("/")
    at_the_root = address("admin:index"), open_url(id="cus_1"), page_url(BillingCustomer(pk=7))
    set_script_prefix(below)
    moved = address("admin:index"), open_url(id="cus_1"), page_url(BillingCustomer(pk=7))
    assert moved == tuple(f"/office{path}" for path in at_the_root)

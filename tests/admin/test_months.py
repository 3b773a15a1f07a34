"""The pages of months: what is done, what was signed, and what came since."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from billing.admin.cells import changelist_url, page_url
from billing.models import MonthClose
from billing.permissions import FINANCES
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.admin.test_operations import apply, text_of
from tests.operations.test_closing import closed, reconcile, trade
from tests.revenue.moving import NOVEMBER, refunded, sold

pytestmark = pytest.mark.django_db


def test_two_people_close_a_month_on_its_page(log_in: LogIn) -> None:
    trade()
    reconcile()
    finance, row = log_in("finance"), rows.month()
    text = text_of(finance.get(page_url(row)))
    for said in (
        "Every day is reconciled done All days are.",
        "USD 160.00 0.00 0.00 5.00 0.00 155.00",
        "As they are now.",
        "Review and close: Nobody has signed 2025-10 yet.",
        "Open month again: 2025-10 is open already.",
    ):
        assert said in text, said
    apply(finance, "sign-month", target="2025-10", reason="Agrees with the bank")
    row.refresh_from_db()
    assert row.signed_by == "finance"
    apply(log_in("superuser"), "review-month", target="2025-10", reason="Checked")
    text = text_of(finance.get(page_url(row)))
    for said in ("by superuser,", "As they were signed.", "2 entries, SHA-256", "is closed, by"):
        assert said in text, said
    assert "Came since" not in text


def test_who_may_only_read_has_no_button_and_takes_no_file(client: Client) -> None:
    row = closed()
    reader = User.objects.create(username="reader", is_staff=True)
    names = [name.removeprefix("billing.") for name in FINANCES]
    reader.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(reader, backend="django.contrib.auth.backends.ModelBackend")
    month = client.get(page_url(row)).content.decode()
    assert "155.00" in month
    report = client.get("/admin/finance/revenue/?from=2025-10-01&to=2025-10-31").content.decode()
    assert "155.00" in report
    for page in (month, report):
        for button in ("Sign month", "Open month again", "Check against Stripe", "file.csv"):
            assert button not in page


def test_what_came_since_a_month_was_closed_stands_above_its_page(log_in: LogIn) -> None:
    row = closed()
    refunded("r", 4000, of="a", at=NOVEMBER)
    sold("late", 700)
    text = text_of(log_in("engineer").get(page_url(row)))
    for said in (
        "It is closed. Since then: 1 that would change it, 1 that concern its charges.",
        "txn_late 0 2025-10-10 12:00:00 UTC gross USD",
        "booked in 2025-11, concerns 2025-10",
    ):
        assert said in text, said
    assert "Sign month:" not in text
    assert "Check against Stripe" in text


def test_the_list_says_what_is_left_in_as_many_queries_as_ever(log_in: LogIn) -> None:
    trade()
    reconcile()
    finance = log_in("finance")
    rows.month()
    address = changelist_url(MonthClose)
    few = count_queries(lambda: finance.get(address))
    for number in range(1, 9):
        rows.month(number)
    assert count_queries(lambda: finance.get(address)) == few
    text = text_of(finance.get(address))
    assert "2025-10 Open none" in text
    assert "2025-09 Open 30 days not read" in text


def test_a_check_under_way_says_how_far_it_is(log_in: LogIn) -> None:
    page = log_in("finance").get(page_url(rows.month(stage="day 8 of 31"))).content.decode()
    assert "It is being read from Stripe: day 8 of 31" in page
    assert 'id="progress" data-running="yes"' in page

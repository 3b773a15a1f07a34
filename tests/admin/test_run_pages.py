"""The pages of reconciliation runs: what was compared, what differs, and the signature."""

from html import unescape

import pytest
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.admin.cells import changelist_url, page_url
from billing.admin.operations import PAGES
from billing.models import ReconciliationRun
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.test_operations import apply, hidden, text_of

pytestmark = pytest.mark.django_db

USER = {"user_id": "u_ada", "claims": 40, "credits": 1200, "mean": 105.25, "periods": 8}
SUMS = {
    "invoices": 123456,
    "credit_notes": 0,
    "out_of_band": -3456,
    "charges": 120000,
    "remainder": 0,
}
WEEKLY = {
    "usage": {
        "totals": {"users": 7, "claims": 90, "credits": 1500},
        "top": [USER],
        "outliers": [{**USER, "direction": "more"}],
        "outliers_found": 1,
    },
    "revenue": {
        "timezone": "Europe/Berlin",
        "collected": [
            {"date": "2026-03-01", "currency": "eur", **SUMS},
            {"date": "2026-03-01", "currency": "jpy", "charges": 1500, "remainder": 20},
        ],
        "totals": {"collected": {"eur": SUMS}},
        "exchanges": [
            {"date": "2026-03-01", "from": "jpy", "amount": 1500, "to": "eur", "settled": 950,
             "rates": ["0.0063", "0.0064"]},
        ],
        "causes": [
            {"id": "ch_1", "date": "2026-03-01", "currency": "jpy", "amount": 20, "why": "Lost"},
        ],
        "categories": [{"category": "charge", "currency": "usd", "amount": 5800, "count": 2}],
        "explained": False,
    },
}  # fmt: skip


def test_a_run_shows_both_sides_and_what_differs(support: Client) -> None:
    row = rows.run(kind="weekly", report=WEEKLY, in_flight=3)
    page = support.get(page_url(row))
    text = text_of(page)
    for said in (
        "Invoice 3 2 1 0 0 87.00 USD 58.00 USD",
        "Event 9 8 1 0 0",
        "Pack paid, not granted 1",
        "45.00 USD, 50 credits",
        "Objects of all kinds 12 11 91.67 %",
        "Payments in USD 87.00 USD 58.00 USD 66.67 %",
        "Events – – 1.5 s – 2:00:00 –",
        "2026-03-01 10:00 9 8 differs",
        "3 objects, about which an event was still on its way",
        "0:01:15",
        "u_ada 40 1,200 105.2 8",
        "u_ada more 40 1,200 105.2 8",
        "Date Currency Invoices Out of band Charges Not explained",  # without what is 0 throughout
        "2026-03-01 eur 1,234.56 EUR -34.56 EUR 1,200.00 EUR 0.00 EUR",
        "2026-03-01 jpy – – 1,500 JPY 20 JPY",
        "Revenue: from what was paid here to what Stripe charged, all days",
        "Days are those of Europe/Berlin. Its items explain all of it.",
        "2026-03-01 jpy 1,500 JPY eur 9.50 EUR 0.0063 to 0.0064",
        "usd 58.00 USD 2 charge",
        "ch_1 2026-03-01 jpy 20 JPY Lost",
        "Days are those of Europe/Berlin.",
    ):
        assert said in text, said
    listed = text_of(support.get(changelist_url(ReconciliationRun)))
    assert "Weekly" in listed
    assert "45.00 USD, 50 credits" in listed


def test_the_whole_is_said_only_where_it_is_the_whole(support: Client) -> None:
    row = rows.run(
        differences={},
        measures={
            "completeness": {"count": {"stripe": 30_000, "here": 29_999, "share": 0.99997}},
            "clearing": {
                "count": {"all": 9, "invoice": 8, "nothing": 1, "share": 8 / 9},
                "money": {"usd": {"all": 9900, "nothing": 100, "share": 0.5}},
                "unexplained": ["ch_1"],
            },
            "timeliness": {
                "events": 30,
                "median": 2,
                "p95": 5.5,
                "worst": {"seconds": 90.0, "event": "evt_1", "type": "charge.succeeded"},
                "money": {"usd": {"payments": 3, "amount": 4500, "half": 1.5, "p95": 8}},
                "waiting": {"events": 1},
            },
        },
    )
    text = text_of(support.get(page_url(row)))
    for said in (
        "Objects of all kinds 30,000 29,999 99.99 %",
        "Payments 9 8 0 0 0 1 88.89 %",
        "Payments in USD 99.00 USD 0.00 USD 0.00 USD 0.00 USD 0.00 USD 1.00 USD 50.00 %",
        "Explained by nothing yet: ch_1.",
        "Events 30 – 2.0 s 5.5 s 0:01:30 charge.succeeded evt_1",
        "Payments in USD 3 45.00 USD 1.5 s 8.0 s – –",
        "1 more event waits in the inbox, pending, failed or dead.",
    ):
        assert said in text, said
    assert "None: our books equal Stripe's." in text


def test_a_run_under_way_says_how_far_it_is(log_in: LogIn) -> None:
    finance = log_in("finance")
    row = rows.run(status="running", finished_at=None, stage="reading: Parts: 12 of 30.", counts={})
    page = finance.get(page_url(row)).content.decode()
    assert ": it reads Stripe's lists. Parts: 12 of 30." in unescape(page)
    assert "billing/progress" in page
    assert 'id="progress" data-running="yes"' in page
    assert "Sign off: It is still running." in unescape(page)
    done = finance.get(page_url(rows.run())).content.decode()
    assert "billing/progress" not in done


def test_finance_starts_a_run_and_signs_it_off(log_in: LogIn) -> None:
    finance, row = log_in("finance"), rows.run()
    address = PAGES["start-reconciliation"].url(
        {"target": "daily", "back": changelist_url(ReconciliationRun)}
    )
    listed = unescape(finance.get(changelist_url(ReconciliationRun)).content.decode())
    assert "Start full run" in listed
    assert address in listed
    shown = finance.get(address)
    assert "Start a daily reconciliation" in text_of(shown)
    assert "Started by hand" in shown.content.decode()
    apply(finance, "start-reconciliation", target="daily", key=hidden(shown, "key")[0])
    assert ProcrastinateJob.objects.get(task_name="billing.reconcile").args["actor"] == "finance"

    apply(finance, "sign-off-run", target=str(row.pk), reason="Agrees with the bank")
    page = text_of(finance.get(page_url(row)))
    assert "by finance," in page
    assert "Agrees with the bank" in page
    assert "Sign off: finance has signed it off already: Agrees with the bank" in page
    engineers = text_of(log_in("engineer").get(page_url(rows.run())))
    assert "Sign off" not in engineers
    assert "Start daily run" in engineers

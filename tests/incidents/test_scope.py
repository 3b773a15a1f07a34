"""Whom an incident touches: from findings and from events, the gravest first."""

import pytest
from django.utils import timezone

from billing.incidents import scope
from billing.models import FindingRecord, InboxEvent, MissedEvent
from tests.admin import rows
from tests.admin.conftest import count_queries
from tests.incidents.trouble import HOUR, missed, outage, recovery

pytestmark = pytest.mark.django_db


def test_customers_are_ranked_by_what_they_lack() -> None:
    row = outage()
    found = scope.touched(row)
    assert [(t.id, t.email, t.no_access, t.purchases, t.ungranted) for t in found] == [
        ("u_bob", "bob@example.com", True, 0, 0),
        ("cus_dee", "", True, 0, 0),
        ("u_ada", "ada@example.com", False, 1, 50),  # the event and the finding are of one pack
        ("u_cy", "cy@example.com", False, 0, 0),
        ("cus_eve", "", False, 0, 0),
    ]
    by_id = {each.id: each for each in found}
    assert by_id["u_ada"].amounts == {"usd": 4500}
    assert by_id["u_bob"].amounts == {"eur": 2900}
    assert (by_id["u_cy"].findings, by_id["u_cy"].events) == (1, 1)
    assert list(scope.all_touched(row)) == found


def test_each_currency_is_summed_by_itself() -> None:
    whole = scope.scope(outage())
    assert (whole.customers, whole.access, whole.purchases, whole.ungranted) == (5, 2, 1, 50)
    assert whole.amounts == {"eur": 2900, "usd": 4505}
    assert whole.missed == {"waiting": 5, "done": 1}


def test_what_is_mended_counts_at_the_worst_only() -> None:
    row = outage()
    MissedEvent.objects.update(status="done")
    FindingRecord.objects.update(state="resolved")
    rows.purchase("cs_ada")
    rows.subscription("sub_dee", user_id=None, stripe_customer_id="cus_dee")
    now, worst = scope.scope(row), scope.scope(row, ever=True)
    assert (now.customers, now.access, now.purchases, now.findings) == (0, 0, 0, 0)
    assert (worst.customers, worst.access, worst.purchases, worst.findings) == (6, 2, 1, 3)
    assert worst.amounts == {"eur": 2900, "usd": 4505}
    assert scope.touched(row) == []


def test_an_event_that_waits_here_and_was_listed_counts_once() -> None:
    row = rows.incident()
    rows.inbox_event("evt_m1", type="invoice.paid", object_id="obj_1", customer_id="cus_dee")
    missed(recovery(row), 1, "invoice.paid", "cus_dee", status="failed")
    [touched] = scope.touched(row)
    assert touched.events == 1


def test_what_one_recovery_brought_back_is_missing_no_more_in_another() -> None:
    row = rows.incident()
    for status in ("failed", "done"):
        missed(recovery(row), 1, "invoice.paid", "cus_dee", status=status)
    missed(recovery(row), 2, "invoice.paid", "cus_eve", status="failed")
    missed(recovery(row), 2, "invoice.paid", "cus_eve")
    assert scope.scope(row).missed == {"done": 1, "failed": 1, "waiting": 1}
    assert [touched.id for touched in scope.touched(row)] == ["cus_eve"]


def test_what_the_body_of_an_event_says_need_not_be_json() -> None:
    row = rows.incident()
    rows.inbox_event(body='{"mode" : "payment", "nothing": \\u0000', received_at=timezone.now())
    [touched] = scope.touched(row)
    assert (touched.purchases, touched.events) == (1, 1)


def test_events_of_other_times_and_other_incidents_do_not_count() -> None:
    row, other = rows.incident(), rows.incident("Another")
    missed(recovery(other), 1, "customer.subscription.created", "cus_dee")
    missed(recovery(None), 2, "customer.subscription.created", "cus_dee")
    rows.inbox_event(received_at=timezone.now() - 3 * HOUR)
    rows.inbox_event("evt_done", status=InboxEvent.Status.PROCESSED)
    assert scope.touched(row) == []
    assert scope.scope(row).customers == 0


def test_it_costs_the_same_however_many_are_touched() -> None:
    row = outage()

    def look() -> None:
        scope.scope(row)
        scope.touched(row, scope.SHOWN)

    few = count_queries(look)
    lost = recovery(row)
    for number in range(10, 90):
        missed(lost, number, "customer.subscription.created", f"cus_{number}")
    assert count_queries(look) == few == 4
    assert len(scope.touched(row, scope.SHOWN)) == scope.SHOWN
    assert scope.scope(row).access == 82

"""The pages of outages: step by step through one, and what each recovery came to."""

import re

import pytest
from django.test import Client
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from billing.admin.cells import changelist_url, page_url
from billing.admin.operations import START_RECOVERY
from billing.models import Recovery
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries, log_in, support
from tests.admin.test_operations import apply, hidden, text_of
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
__all__ = ["log_in", "support"]
STEPS = reverse("admin:billing_outage")


def test_it_leads_from_the_trouble_to_the_last_look(log_in: LogIn) -> None:
    engineer = log_in("engineer")
    incident = rows.incident()
    since = f"{incident.started_at:%Y-%m-%dT%H:%M:%S}"
    page = engineer.get(STEPS)
    text = text_of(page)
    for said in (
        f"the start of the incident “{incident}”",
        "1. Is the endpoint down, and since when?",
        "2. While it is down",
        "Stripe has not been asked yet.",
        "It has not been recovered yet.",
        f"manage.py recover_outage --since {since} --critical",
        "5. Compare with Stripe",
    ):
        assert said in text, said
    assert f'value="{since}"' in page.content.decode()
    urls = re.findall(r'href="([^"]*start-recovery[^"]*)"', page.content.decode())
    assert len(urls) == 2
    shown = engineer.get(urls[0].replace("&amp;", "&"))
    assert "Only what is critical is processed" in text_of(shown)
    apply(engineer, "start-recovery", target=since, what="critical", key=hidden(shown, "key")[0])
    job = ProcrastinateJob.objects.get(task_name="billing.recover")
    assert (job.args["critical"], job.args["actor"]) == (True, "engineer")


def test_each_step_says_what_was_done_of_it(support: Client) -> None:
    recovery = rows.recovery(run=rows.run(), error="")
    rows.recovery(critical_only=True, report={"missed": 2}, since=recovery.since)
    text = text_of(support.get(STEPS, {"since": f"{recovery.since:%Y-%m-%dT%H:%M:%S}"}))
    assert "erin: 3 events were missed; 1 things need a person." in text
    assert "erin: 2 events were missed, and all are done." in text
    assert "nothing differs" in text
    assert "Work what is critical" not in text  # support may look only


def test_stripe_is_asked_after_the_page_is_there(support: Client, sandbox: SandboxProcess) -> None:
    sandbox.control("counters/reset")
    page = support.get(STEPS).content.decode()
    assert sandbox.control("counters", http="GET")["total"] == 0
    fragment = reverse("admin:billing_outage_at_stripe")
    assert f'data-ask="{fragment}"' in page
    assert "No endpoint at Stripe has the address" in text_of(support.get(fragment))
    assert "No endpoint at Stripe has the address" in text_of(support.get(STEPS, {"ask": "stripe"}))
    sandbox.control("faults", path="/v1/*", reset=True)
    assert "Stripe could not be reached" in text_of(support.get(fragment))


def test_a_time_that_is_none_is_said_and_loses_nothing(support: Client) -> None:
    assert "is no date or time" in text_of(support.get(STEPS, {"since": "<b>"}))
    assert "2026-01-01T00:00:00" in support.get(STEPS, {"since": "2026-01-01"}).content.decode()


@pytest.mark.parametrize("role", ["support", "finance", "nobody"])
def test_who_may_not_recover_has_no_button(log_in: LogIn, role: str) -> None:
    client = log_in(role)
    if role == "nobody":
        assert client.get(STEPS).status_code == 403
        assert client.get(reverse("admin:billing_outage_at_stripe")).status_code == 403
        return
    for url in (STEPS, changelist_url(Recovery), page_url(rows.recovery())):
        page = client.get(url)
        assert "start-recovery" not in page.content.decode()
    assert client.get(START_RECOVERY.url()).status_code == 403


def test_a_recovery_shows_its_queue_what_failed_and_what_it_cost(log_in: LogIn) -> None:
    recovery = rows.recovery(run=rows.run())
    rows.missed_event(recovery, 1)
    rows.missed_event(recovery, 2, rank=9, status="done", type="invoice.created", said="")
    engineer = log_in("engineer")
    text = text_of(engineer.get(page_url(recovery)))
    for said in (
        "3 events were missed; 1 things need a person.",
        "Pack to grant Failed cus_Ada u_ada 45.00 USD Stripe refused: no such price.",
        "never delivered, as Stripe knows 2",
        "invoice.paid 3",
        "to list events 1",
        "Weekly reconciliation" if recovery.run.kind == "weekly" else "reconciliation",
        "Start it again",
    ):
        assert said in text, said
    listed = text_of(engineer.get(changelist_url(Recovery)))
    assert "Outage, step by step" in listed
    running = rows.recovery(status="running", stage="processing: 100 of 300.", finished_at=None)
    page = engineer.get(page_url(running))
    assert "it processes what was missed. 100 of 300." in text_of(page)
    assert 'id="progress" data-running="yes"' in page.content.decode()


def test_pages_cost_the_same_however_much_was_missed(support: Client) -> None:
    recovery = rows.recovery()
    rows.missed_event(recovery, 1)
    few = count_queries(lambda: support.get(page_url(recovery)))
    steps = count_queries(lambda: support.get(STEPS))
    for number in range(2, 60):
        rows.missed_event(recovery, number)
        rows.recovery()
    assert count_queries(lambda: support.get(page_url(recovery))) <= few <= 20
    assert count_queries(lambda: support.get(STEPS)) == steps <= 20
    assert "the first 50" in text_of(support.get(page_url(recovery)))

"""The findings worklist: what is open first, and the way from a finding to its end."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from billing.admin.cells import changelist_url, open_url, page_url
from billing.admin.operations import ALL
from billing.diagnosis.kinds import Kind
from billing.models import BillingCustomer, BulkJob, FindingRecord, LeadClaim, OperationRecord
from billing.operations import bulk
from billing.operations.base import new_key
from billing.reconciliation import mending
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries
from tests.admin.rows import HOSTILE
from tests.admin.test_operations import apply, hidden, select, text_of
from tests.diagnosis.planting import found, kept
from tests.diagnosis.test_balance_findings import claim, debit, goodwill
from tests.operations.shop import Shop, audits, balance
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db

State = FindingRecord.State
WHY = {"reason": "Found by the daily run", "reason_code": "data_repair"}


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A shop whose prices the back office knows."""
    made = Shop(sandbox)
    made.deliver()
    return made


def listed(client: Client, **query: str) -> list[str]:
    """What the findings on the list are about, in its order."""
    response = client.get(changelist_url(FindingRecord, **query))
    assert response.status_code == 200
    return [row.subject for row in response.context["cl"].result_list]


def worklist() -> None:
    """Findings in every state, of several kinds and currencies."""
    soon, past = (timezone.now() + timedelta(hours=hours) for hours in (1, -1))
    rows.finding("euro", amount=9900, currency="eur", credits=None, owner="support")
    rows.finding("small", amount=100, owner="erin")
    rows.finding("unknown worth", amount=None, currency="", credits=None, fix=None)
    rows.finding("owed", amount=None, currency="", credits=70)
    rows.finding("to look at", severity="warning", rank=2, amount=999_999, kind="raw_sql")
    rows.finding("back again", state=State.SNOOZED, snoozed_until=past)
    rows.finding("later", state=State.SNOOZED, snoozed_until=soon)
    rows.finding("accepted", state=State.ACCEPTED)
    rows.finding("over", state=State.RESOLVED, user_id="u_bob", stripe_customer_id="cus_bob")


def test_the_list_says_whose_a_finding_is_and_what_mends_it(support: Client) -> None:
    rows.customer(rows.USER, rows.CUSTOMER)
    email = BillingCustomer.objects.get().email
    rows.finding("cs_1")
    rows.finding("cs_2", stripe_customer_id="", fix=None)
    text = text_of(support.get(changelist_url(FindingRecord)))
    fix = FindingRecord.objects.get(subject="cs_1").fix
    assert fix is not None
    mends = next(page.title for page in ALL if page.operation.name == fix["operation"])
    assert f"{email} " in text
    assert f" {mends} nobody" in text
    assert f" {rows.USER} " in text
    assert " a person nobody" in text


def test_what_is_open_comes_first_and_the_gravest_on_top(support: Client) -> None:
    worklist()
    assert listed(support) == [
        "euro", "back again", "small", "owed", "unknown worth", "to look at",
    ]  # fmt: skip
    assert set(listed(support, state="all")) == set(
        FindingRecord.objects.values_list("subject", flat=True)
    )
    for query, subjects in (
        ({"state": "snoozed"}, ["later"]),
        ({"state": "accepted"}, ["accepted"]),
        ({"state": "resolved"}, ["over"]),
        ({"state": "no such"}, listed(support)),
        ({"severity": "warning"}, ["to look at"]),
        ({"kind": "raw_sql"}, ["to look at"]),
        ({"owner": "me"}, ["euro"]),
        ({"owner": "user:erin"}, ["small"]),
        ({"owner": "nobody", "currency": "usd"}, ["back again", "to look at"]),
        ({"currency": "eur"}, ["euro"]),
        ({"currency": "none"}, ["owed", "unknown worth"]),
        ({"fix": "no"}, ["unknown worth"]),
        ({"q": "small"}, ["small"]),
        ({"q": "u_bob", "state": "all"}, ["over"]),
        ({"q": "cus_bob", "state": "all"}, ["over"]),
        ({"q": "50 credits (euro)"}, ["euro"]),
        ({"run": "999"}, listed(support)),
        ({"run": "no number"}, listed(support)),
    ):
        assert listed(support, **query) == subjects, query
    shown = text_of(support.get(changelist_url(FindingRecord)))
    for said in ("99.00 EUR", "Pack paid, not granted", "Open again", "erin", "70 credits"):
        assert said in shown, said


def test_a_run_leads_to_what_it_found(support: Client) -> None:
    """Also once later runs have found it again, and not to what came after it."""
    then = timezone.now() - timedelta(days=1)
    run = rows.run(started_at=then, finished_at=then + timedelta(hours=1))
    before, after = then - timedelta(days=3), then + timedelta(hours=2)
    rows.finding("known", first_seen_at=before, last_seen_at=after)
    rows.finding("over by then", first_seen_at=before, last_seen_at=before)
    rows.finding("not yet", first_seen_at=after, last_seen_at=after)
    assert listed(support, run=str(run.pk), state="all") == ["known"]
    page = support.get(page_url(run)).content.decode()
    link = changelist_url(FindingRecord, kind="pack_not_granted", run=str(run.pk), state="all")
    assert link in unescape(page)


def test_a_list_of_all_costs_the_same_however_long_it_is(support: Client) -> None:
    def look() -> object:
        return support.get(changelist_url(FindingRecord, state="all"))

    rows.finding("first")
    few = count_queries(look)
    for number in range(40):
        rows.finding(f"more {number}")
    assert count_queries(look) == few <= 20


def test_a_finding_is_taken_put_off_and_opened_without_typing_a_reason(support: Client) -> None:
    row = rows.finding()
    page = support.get(page_url(row))
    assert "They paid 45.00 USD" in text_of(page)
    assert "Open again: it is open." in text_of(page)
    for name, answers in (
        ("take-finding", {}),
        ("snooze-finding", {"until": (timezone.now() + timedelta(days=2)).isoformat()}),
        ("reopen-finding", {}),
    ):
        address = reverse("admin:billing_operation", args=[name])
        offered = f"{address}?target=finding%3A{row.pk}&amp;back=" in page.content.decode()
        assert offered == (name != "reopen-finding")
        shown = support.get(address, {"target": str(row.pk), "back": page_url(row), **answers})
        reason = re.search(r"<textarea[^>]*>\s*([^<]*)</textarea>", shown.content.decode())
        assert reason is not None
        assert bool(reason[1].strip()) == (name != "snooze-finding")
        done = apply(
            support, name, target=str(row.pk), key=hidden(shown, "key")[0], back=page_url(row),
            reason=reason[1].strip() or "They answer by then", **answers,
        )  # fmt: skip
        assert "Done." in text_of(done)
    row.refresh_from_db()
    assert (row.owner, row.state) == ("support", State.OPEN)
    page = text_of(support.get(page_url(row)))
    for said in ("Take finding", "Put finding off", "Reopen finding"):
        assert said in page, said
    assert support.get(open_url(id=f"finding:{row.pk}"))["Location"] == page_url(row)


def test_hostile_evidence_and_kinds_of_other_days_are_shown_as_text(support: Client) -> None:
    row = rows.finding(
        HOSTILE,
        kind="no_such_kind",
        evidence=[
            {"label": HOSTILE, "value": HOSTILE, "id": HOSTILE, "time": "2026-03-01T10:00:00+00:00"}
        ],
        fix={"operation": "grant_purchase", "params": {"purchase_id": HOSTILE}},
        state=State.ACCEPTED,
        state_reason=HOSTILE,
        state_by=HOSTILE,
    )
    for url in (page_url(row), changelist_url(FindingRecord, state="all")):
        page = support.get(url).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "no such kind" in page


def test_who_may_only_look_has_no_buttons(log_in: LogIn) -> None:
    row = rows.finding()
    nobody = log_in("nobody")
    assert nobody.get(page_url(row)).status_code == 403
    assert nobody.post(reverse("admin:billing_look_again", args=[row.pk])).status_code == 403
    assert nobody.get(reverse("admin:billing_fix_plan")).status_code == 403
    finance = log_in("finance")
    page = text_of(finance.get(page_url(row)))
    assert "What mends it: Grant this purchase. Your role may not." in page
    assert "Look again" in page
    assert 'value="fix-finding"' not in finance.get(changelist_url(FindingRecord)).content.decode()
    assert finance.get(reverse("admin:billing_fix_plan"), {"job": "1"}).status_code == 403
    strict = log_in("support", enforce_csrf_checks=True)
    assert strict.post(reverse("admin:billing_look_again", args=[row.pk])).status_code == 403


def paid_pack(shop: Shop) -> FindingRecord:
    """Ada paid for 50 credits, and the event never came."""
    customer = str(shop.subscribe()["customer"])
    shop.deliver()
    shop.buy(customer=customer)
    return kept(found("u_ada", Kind.PACK_NOT_GRANTED))


def test_from_the_finding_to_the_fix_and_gone(support: Client, shop: Shop) -> None:
    row = paid_pack(shop)
    look_again = reverse("admin:billing_look_again", args=[row.pk])
    assert support.get(look_again).status_code == 405
    assert "It is still so." in text_of(support.post(look_again, follow=True))
    page = support.get(page_url(row)).content.decode()
    [fix] = re.findall(r'href="([^"]*/run/replay/[^"]*)"', page)
    shown = support.get(unescape(fix))
    assert "70" in text_of(shown)
    [event] = hidden(shown, "target")
    assert hidden(shown, "back") == [page_url(row)]
    apply(support, "replay", target=event, key=hidden(shown, "key")[0])
    assert balance("u_ada") == (70, 0)

    row.refresh_from_db()
    assert row.state == State.OPEN  # nobody has looked yet
    assert "support has done something about it" in text_of(support.get(page_url(row)))
    assert "It is so no more." in text_of(support.post(look_again, follow=True))
    row.refresh_from_db()
    assert row.state == State.RESOLVED
    assert row.resolved_by == OperationRecord.objects.get().key
    assert listed(support) == []
    page = text_of(support.get(page_url(row)))
    assert "Resolved by an operation" in page
    assert "Take: it is resolved." in page


def test_stripes_silence_leaves_a_finding_as_it_is(support: Client, shop: Shop) -> None:
    row = paid_pack(shop)
    shop.sandbox.control("faults", path="/v1/*", status=500)
    answer = support.post(reverse("admin:billing_look_again", args=[row.pk]), follow=True)
    assert "Stripe did not say" in text_of(answer)
    row.refresh_from_db()
    assert row.state == State.OPEN


def mixed(shop: Shop) -> list[FindingRecord]:
    """What two operations mend, what needs a second person, and what a person has to see."""
    pack = paid_pack(shop)
    goodwill(10)
    failed = claim(3)
    debit(3)
    claimed = kept(found("u_ada", Kind.CLAIM_DEBITED))
    assert claimed.fix == {"operation": "refund_claim", "params": {"claim_id": failed.pk}}
    large = rows.finding(
        "u_bob",
        fix={"operation": "correct_balance", "params": {"user_id": "u_bob", "balance": 900}},
        amount=None,
        currency="",
        credits=900,
        user_id="u_bob",
    )
    tied = rows.finding(
        "u_cat", fix={"operation": "tie_out_balance", "params": {"user_id": "u_cat"}}
    )
    alone = rows.finding("cus_gone", kind="customer_deleted", fix=None)
    return [pack, claimed, large, tied, alone]


def test_a_mixed_selection_is_fixed_with_one_plan_and_one_reason(
    support: Client, shop: Shop
) -> None:
    picked = mixed(shop)
    pack, claimed, large, tied, alone = picked
    before = balance("u_ada")[0]
    chosen = select(support, FindingRecord, "fix-finding", list(picked))
    plan = chosen["Location"]
    jobs = [int(pk) for pk in parse_qs(urlsplit(plan).query)["job"]]
    assert len(jobs) == 4
    shown = support.get(plan)
    text = text_of(shown)
    for said in (
        "Each of 4 findings",
        "Replay event 1 finding: 45.00 USD, 50 credits at stake",
        "Give credits back 1 finding: 3 credits at stake",
        "All were looked at: 1 can be done",
        "1 of them once a second person approves",
        "Left out: your role may not.",
        "Customer deleted at Stripe: cus_gone",
    ):
        assert said in text, said
    mine = OperationRecord.objects.filter(actor="support")
    assert not mine.exists()

    wrong = support.post(plan, {"key": new_key(), "reason": "", "reason_code": "data_repair"})
    assert "This field is required." in text_of(wrong)
    assert set(BulkJob.objects.values_list("status", flat=True)) == {"draft"}

    for _ in range(2):  # a second click starts nothing anew
        assert support.post(plan, {"key": new_key(), **WHY})["Location"] == plan
    for pk in jobs:
        assert not bulk.work(pk, seconds=60)
        assert not bulk.work(pk, seconds=60)
    done = {job.items.get().target: job.items.get().status for job in BulkJob.objects.all()}
    assert done == {
        str(pack.pk): "done", str(claimed.pk): "done", str(large.pk): "requested",
        str(tied.pk): "waiting",
    }  # fmt: skip
    assert balance("u_ada")[0] == before + 50 + 3
    assert sorted((record.name, record.reason) for record in mine) == [
        ("correct_balance", WHY["reason"]),
        ("refund_claim", WHY["reason"]),
        ("replay_events", WHY["reason"]),
    ]
    assert len(audits("manual.event_replay")) == 1
    assert "Done. See how far it is" in text_of(support.get(plan))

    assert sum(mending.is_to_be_looked_at(pk) for pk in jobs) == 3
    assert mending.look_again(jobs[1], after=0, seconds=0) == 0  # the time is over: go on there
    for pk in jobs:  # what the worker does next
        assert mending.look_again(pk, after=0, seconds=60) is None
    states = {row.pk: row for row in FindingRecord.objects.all()}
    assert {states[row.pk].state for row in (pack, claimed)} == {State.RESOLVED}
    assert {states[row.pk].state for row in (large, tied, alone)} == {State.OPEN}
    assert states[pack.pk].resolved_by == states[pack.pk].operation_key
    assert LeadClaim.objects.count() == 1


def test_all_pages_are_selected_at_once(support: Client) -> None:
    for number in range(60):
        rows.finding(f"cs_{number}", user_id=f"u_{number}")
    data = {"action": "fix-finding", "index": "0", "select_across": "1", "_selected_action": "1"}
    plan = support.post(changelist_url(FindingRecord), data)["Location"]
    assert "60 findings: 2,700.00 USD, 3,000 credits at stake" in text_of(support.get(plan))
    taken = support.post(changelist_url(FindingRecord), {**data, "action": "take-finding"})
    job = BulkJob.objects.get(name="take_finding")
    assert taken["Location"] == page_url(job)
    draft = text_of(support.get(page_url(job)))
    assert "Looking after it" in draft
    support.post(page_url(job), {"key": new_key(), "owner": "me", "_start": "1", **WHY})
    while bulk.work(job.pk, seconds=60):
        pass
    assert FindingRecord.objects.filter(owner="support").count() == 60


@pytest.mark.parametrize("query", [{}, {"job": "x"}, {"job": "999", "left": "x", "more": "x"}])
def test_a_plan_of_nothing_is_not_found(support: Client, query: dict[str, str]) -> None:
    plan = reverse("admin:billing_fix_plan")
    assert support.get(f"{plan}?{urlencode(query)}").status_code == 404


def test_where_nothing_can_be_fixed_the_list_says_so(support: Client) -> None:
    row = rows.finding(fix=None)
    response = select(support, FindingRecord, "fix-finding", [row])
    assert "No operation mends any of these" in text_of(support.get(response["Location"]))
    assert not BulkJob.objects.exists()

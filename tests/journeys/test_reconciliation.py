"""R1 to R4: the morning's comparison, by command, from the difference to the sign-off.

The runbook counts subscriptions in two places, looks for gaps in events by day, lists who claims
most, and adds up a week's invoices. Each of its four questions is asked here and answered.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.gateway import client
from billing.models import FindingRecord, LeadClaim, ReconciliationRun, acting_as
from billing.projection import ledger
from billing.projection.ledger import Entry
from billing.reconciliation import examining
from tests.commands.conftest import Run
from tests.diagnosis.planting import deliver_all_but, subscribed
from tests.operations.shop import Shop, audits, balance, status_here

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was lost a moment ago stays lost: the story does not wait for two minutes."""
    monkeypatch.setattr(examining, "GRACE", timedelta(seconds=-2))


@pytest.fixture
def reconcile(run: Run) -> Any:
    """Calls the command; its exit code and its document."""

    def call(*arguments: str) -> tuple[int, dict[str, Any]]:
        ran = run("reconcile", *arguments, "--actor", "fay", "--json")
        return ran.code, ran.document

    return call


def test_from_the_morning_s_differences_to_finance_s_word(
    shop: Shop, reconcile: Any, run: Run
) -> None:
    sub = subscribed(shop)
    shop.buy()
    shop.deliver()
    assert reconcile("daily")[0] == 0

    # In the night Stripe cancels a subscription and sells a pack, and neither webhook arrives.
    shop.sandbox.story("cancel", subscription=sub)
    session = shop.buy()["checkout_session"]
    deliver_all_but(shop, "customer.subscription.deleted", "checkout.session.completed")
    code, morning = reconcile("daily")
    assert code == 1
    found = {(each["kind"], each["subject"]) for each in morning["findings"]}
    assert found == {("active_only_here", sub), ("pack_not_granted", session)}

    # R1: active at Stripe and here. R2: events by hour on both sides, with the gap.
    statuses = morning["counts"]["subscription"]["statuses"]
    assert statuses == {"canceled": {"stripe": 1, "here": 0}, "active": {"stripe": 0, "here": 1}}
    assert morning["counts"]["event"]["missing"] == 2
    gaps = [there - here for _, there, here in morning["measures"]["events_by_hour"]]
    assert sum(gaps) == 2

    # In the terminal each finding has the number by which the commands take it.
    shown = run("reconcile", "daily", "--actor", "fay")
    number = FindingRecord.objects.get(subject=session).pk
    assert f"{number}  money  Pack paid, not granted: {session}, 45.00 USD" in shown.stdout
    kinds = [line.split(":")[0].strip() for line in shown.stdout.splitlines()[1:6]]
    assert kinds == ["subscription", "customer", "invoice", "charge", "checkout.session"]
    assert "2 findings are open." in shown.error

    # What is safe is mended, and said; the next run has nothing to say.
    code, mended = reconcile("daily", "--fix")
    assert {each["subject"] for each in mended["fixed"]} == {sub, session}
    assert (status_here(sub), balance("u_ada")) == ("canceled", (120, 0))
    assert all(each["operation"] for each in mended["fixed"])
    code, clean = reconcile("daily")
    assert (code, clean["findings"]) == (0, [])

    # Finance signs it off with a word.
    signed = run("sign_off_run", str(clean["run"]), "--reason", "All ties out", "--actor", "fay")
    last = ReconciliationRun.objects.get(pk=clean["run"])
    assert (signed.code, last.sign_off) == (0, "All ties out")
    assert audits("manual.run_signed_off")[0]["admin"] == "cli:fay"
    assert set(FindingRecord.objects.values_list("state", flat=True)) == {"resolved"}


def test_what_is_still_on_its_way_is_said_to_be_left(
    shop: Shop, reconcile: Any, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reconcile("daily")[0] == 0
    monkeypatch.setattr(examining, "GRACE", timedelta(minutes=2))
    shop.buy()
    deliver_all_but(shop, "checkout.session.completed")
    ran = run("reconcile", "daily")
    assert ran.code == 0
    assert "left for the next run: an event about each was still on its way." in ran.stdout


def test_a_finding_whose_time_has_come_is_open_again(shop: Shop, reconcile: Any) -> None:
    shop.buy()
    deliver_all_but(shop, "checkout.session.completed")
    assert reconcile("daily")[0] == 1
    later = {"state": "snoozed", "snoozed_until": timezone.now() + timedelta(hours=1)}
    FindingRecord.objects.update(**later)
    assert reconcile("daily")[0] == 0
    FindingRecord.objects.update(snoozed_until=timezone.now())
    assert reconcile("daily")[0] == 1


def test_what_was_mended_and_what_is_left_is_printed(shop: Shop, run: Run) -> None:
    bought, nobodys = shop.buy(), shop.buy(attributed=False)
    deliver_all_but(shop, "checkout.session.completed")
    fixed = run("reconcile", "daily", "--fix")
    lost, left = (each["checkout_session"] for each in (bought, nobodys))
    assert f"Pack paid, not granted: {lost}, by replay_events" in fixed.stdout
    assert f"Paid by nobody we know: {left}, needs a person" in fixed.stdout


def test_the_week_s_usage_and_revenue(shop: Shop, reconcile: Any) -> None:
    subscribed(shop)
    shop.buy()
    shop.deliver()
    with acting_as("marketplace"):
        LeadClaim.objects.create(user_id="u_ada", lead_id="lead_1", credits_spent=3)
        ledger.post([Entry("u_ada", -3, "claim")])
    code, week = reconcile("weekly")
    assert (code, week["findings"]) == (0, [])
    # R3: who used most. R4: revenue by day, tied to Stripe's, and nothing remains.
    [user] = week["report"]["usage"]["top"]
    assert (user["user_id"], user["claims"], user["credits"]) == ("u_ada", 1, 3)
    [day] = week["report"]["revenue"]["collected"]
    assert (day["charges"], day["invoices"], day["packs"], day["remainder"]) == (
        7400,
        2900,
        4500,
        0,
    )


def test_wrong_calls_say_so(shop: Shop, reconcile: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FAILURE_PAUSES", (0.01,))
    assert reconcile("full", "--since", "2026-01-01")[0] == 2
    code, said = reconcile("daily", "--since", "yesterday")
    assert code == 2
    assert "no date or time" in said["error"]
    shop.sandbox.stop()
    code, said = reconcile("daily")
    assert code == 2
    assert said["error"].startswith("Stripe could not be reached: no answer (")
    assert "persists" not in said["error"]

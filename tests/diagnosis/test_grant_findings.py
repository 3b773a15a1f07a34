"""Credits that came twice or for nothing, and those that a refund or dispute left behind."""

from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import InboxEvent, LeadClaim
from billing.operations.credits import GrantCredits
from billing.operations.registry import undo
from tests.diagnosis.planting import fix, found, kinds, report_on
from tests.diagnosis.test_examination import spend
from tests.diagnosis.test_subscription_findings import deliver_all_but, said
from tests.operations.shop import BOB, Shop, balance, record_of
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
COMPLETED = "checkout.session.completed"
REFUNDS = ("refund.created", "refund.updated", "charge.refunded", "charge.refund.updated")
DISPUTES = ("charge.dispute.created", "charge.dispute.funds_withdrawn")


def grant(amount: int = 50, **more: Any) -> GrantCredits:
    """An agent's grant that names no purchase."""
    operation = GrantCredits(user_id="u_ada", amount=amount, **{**BOB, **more})
    operation.apply()
    return operation


def runbook_grant(amount: int) -> None:
    """The runbook's own statement: grant missing credits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lead_credits (user_id, balance, updated_at) VALUES ('u_ada', %s, NOW())"
            " ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance + %s,"
            " updated_at = NOW()",
            [amount, amount],
        )


def test_an_agent_s_grant_and_then_the_late_webhook(shop: Shop) -> None:
    """C1, P2: the agent could not wait, and named no purchase."""
    bought = shop.buy()
    operation = grant()
    shop.deliver()
    assert balance("u_ada") == (100, 0)
    finding = found("u_ada", Kind.GRANTED_TWICE)
    assert (finding.severity, finding.credits) == (Severity.MONEY, 50)
    assert "50 credits were granted by cli:bob" in finding.verdict
    assert bought["checkout_session"] in said(finding)
    assert operation.key in said(finding)
    assert finding.fix == Fix(
        "take_back_credits", {"user_id": "u_ada", "amount": -50, "grant": operation.key}
    )
    fix(finding)
    assert balance("u_ada") == (50, 0)
    assert kinds("u_ada") == []
    shop.deliver()
    assert balance("u_ada") == (50, 0)


def test_of_a_grant_that_is_partly_spent_the_rest_is_taken(shop: Shop) -> None:
    shop.buy()
    grant()
    shop.deliver()
    spend("u_ada", 70)
    finding = found("u_ada", Kind.GRANTED_TWICE)
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 0})
    fix(finding)
    assert kinds("u_ada") == []


def test_a_grant_that_was_undone_is_not_twice(shop: Shop) -> None:
    shop.buy()
    operation = grant()
    shop.deliver()
    undo(record_of(operation.key), **BOB).apply()
    assert kinds("u_ada") == []


def test_a_correction_answers_what_it_takes_back_exactly(shop: Shop) -> None:
    """And not the smaller grant that came between: else the larger one would be taken twice."""
    shop.subscribe()
    shop.deliver()
    runbook_grant(1009)
    grant(17)
    fix(found("u_ada", Kind.GRANTED_WITHOUT_PAYMENT))
    assert kinds("u_ada") == []


def test_goodwill_is_never_twice(shop: Shop) -> None:
    shop.buy()
    grant(reason_code="goodwill")
    shop.deliver()
    assert kinds("u_ada") == []


def test_another_number_of_credits_is_not_twice(shop: Shop) -> None:
    shop.buy()
    grant(49)
    shop.deliver()
    assert kinds("u_ada") == []


def test_the_runbook_s_statement_and_then_the_webhook(shop: Shop) -> None:
    """C1, W2: while the pack waits it is the pack's finding; then they have it twice."""
    subscribed = shop.subscribe()
    shop.deliver()
    shop.buy(customer=subscribed["customer"])
    runbook_grant(50)
    waiting = found("u_ada", Kind.PACK_NOT_GRANTED)
    assert "50 credits were added by raw SQL at about the same time" in waiting.verdict
    assert kinds("u_ada") == [Kind.PACK_NOT_GRANTED]
    fix(waiting)
    finding = found("u_ada", Kind.GRANTED_TWICE)
    assert "granted by raw SQL" in finding.verdict
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 70})
    fix(finding)
    assert balance("u_ada") == (70, 0)
    assert kinds("u_ada") == []


def test_credits_by_raw_sql_that_nothing_explains(shop: Shop) -> None:
    """C1: somebody typed the runbook's statement for the wrong user."""
    runbook_grant(30)
    finding = found("u_ada", Kind.GRANTED_WITHOUT_PAYMENT)
    assert "no payment explains them" in finding.verdict
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 0})
    fix(finding)
    assert kinds("u_ada") == []


def test_the_application_s_own_sql_is_in_order(shop: Shop) -> None:
    """C2: it debits a claim, and gives the credits back where the claim failed."""
    grant(reason_code="goodwill")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = balance - 3 WHERE user_id = 'u_ada'")
        cursor.execute("UPDATE lead_credits SET balance = balance + 3 WHERE user_id = 'u_ada'")
        cursor.execute("UPDATE lead_credits SET balance = balance - 2 WHERE user_id = 'u_ada'")
    LeadClaim.objects.create(user_id="u_ada", credits_spent=3, status="failed")
    LeadClaim.objects.create(user_id="u_ada", credits_spent=2)
    assert kinds("u_ada") == []


def test_an_event_that_said_paid_and_stripe_says_not(shop: Shop) -> None:
    """A bank debit that has not arrived, and an event that claims it did."""
    shop.subscribe()
    shop.deliver()
    bought = shop.buy(async_="pending")
    [event] = [e for e in events_of(shop.sandbox) if e["type"] == COMPLETED][-1:]
    event["data"]["object"]["payment_status"] = "paid"
    deliver_and_drain([event])
    assert balance("u_ada") == (70, 0)
    finding = found("u_ada", Kind.GRANTED_WITHOUT_PAYMENT)
    assert finding.subject == bought["checkout_session"]
    assert "Stripe says that it is complete and unpaid" in finding.verdict
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 20})
    fix(finding)
    assert Kind.GRANTED_WITHOUT_PAYMENT not in kinds("u_ada")


def test_a_grant_whose_purchase_is_gone(shop: Shop) -> None:
    """A purchase that raw SQL deleted, and that Stripe was not asked about."""
    shop.buy()
    shop.deliver()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM billing_purchases")
    finding = found("u_ada", Kind.GRANTED_WITHOUT_PAYMENT, ask_stripe=False)
    assert "there is no such purchase here" in finding.verdict
    assert finding.credits == 50


@pytest.mark.parametrize("is_guest", [True, False])
@pytest.mark.parametrize("how", ["refund", "dispute"])
def test_a_reversal_whose_events_were_lost(shop: Shop, how: str, is_guest: bool) -> None:
    """W7: the money is gone, and the credits are still here."""
    customer = shop.subscribe()["customer"]
    bought = shop.buy() if is_guest else shop.buy(customer=customer)
    shop.deliver()
    shop.sandbox.story(how, payment_intent=bought["payment_intent"])
    kind, types = (
        (Kind.REFUND_NOT_TAKEN_BACK, REFUNDS)
        if how == "refund"
        else (Kind.DISPUTE_NOT_TAKEN_BACK, DISPUTES)
    )
    deliver_all_but(shop, *types)
    finding = found("u_ada", kind)
    assert (finding.subject, finding.credits) == (bought["charge"], 50)
    assert (finding.amount, finding.currency) == (4500, "usd")
    assert "never arrived" in finding.verdict
    assert finding.fix is not None
    assert finding.fix.operation == "replay_events"
    fix(finding)
    assert balance("u_ada") == (20, 0)
    assert kinds("u_ada") == []
    shop.deliver()
    assert balance("u_ada") == (20, 0)


def test_a_refund_that_is_older_than_stripe_s_events_is_synced(shop: Shop) -> None:
    customer = shop.subscribe()["customer"]
    bought = shop.buy(customer=customer)
    shop.deliver()
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"], amount=900)
    shop.sandbox.advance(days=31)
    finding = found("u_ada", Kind.REFUND_NOT_TAKEN_BACK)
    assert finding.credits == 10
    assert finding.fix == Fix("sync_from_stripe", {"kind": "customer", "id": customer})
    fix(finding)
    assert Kind.REFUND_NOT_TAKEN_BACK not in kinds("u_ada")


def test_a_refund_that_failed_here_is_not_called_lost(shop: Shop) -> None:
    """W4: it is in the inbox, and names neither a customer nor a user."""
    bought = shop.buy()
    shop.deliver()
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"])
    [event] = [e for e in events_of(shop.sandbox) if e["type"] == "refund.created"]
    shop.sandbox.control("faults", path="/v1/refunds/*", status=400)
    deliver_and_drain([{**event, "api_version": "2020-08-27"}])
    shop.sandbox.control("faults", "DELETE")
    assert InboxEvent.objects.get(stripe_event_id=event["id"]).status == "dead"
    finding = found("u_ada", Kind.REFUND_NOT_TAKEN_BACK)
    assert "was received and failed until it was given up" in said(finding) or (
        "never arrived" in finding.verdict
    )
    fix(finding)
    assert balance("u_ada") == (0, 0)


STEPS = ("buy", "refund", "grant", "take back", "deliver")


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))
def test_whatever_happens_the_checks_answer(shop: Shop, steps: list[str]) -> None:
    """Nothing raises; and with every event delivered and no grant by hand nothing is found."""
    with transaction.atomic():
        user = f"u_{len(events_of(shop.sandbox))}"
        bought: list[Any] = []
        granted: list[GrantCredits] = []
        for step in steps:
            if step == "buy":
                bought.append(shop.buy(user_id=user, email=f"{user}@example.com"))
            elif step == "refund" and bought:
                shop.sandbox.story("refund", payment_intent=bought.pop()["payment_intent"])
            elif step == "grant":
                granted.append(GrantCredits(user_id=user, amount=50, **BOB))
                granted[-1].apply()
            elif step == "take back" and granted:
                undo(record_of(granted.pop().key), **BOB).apply()
            elif step == "deliver":
                shop.deliver()
            report_on(user)
        shop.deliver()
        left = {finding.kind for finding in report_on(user).findings}
        assert left <= {Kind.GRANTED_TWICE, Kind.CREDITS_OWED}
        assert not left or granted or Kind.GRANTED_TWICE not in left
        transaction.set_rollback(True)

"""Balances against the ledger, credits owed, and claims that took credits or were refused."""

from typing import Any

import pytest
from django.db import connection

from billing.diagnosis.findings import Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.models import CreditEntry, LeadClaim, acting_as
from billing.operations.credits import GrantCredits
from billing.projection import ledger
from billing.projection.ledger import Entry
from tests.diagnosis.planting import fix, found, kinds
from tests.diagnosis.test_examination import spend
from tests.diagnosis.test_subscription_findings import said
from tests.operations.shop import BOB, Shop, balance, past_triggers

pytestmark = pytest.mark.django_db


def goodwill(amount: int) -> None:
    GrantCredits(user_id="u_ada", amount=amount, **BOB, reason_code="goodwill").apply()


def debit(amount: int) -> None:
    """The application takes credits by its own SQL."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = balance - %s", [amount])


def claim(
    amount: int, status: str = "failed", why: str = "Lead was sold", **more: Any
) -> LeadClaim:
    """The application writes its claim by its own SQL, too."""
    return LeadClaim.objects.create(
        user_id="u_ada",
        lead_id="lead_7",
        credits_spent=amount,
        status=status,
        failure_reason="" if status == "succeeded" else why,
        **more,
    )


def test_a_restore_without_triggers_is_tied_out(shop: Shop) -> None:
    """C1: the balance is not what the ledger adds up to."""
    goodwill(50)
    past_triggers("UPDATE lead_credits SET balance = 10")
    finding = found("u_ada", Kind.BALANCE_DIFFERS)
    assert (finding.subject, finding.severity, finding.credits) == ("u_ada", Severity.MONEY, 40)
    assert "Balance: 10 credits" in said(finding)
    assert "Sum of the ledger: 50 credits" in said(finding)
    assert finding.fix == Fix("tie_out_balance", {"user_id": "u_ada"})
    fix(finding)
    assert balance("u_ada") == (50, 0)
    assert kinds("u_ada") == []


def drop_the_constraint() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lead_credits DROP CONSTRAINT lead_credits_not_negative")


def test_a_negative_balance_past_the_triggers_is_one_finding(shop: Shop) -> None:
    """C3: should be impossible."""
    goodwill(50)
    drop_the_constraint()
    past_triggers("UPDATE lead_credits SET balance = -5")
    finding = found("u_ada", Kind.BALANCE_NEGATIVE)
    assert kinds("u_ada") == [Kind.BALANCE_NEGATIVE]
    assert finding.fix == Fix("tie_out_balance", {"user_id": "u_ada"})
    fix(finding)
    assert balance("u_ada") == (50, 0)
    assert kinds("u_ada") == []


def test_a_negative_balance_that_the_ledger_saw_is_corrected(shop: Shop) -> None:
    """C3: the application debits twice, and no constraint stops it."""
    goodwill(3)
    drop_the_constraint()
    debit(3)
    debit(3)
    claim(3, "succeeded")
    finding = found("u_ada", Kind.BALANCE_NEGATIVE)
    assert finding.credits == 3
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 0})
    fix(finding)
    assert balance("u_ada") == (0, 0)
    assert Kind.BALANCE_NEGATIVE not in kinds("u_ada")


def test_credits_owed_after_a_refund_of_what_was_spent(shop: Shop) -> None:
    bought = shop.buy()
    shop.deliver()
    spend("u_ada", 30)
    refund = shop.sandbox.story("refund", payment_intent=bought["payment_intent"])["refund"]
    shop.deliver()
    finding = found("u_ada", Kind.CREDITS_OWED)
    assert finding.credits == 30
    assert refund in said(finding)
    assert finding.fix == Fix("create_checkout_link", {"customer": "u_ada", "price": shop.pack})
    assert "re_" not in finding.for_customer
    assert fix(finding).link
    shop.buy()
    shop.deliver()
    assert balance("u_ada") == (20, 0)
    assert Kind.CREDITS_OWED not in kinds("u_ada")


def test_a_failed_claim_that_took_its_credits(shop: Shop) -> None:
    """C2: credits deducted but lead claim failed."""
    goodwill(10)
    debit(4)
    made = claim(4)
    finding = found("u_ada", Kind.CLAIM_DEBITED)
    assert (finding.subject, finding.credits) == (f"claim:{made.pk}", 4)
    assert "Lead was sold" in finding.verdict
    assert finding.fix == Fix("refund_claim", {"claim_id": made.pk})
    fix(finding)
    assert balance("u_ada") == (10, 0)
    assert kinds("u_ada") == []


def test_a_failed_claim_beside_one_that_was_paid_for_is_not_debited(shop: Shop) -> None:
    """C2: one debit, one lead that was delivered, and one that was refused without a debit."""
    goodwill(10)
    debit(4)
    claim(4, "succeeded")
    claim(4)
    assert kinds("u_ada") == []


def test_a_failed_claim_whose_credits_came_back_by_themselves(shop: Shop) -> None:
    goodwill(10)
    debit(4)
    claim(4)
    debit(-4)
    assert kinds("u_ada") == []


@pytest.mark.parametrize("spent", [0, 5])
def test_a_refused_claim_is_explained(shop: Shop, spent: int) -> None:
    """F2: lead claiming returns "insufficient credits"."""
    if spent:
        shop.buy()
        shop.deliver()
        spend("u_ada", 50)
    made = claim(5, why="Insufficient credits")
    finding = found("u_ada", Kind.CLAIM_REFUSED)
    assert (finding.subject, finding.severity) == (f"claim:{made.pk}", Severity.INFO)
    if spent:
        assert "is spent" in finding.verdict
        assert finding.fix == Fix("create_checkout_link", {"customer": "u_ada", "price": shop.pack})
    else:
        assert "none were ever bought or granted" in finding.verdict
        assert finding.fix is None
    goodwill(5)
    assert kinds("u_ada") == []


def test_a_refused_claim_after_a_refund(shop: Shop) -> None:
    bought = shop.buy()
    shop.deliver()
    shop.sandbox.story("refund", payment_intent=bought["payment_intent"])
    shop.deliver()
    claim(5, why="Insufficient credits")
    assert "50 were taken back" in found("u_ada", Kind.CLAIM_REFUSED).verdict


def test_a_refused_claim_of_somebody_who_paid_is_a_warning(shop: Shop) -> None:
    """F2, P2: they bought, and the event never came."""
    customer = shop.subscribe()["customer"]
    shop.deliver()
    spend("u_ada", 20)
    bought = shop.buy(customer=customer)
    claim(5, why="Insufficient credits")
    finding = found("u_ada", Kind.CLAIM_REFUSED)
    assert finding.severity == Severity.WARNING
    assert "what they paid for was not granted" in finding.verdict
    assert bought["checkout_session"] in finding.verdict
    fix(finding)
    assert kinds("u_ada") == []


def test_a_debit_by_raw_sql_that_no_claim_explains(shop: Shop) -> None:
    """C1: somebody typed over the balance."""
    goodwill(10)
    debit(4)
    finding = found("u_ada", Kind.RAW_SQL)
    assert finding.severity == Severity.WARNING
    assert finding.fix == Fix("correct_balance", {"user_id": "u_ada", "balance": 10})
    fix(finding)
    assert kinds("u_ada") == []


def test_a_claim_that_raw_sql_deleted(shop: Shop) -> None:
    with acting_as("marketplace"):
        LeadClaim.objects.create(user_id="u_ada", credits_spent=4)
        ledger.post([Entry("u_ada", 10, CreditEntry.Kind.GRANT)])
    LeadClaim.objects.all().delete()
    finding = found("u_ada", Kind.RAW_SQL)
    assert "A claim of 4 credits was deleted by raw SQL" in finding.verdict
    assert finding.fix is None

"""A failed claim's credits: given back once, to the user who claimed."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from billing.models import BillingEvent, CreditEntry, LeadClaim, OperationRecord, acting_as
from billing.operations import bulk
from billing.operations.base import Actor, InvalidInputError, OperationError, Result, new_key
from billing.operations.claims import RefundClaim
from billing.operations.registry import rebuild, undo
from tests.operations.shop import BOB, at_once, audits, balance, owing, record_of
from tests.support.databases import Database

AUDIT = "manual.credit_adjustment"


def refund(claim: LeadClaim | int | str, **more: Any) -> RefundClaim:
    number = claim.pk if isinstance(claim, LeadClaim) else claim
    return RefundClaim(claim_id=number, **{**BOB, **more})


def claimed(*, spent: int = 3, status: str = "failed", has: int = 10, **more: Any) -> LeadClaim:
    """A claim as the application writes it, with SQL of its own: debited, then it failed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lead_credits (user_id, balance) VALUES ('u_ada', %s)"
            " ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance + %s",
            [has, has],
        )
        cursor.execute(
            "UPDATE lead_credits SET balance = balance - %s WHERE user_id = 'u_ada'", [spent]
        )
    return made(spent=spent, status=status, **more)


def made(*, spent: int = 3, status: str = "failed", **more: Any) -> LeadClaim:
    """A claim's row alone, without a debit."""
    fields = {"user_id": "u_ada", "lead_id": "lead_7", "failure_reason": "Gone", **more}
    return LeadClaim.objects.create(credits_spent=spent, status=status, **fields)


@pytest.mark.django_db
def test_it_is_planned_then_given_back_with_one_entry_and_one_audit_event() -> None:
    claim = claimed()
    operation = refund(claim, ticket="T-1", reason_code="failed_claim")
    before = BillingEvent.objects.count()
    plan = operation.plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [("Balance", "7", "10")]
    assert (plan.blocked, plan.warnings, plan.approval) == ("", [], "")
    assert f"claim {claim.pk} (lead_7)" in plan.summary
    assert plan.digest == refund(claim).plan().digest
    assert balance("u_ada") == (7, 0)
    assert BillingEvent.objects.count() == before

    result = operation.apply(seen=plan.digest)
    assert result.changes == plan.changes
    assert balance("u_ada") == (10, 0)
    entry = CreditEntry.objects.get(source=f"claim:{claim.pk}")
    assert (entry.delta, entry.kind, entry.actor) == (3, "claim", "cli:bob")
    [payload] = audits(AUDIT)
    assert (payload["user_id"], payload["claim"], payload["amount"]) == ("u_ada", claim.pk, 3)
    assert (payload["reason"], payload["reason_code"], payload["ticket"], payload["admin"]) == (
        "The customer called", "failed_claim", "T-1", "cli:bob",
    )  # fmt: skip
    assert record_of(operation.key).subject == f"claim:{claim.pk}"


@pytest.mark.django_db
def test_the_number_can_be_given_with_its_prefix() -> None:
    claim = claimed()
    refund(f"claim:{claim.pk}").apply()
    assert balance("u_ada") == (10, 0)


@pytest.mark.django_db
def test_what_is_owed_is_paid_first() -> None:
    claim = claimed(has=3)
    owing("u_ada", 2)
    plan = refund(claim).plan()
    assert [(c.label, c.before, c.after) for c in plan.changes] == [
        ("Balance", "0", "1"),
        ("Owed", "2", "0"),
    ]
    assert plan.warnings == ["2 of them pay what the user owes."]
    refund(claim).apply()
    assert balance("u_ada") == (1, 0)


@pytest.mark.django_db
def test_it_says_where_no_debit_can_be_seen() -> None:
    claim = made(claimed_at=timezone.now() - timedelta(days=3))
    [warning] = refund(claim).plan().warnings
    assert "No debit of 3 credits within 5 minutes" in warning
    refund(claim).apply()
    assert balance("u_ada") == (3, 0)


@pytest.mark.django_db
def test_it_says_where_the_application_may_have_given_them_back_itself() -> None:
    claim = claimed()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = balance + 3 WHERE user_id = 'u_ada'")
    [warning] = refund(claim).plan().warnings
    assert "3 credits came back" in warning
    assert "sql:" in warning


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ({"status": "succeeded"}, "its credits bought the lead"),
        ({"spent": 0}, "cost no credits"),
    ],
)
def test_only_failed_claims_that_cost_something(claim: dict[str, Any], said: str) -> None:
    operation = refund(made(**claim))
    assert said in operation.plan().blocked
    with pytest.raises(OperationError, match=said):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    assert balance("u_ada") == (0, 0)


@pytest.mark.django_db
def test_a_claim_that_is_not_there_is_refused() -> None:
    with pytest.raises(OperationError, match="no claim 404"):
        refund(404).apply()


@pytest.mark.parametrize("number", ["", "x", "0", "-1", "claim:", "1.5", str(2**63), "9" * 40])
def test_a_wrong_number_is_refused(number: str) -> None:
    with pytest.raises(InvalidInputError, match="number of the claim"):
        refund(number)


@pytest.mark.django_db
def test_one_claim_is_given_back_once_whatever_the_key() -> None:
    claim, key = claimed(), new_key()
    assert not refund(claim, key=key).apply().already_done
    assert refund(claim, key=key).apply().already_done
    assert "given back already" in refund(claim).plan().blocked
    with pytest.raises(OperationError, match="given back already"):
        refund(claim).apply()
    assert balance("u_ada") == (10, 0)
    assert len(audits(AUDIT)) == 1


def test_of_several_at_once_one_gives_back(real_database: Database) -> None:
    claim = claimed()
    outcomes = at_once(*(refund(claim).apply for _ in range(3)))
    assert len([one for one in outcomes if isinstance(one, Result)]) == 1
    assert all("given back already" in str(o) for o in outcomes if not isinstance(o, Result))
    assert balance("u_ada") == (10, 0)


@pytest.mark.django_db
def test_a_claim_that_succeeded_since_it_was_looked_at_keeps_its_lead() -> None:
    claim = claimed()
    operation = refund(claim)
    seen = operation.plan().digest
    LeadClaim.objects.filter(pk=claim.pk).update(status="succeeded")
    with pytest.raises(OperationError, match="its credits bought the lead"):
        operation.apply(seen=seen)
    assert balance("u_ada") == (7, 0)


@pytest.mark.django_db
def test_it_is_undone_while_the_balance_has_them() -> None:
    claim = claimed()
    operation = refund(claim)
    operation.apply()
    undo(record_of(operation.key), **BOB).apply()
    assert balance("u_ada") == (7, 0)
    assert CreditEntry.objects.get(source=f"undo:{operation.key}").delta == -3
    assert "given back already" in refund(claim).plan().blocked


@pytest.mark.django_db
def test_it_is_not_undone_once_they_are_spent() -> None:
    operation = refund(claimed(has=3))
    operation.apply()
    with acting_as("marketplace"), connection.cursor() as cursor:
        cursor.execute("UPDATE lead_credits SET balance = 1 WHERE user_id = 'u_ada'")
    with pytest.raises(OperationError, match="were spent"):
        undo(record_of(operation.key), **BOB).apply()
    assert balance("u_ada") == (1, 0)


@pytest.mark.django_db
def test_its_record_builds_it_again() -> None:
    operation = refund(claimed())
    operation.apply()
    again = rebuild(record_of(operation.key))
    assert again.parameters() == operation.parameters()
    assert again.apply().already_done


@pytest.mark.django_db
def test_many_claims_are_one_job_that_leaves_out_what_cannot_be() -> None:
    failed, kept = [claimed(), claimed()], made(status="succeeded")
    targets = [f"claim:{claim.pk}" for claim in (*failed, kept)]
    job = bulk.draft(RefundClaim, targets, answers={}, actor=Actor.cli("bob"))
    bulk.start(job, answers={}, actor=Actor.cli("bob"), reason="Outage", reason_code="other")
    while bulk.work(job.pk, seconds=30):
        pass
    assert [item.status for item in job.items.order_by("id")] == ["done", "done", "skipped"]
    assert balance("u_ada") == (20, 0)

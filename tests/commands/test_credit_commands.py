"""The commands on purchases, claims and people: their plans, answers and exit codes."""

import pytest

from billing.models import BillingEvent, CreditEntry, LeadClaim, OperationRecord, Purchase
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance, past_triggers

pytestmark = pytest.mark.django_db
WHY = ("--reason", "The customer called", "--reason-code", "data_repair", "--ticket", "T-3")


def nothing_was_written() -> bool:
    manual = BillingEvent.objects.filter(type__startswith="manual.")
    return not (OperationRecord.objects.exists() or manual.exists())


def test_a_purchase_is_shown_then_granted(run: Run, shop: Shop) -> None:
    session = shop.buy()["checkout_session"]
    shown = run("grant_purchase", session, "--dry-run")
    assert shown.code == 0
    assert "  Balance: 0 -> 50" in shown.stdout
    assert f"  Purchase {session}: not here -> granted" in shown.stdout
    assert not Purchase.objects.exists()
    assert nothing_was_written()

    done = run("grant_purchase", session, *WHY, "--actor", "sue", "--json")
    assert (done.code, done.document["result"]["details"]["amount"]) == (0, 50)
    [audit] = audits("manual.credit_adjustment")
    assert (audit["admin"], audit["reason_code"], audit["ticket"]) == (
        "cli:sue", "data_repair", "T-3",
    )  # fmt: skip
    again = run("grant_purchase", session, *WHY, "--key", done.document["key"], "--json")
    assert again.document["result"]["already_done"] is True
    assert run("grant_purchase", session, *WHY).code == 1
    assert balance("u_ada") == (50, 0)


def test_nobodys_purchase_is_granted_to_whom_is_named(run: Run, shop: Shop) -> None:
    session = shop.buy(attributed=False)["checkout_session"]
    blocked = run("grant_purchase", session, "--dry-run", "--json")
    assert (blocked.code, blocked.document["status"]) == (1, "attention")
    assert "name the user" in blocked.error
    assert run("grant_purchase", session, "--user", "u_ada", *WHY).code == 0
    assert balance("u_ada") == (50, 0)


def test_a_payment_is_attributed(run: Run, shop: Shop) -> None:
    session = shop.buy(attributed=False)["checkout_session"]
    shop.deliver()
    shown = run("attribute_payment", session, "u_ada", "--dry-run", "--json")
    assert shown.document["plan"]["blocked"] == ""
    assert nothing_was_written()
    done = run("attribute_payment", session, "u_ada", *WHY, "--json")
    assert (done.code, done.document["result"]["details"]["granted"]) == (0, 50)
    assert balance("u_ada") == (50, 0)


def test_a_claims_credits_are_given_back(run: Run) -> None:
    claim = LeadClaim.objects.create(user_id="u_ada", credits_spent=2, status="failed")
    shown = run("refund_claim", str(claim.pk), "--dry-run")
    assert "  Balance: 0 -> 2" in shown.stdout
    assert "  warning: No debit of 2 credits" in shown.stdout
    assert not CreditEntry.objects.exists()
    assert run("refund_claim", str(claim.pk), *WHY).code == 0
    assert run("refund_claim", str(claim.pk), *WHY).code == 1
    assert balance("u_ada") == (2, 0)


def test_a_balance_is_tied_out_with_its_ledger(run: Run) -> None:
    run("grant_credits", "u_ada", "50", *WHY)
    past_triggers("UPDATE lead_credits SET balance = 10")
    shown = run("tie_out_balance", "u_ada", "--dry-run")
    assert "  Balance: 10 -> 50" in shown.stdout
    assert "  Entry for what the ledger never saw: none -> -40 credits, balance 10" in shown.stdout
    assert balance("u_ada") == (10, 0)
    done = run("tie_out_balance", "u_ada", *WHY, "--json")
    assert (done.code, done.document["result"]["details"]["amount"]) == (0, 40)
    again = run("tie_out_balance", "u_ada", *WHY, "--json")
    assert (again.code, again.document["status"]) == (1, "failed")
    assert "nothing to tie out" in again.error
    assert balance("u_ada") == (50, 0)


def test_a_grant_by_hand_is_taken_back(run: Run) -> None:
    key = run("grant_credits", "u_ada", "50", *WHY, "--json").document["key"]
    shown = run("take_back_credits", "u_ada", "50", "--operation", key, "--dry-run")
    assert "  Balance: 50 -> 0" in shown.stdout
    assert balance("u_ada") == (50, 0)
    assert run("take_back_credits", "u_ada", "49", "--operation", key, *WHY).code == 1
    assert run("take_back_credits", "u_ada", "50", "--operation", key, *WHY).code == 0
    assert run("take_back_credits", "u_ada", "50", "--operation", key, *WHY).code == 1
    assert balance("u_ada") == (0, 0)


def test_a_merge_waits_for_another_person(run: Run, shop: Shop) -> None:
    kept = shop.subscribe()["customer"]
    gone = shop.subscribe(user_id="u_two")["customer"]
    shop.deliver()
    shown = run("merge_customers", kept, gone, "--dry-run")
    assert "  Credits of user u_ada: balance: 20 -> 40" in shown.stdout
    assert "  approval: " in shown.stdout
    assert nothing_was_written()
    asked = run("merge_customers", kept, gone, *WHY, "--json")
    assert asked.document["result"]["requested"] is True
    assert "another person has to approve it" in asked.error
    assert balance("u_ada") == (20, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grant_purchase", "sub_1", *WHY), "cs_ or in_ or pi_"),
        (("grant_purchase", "cs_1", "--user", " ", *WHY), "user id"),
        (("grant_purchase", "cs_1"), "Give a reason"),
        (("attribute_payment", "ch_1", "u", *WHY), "cs_ or in_ or pi_"),
        (("attribute_payment", "cs_1", "", *WHY), "user id"),
        (("refund_claim", "many", *WHY), "whole number"),
        (("refund_claim", "0", *WHY), "from 1 to"),
        (("tie_out_balance", " ", *WHY), "user id"),
        (("tie_out_balance", "u" * 5000, *WHY), "user id"),
        (("tie_out_balance", "u_ada"), "Give a reason"),
        (("take_back_credits", "u", "-5", "--operation", "op_1", *WHY), "whole number"),
        (("take_back_credits", "u", "5", "--operation", "op_1", *WHY), "No operation op_1"),
        (("merge_customers", "cus_1", "cus_1", *WHY), "the same one"),
        (("merge_customers", "cus_1", "sub_1", *WHY), "begin with cus_"),
    ],
)
def test_wrong_usage_exits_with_2(run: Run, arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments, "--json")
    assert ran.code == 2
    assert said in ran.error
    assert nothing_was_written()

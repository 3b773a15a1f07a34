"""Purchases, claims and people in the admin: offered where they make sense, and applied."""

import pytest
from django.test import Client

from billing.admin.cells import changelist_url, open_url, page_url
from billing.admin.operations import PAGES
from billing.models import (
    BillingCustomer,
    CreditEntry,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    Purchase,
)
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.rows import CUSTOMER, HOSTILE, USER
from tests.admin.test_operations import address, apply, hidden, select, text_of
from tests.operations.shop import Shop, balance
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


def failed_claim(lead: str = "lead_1", **more: object) -> LeadClaim:
    return rows.claim(lead, status="failed", credits_spent=3, **more)


def test_a_claims_credits_are_given_back_from_its_page(support: Client) -> None:
    claim = failed_claim()
    link = PAGES["refund-claim"].url({"target": f"claim:{claim.pk}", "back": page_url(claim)})
    assert link.replace("&", "&amp;") in support.get(page_url(claim)).content.decode()
    shown = support.get(link)
    assert "Balance 0 3" in text_of(shown)
    assert "No debit of 3 credits" in text_of(shown)
    assert balance(USER) == (0, 0)
    done = apply(support, "refund-claim", target=f"claim:{claim.pk}", key=hidden(shown, "key")[0])
    assert "Done." in text_of(done)
    assert balance(USER) == (3, 0)

    page = text_of(support.get(page_url(claim)))
    assert "were given back already" in page
    assert "Lead claim" in page
    record = OperationRecord.objects.get()
    assert page_url(record) in support.get(page_url(claim)).content.decode()
    assert support.get(open_url(id=record.subject))["Location"] == page_url(claim)
    assert support.get(open_url(id=f"undo:{record.key}"))["Location"] == page_url(record)


@pytest.mark.parametrize("number", ["99", "x", "9" * 30, "-1"])
def test_a_claim_that_is_not_there_is_not_opened(support: Client, number: str) -> None:
    assert support.get(open_url(id=f"claim:{number}"))["Location"].endswith("/admin/")


def test_several_claims_at_once_leave_out_what_makes_no_sense(support: Client) -> None:
    claims = [failed_claim("lead_1"), failed_claim("lead_2"), rows.claim("lead_3")]
    shown = select(support, LeadClaim, "refund-claim", list(claims))
    targets = [f"claim:{claim.pk}" for claim in claims]
    assert set(hidden(shown, "target")) == set(targets[:2])
    assert "its credits bought the lead" in text_of(shown)
    done = apply(support, "refund-claim", target=targets[:2], key=hidden(shown, "key")[0])
    assert text_of(done).count("Done.") == 2
    assert balance(USER) == (6, 0)


def test_finance_looks_and_does_not_touch(log_in: LogIn) -> None:
    finance = log_in("finance")
    nobodys = rows.purchase(user_id=None, status=Purchase.Status.UNATTRIBUTED)
    offered = {
        failed_claim(): ["refund-claim"],
        nobodys: ["grant-purchase", "attribute-payment"],
        rows.customer(): ["merge-customers"],
    }
    for row, names in offered.items():
        page = finance.get(page_url(row)).content.decode()
        listed = finance.get(changelist_url(type(row))).content.decode()
        for name in names:
            assert address(name) not in page
            assert f'value="{name}"' not in listed
            assert finance.get(address(name)).status_code == 403


def test_support_may_not_merge(support: Client) -> None:
    assert address("merge-customers") not in support.get(page_url(rows.customer())).content.decode()
    response = apply(support, "merge-customers", target=CUSTOMER, gone="cus_other")
    assert response.status_code == 403
    assert not OperationRecord.objects.exists()


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    made = Shop(sandbox)
    made.deliver()
    return made


def test_a_purchase_is_granted_and_attributed_from_its_page(support: Client, shop: Shop) -> None:
    sessions = [shop.buy(attributed=False)["checkout_session"] for _ in range(2)]
    shop.deliver()
    first, second = (Purchase.objects.get(source=session) for session in sessions)
    page = text_of(support.get(page_url(first)))
    assert "Grant this purchase" in page
    assert "Attribute payment" in page
    asked = support.get(PAGES["grant-purchase"].url({"target": first.source}))
    assert "name the user" in text_of(asked)
    done = apply(support, "grant-purchase", target=first.source, user_id=USER)
    assert "Granted 50 credits to user u_ada" in text_of(done)
    done = apply(support, "attribute-payment", target=second.source, user_id=USER)
    assert "who got 50 credits" in text_of(done)
    assert balance(USER) == (100, 0)
    for row in (first, second):
        page = text_of(support.get(page_url(row)))
        assert "this purchase has its credits." in page
        assert "it is user u_ada's." in page
    assert OperationRecord.objects.filter(subject__in=sessions).count() == 2


def test_several_purchases_are_granted_at_once(support: Client, shop: Shop) -> None:
    sessions = [shop.buy(user_id=f"u_{number}")["checkout_session"] for number in range(2)]
    done = apply(support, "grant-purchase", target=sessions)
    assert text_of(done).count("Done.") == 2
    assert {LeadCredits.objects.get(user_id=f"u_{n}").balance for n in range(2)} == {50}


def test_a_merge_is_asked_for_and_waits(log_in: LogIn) -> None:
    kept = rows.customer()
    rows.customer("u_two", "cus_two")
    rows.grant("u_two", 5)
    engineer = log_in("engineer")
    assert address("merge-customers") in engineer.get(page_url(kept)).content.decode()
    asked = engineer.get(PAGES["merge-customers"].url({"target": CUSTOMER}))
    assert "Other customer" in text_of(asked)
    done = apply(engineer, "merge-customers", target=CUSTOMER, gone="cus_two")
    assert "waits for another person" in text_of(done)
    assert BillingCustomer.objects.get(stripe_customer_id="cus_two").user_id == "u_two"
    assert OperationRecord.objects.get().status == OperationRecord.Status.REQUESTED


@pytest.mark.parametrize(
    ("name", "answers", "said"),
    [
        ("grant-purchase", {"target": "sub_1"}, "is not an id that is asked for here"),
        ("grant-purchase", {"target": HOSTILE}, "is not an id that is asked for here"),
        ("attribute-payment", {"target": "cs_1", "user_id": ""}, "This field is required."),
        ("attribute-payment", {"target": "cs_1", "user_id": "x" * 300}, "at most 255 characters"),
        ("refund-claim", {"target": "x"}, "must be a whole number"),
        ("refund-claim", {"target": "404"}, "There is no claim 404"),
        ("merge-customers", {"target": CUSTOMER, "gone": CUSTOMER}, "the same one"),
        ("merge-customers", {"target": CUSTOMER, "gone": "cus_404"}, "is not here"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    log_in: LogIn, name: str, answers: dict[str, str], said: str
) -> None:
    response = apply(log_in("engineer"), name, **answers)
    assert said in text_of(response)
    assert HOSTILE not in response.content.decode()
    assert not CreditEntry.objects.exists()

"""F6: the link to a customer's own billing page, made by an agent, and called back."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import serializers

from billing.models import BillingEvent, OperationRecord
from billing.operations.base import (
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    new_key,
)
from billing.operations.billing_page import CreateBillingLink
from billing.operations.registry import rebuild, undo
from tests.admin import rows
from tests.operations.shop import BOB, audits, record_of

pytestmark = pytest.mark.django_db


def make(customer: str = rows.CUSTOMER, **more: object) -> CreateBillingLink:
    return CreateBillingLink(customer=customer, **{**BOB, **more})


def stored() -> str:
    """All that is kept of operations and in the audit log, as text."""
    kept = [*OperationRecord.objects.all(), *BillingEvent.objects.all()]
    return serializers.serialize("json", kept)


@pytest.mark.parametrize("who", [rows.CUSTOMER, rows.USER])
def test_a_link_is_made_for_a_customer_or_a_user(who: str) -> None:
    """F6: no Stripe is needed for it."""
    rows.customer()
    operation = make(who, hours="24", ticket="T-1")
    plan = operation.plan()
    assert plan.summary == (
        "Make a link to the billing page of cus_Ada (ada@example.com), good for 24 hours."
    )
    assert plan.warnings[0].endswith("give it to nobody else.")
    assert plan.calls == []
    assert not OperationRecord.objects.exists()

    result = operation.apply()
    assert result.once.startswith("http://127.0.0.1:8000/billing/")
    [payload] = audits("manual.billing_link")
    assert (payload["customer"], payload["user_id"]) == ("cus_Ada", "u_ada")
    assert (payload["reason"], payload["ticket"], payload["admin"]) == (
        "The customer called",
        "T-1",
        "cli:bob",
    )
    assert payload["expires_at"] == result.details["expires_at"]
    assert record_of(operation.key).parameters == {"customer": who, "hours": 24}


def test_the_link_is_shown_once_and_stored_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    rows.customer()
    key = new_key()
    result = make(key=key).apply()
    token = result.once.rstrip("/").rpartition("/")[2]
    for kept in (stored(), json.dumps(result.details), result.summary, caplog.text):
        assert token not in kept
        assert token.partition(".")[2] not in kept
    again = rebuild(record_of(key)).apply()
    assert (again.already_done, again.once, again.link) == (True, "", "")
    assert "make a new one if it is lost" in again.summary
    assert make().apply().once not in ("", result.once)
    assert len(audits("manual.billing_link")) == 2


def test_a_link_is_called_back_once() -> None:
    rows.customer()
    operation = make()
    operation.apply()
    back = undo(record_of(operation.key), **BOB)
    assert "it opens nothing any more" in back.plan().summary
    result = back.apply()
    assert "was called back" in result.summary
    assert result.link == ""
    assert len(audits("manual.billing_link")) == 2
    assert audits("manual.billing_link")[1]["undoes"] == operation.key
    with pytest.raises(CannotUndoError, match="has taken it back already"):
        undo(record_of(operation.key), **BOB)
    with pytest.raises(CannotUndoError, match="make a new one"):
        undo(record_of(back.key), **BOB)


def test_a_link_that_expired_need_not_be_called_back() -> None:
    rows.customer()
    operation = make(hours=1)
    operation.apply()
    in_an_hour = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    with time_machine.travel(in_an_hour), pytest.raises(CannotUndoError, match="has expired"):
        undo(record_of(operation.key), **BOB)


def test_a_deleted_customer_gets_none() -> None:
    rows.customer(deleted=True)
    assert "was deleted at Stripe" in make().plan().blocked
    with pytest.raises(BlockedError):
        make().apply()


def test_who_is_not_known_here_is_to_be_synced_first() -> None:
    for who in ("cus_nothing", "u_new"):
        with pytest.raises(OperationError, match="sync them from Stripe first"):
            make(who).apply()


def test_a_user_with_several_customers_must_be_told_apart() -> None:
    rows.customer()
    rows.customer(id_="cus_Ada2")
    with pytest.raises(OperationError, match="name one of cus_Ada, cus_Ada2"):
        make("u_ada").plan()
    assert make("cus_Ada2").apply().details["customer"] == "cus_Ada2"


@pytest.mark.parametrize("hours", [0, 169, "-1", "", "two", "1" * 5_000, "1\x00", True])
def test_wrong_hours_are_refused(hours: object) -> None:
    with pytest.raises(InvalidInputError, match="hours"):
        make(hours=hours)


@pytest.mark.parametrize("customer", ["", " ", "cus_1/../x", "x" * 5_000, "a\x00b"])
def test_a_wrong_customer_is_refused(customer: str) -> None:
    with pytest.raises(InvalidInputError):
        make(customer)

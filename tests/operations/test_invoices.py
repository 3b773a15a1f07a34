"""What can be done about an invoice: sent again, paid, marked as paid elsewhere, voided."""

from collections.abc import Callable
from typing import Any

import pytest

from billing.models import BillingInvoice, CreditEntry, OperationRecord
from billing.operations import approvals
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    OperationError,
    new_key,
)
from billing.operations.invoices import (
    InvoiceOperation,
    MarkInvoicePaid,
    PayInvoice,
    ResendInvoice,
    VoidInvoice,
)
from billing.operations.registry import rebuild, undo
from tests.operations.shop import (
    BOB,
    Shop,
    audits,
    balance,
    owing,
    record_of,
    status_here,
)
from tests.support.events import events_of

pytestmark = pytest.mark.django_db
CAROL = Actor.cli("carol")

Make = Callable[..., InvoiceOperation]


def resend(invoice: str, **more: Any) -> ResendInvoice:
    return ResendInvoice(invoice_id=invoice, **{**BOB, **more})


def pay(invoice: str, **more: Any) -> PayInvoice:
    return PayInvoice(invoice_id=invoice, **{**BOB, **more})


def mark_paid(invoice: str, **more: Any) -> MarkInvoicePaid:
    given = {"evidence": "Transfer 4711", **BOB, **more}
    return MarkInvoicePaid(invoice_id=invoice, **given)


def void(invoice: str, **more: Any) -> VoidInvoice:
    return VoidInvoice(invoice_id=invoice, **{**BOB, **more})


EACH = pytest.mark.parametrize("make", [resend, pay, mark_paid, void], ids=lambda m: m.__name__)


def unpaid(shop: Shop, how: str = "past_due") -> tuple[str, str]:
    """A subscription of ada's whose renewal was declined, and the invoice of that."""
    told = shop.sandbox.story(how, subscription=shop.subscribe()["subscription"])
    shop.deliver()
    return told["subscription"], told["invoice"]


def billed(
    shop: Shop,
    amount: int = 5000,
    *,
    currency: str = "usd",
    finalize: bool = True,
    **customer: Any,
) -> str:
    """An invoice that ada is to pay by hand."""
    customer = {"email": "ada@example.com", "metadata[user_id]": "u_ada", **customer}
    who = shop.sandbox.post("/v1/customers", customer).json()["id"]
    terms = {"customer": who, "collection_method": "send_invoice", "days_until_due": "30"}
    made = shop.sandbox.post("/v1/invoices", {**terms, "currency": currency})
    invoice = str(made.json()["id"])
    line = {"customer": who, "invoice": invoice, "amount": str(amount), "currency": currency}
    shop.sandbox.post("/v1/invoiceitems", line).raise_for_status()
    if finalize:
        shop.sandbox.post(f"/v1/invoices/{invoice}/finalize").raise_for_status()
    shop.deliver()
    return invoice


def at_stripe(shop: Shop, invoice: str) -> Any:
    return shop.sandbox.get(f"/v1/invoices/{invoice}").json()


def here(invoice: str) -> BillingInvoice:
    return BillingInvoice.objects.get(stripe_invoice_id=invoice)


def requests(shop: Shop, what: str) -> int:
    """How often an invoice was paid, sent or voided at Stripe, with success or without."""
    made = shop.sandbox.control("requests", "GET")["requests"]
    return sum(one["method"] == "POST" and one["path"].endswith(f"/{what}") for one in made)


def events(shop: Shop, type_: str) -> int:
    return sum(event["type"] == type_ for event in events_of(shop.sandbox))


def charges(shop: Shop) -> int:
    found = shop.sandbox.get("/v1/charges", limit=100).json()["data"]
    return sum(charge["status"] == "succeeded" for charge in found)


def nothing_was_written() -> bool:
    return not OperationRecord.objects.exists()


def test_an_open_invoice_is_sent_again(shop: Shop) -> None:
    invoice = billed(shop)
    operation = resend(invoice, reason_code="other", ticket="T-1")
    plan = operation.plan()
    assert plan.calls == [f"Email {invoice} to ada@example.com, 50.00 USD."]
    assert plan.changes == []
    assert plan.warnings == ["This is test mode: Stripe notes that it was sent, and sends none."]
    assert (events(shop, "invoice.sent"), nothing_was_written()) == (0, True)

    result = operation.apply()
    assert result.summary == f"{invoice} was sent again; it is open."
    assert events(shop, "invoice.sent") == 1
    [payload] = audits("manual.invoice_sent")
    customer = at_stripe(shop, invoice)["customer"]
    assert payload["invoice"] == invoice
    assert (payload["customer"], payload["user_id"]) == (customer, "u_ada")
    assert (payload["reason"], payload["reason_code"]) == ("The customer called", "other")
    assert (payload["ticket"], payload["admin"]) == ("T-1", "cli:bob")


def test_one_that_is_charged_is_not_sent_and_its_page_is_named(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    blocked = resend(invoice).plan().blocked
    assert "charged to their payment method. Retry its payment" in blocked
    assert at_stripe(shop, invoice)["hosted_invoice_url"] in blocked
    with pytest.raises(BlockedError):
        resend(invoice).apply()
    assert requests(shop, "send") == 0


def test_without_an_address_nothing_is_sent(shop: Shop) -> None:
    invoice = billed(shop, email="")
    assert "Stripe knows no address" in resend(invoice).plan().blocked


@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_letter_goes_out_once_though_the_answer_was_lost(shop: Shop, after: bool) -> None:
    invoice = billed(shop)
    shop.sandbox.control("faults", path="/v1/invoices/*/send", status=500, after=after)
    key = new_key()
    with pytest.raises(OperationError, match="could not be reached"):
        resend(invoice, key=key).apply()
    assert record_of(key).status == OperationRecord.Status.FAILED
    assert audits("manual.invoice_sent") == []
    shop.sandbox.control("faults", "DELETE")

    assert not resend(invoice, key=key).apply().already_done
    assert events(shop, "invoice.sent") == 1
    assert len(audits("manual.invoice_sent")) == 1


def test_a_payment_is_retried_and_brings_what_a_payment_brings(shop: Shop) -> None:
    subscription, invoice = unpaid(shop)
    assert (status_here(subscription), balance("u_ada")) == ("past_due", (20, 0))
    operation = pay(invoice)
    plan = operation.plan()
    assert plan.calls == [
        f"Pay {invoice}: charge 29.00 USD to the customer's default payment method."
    ]
    assert [(change.label, change.before, change.after) for change in plan.changes] == [
        (f"Invoice {invoice}: status", "open", "paid"),
        (f"Invoice {invoice}: amount_paid", "0.00 USD", "29.00 USD"),
        (f"Subscription {subscription}: status", "past_due", "active"),
        ("Credits of user u_ada: balance", "20", "40"),
    ]
    assert plan.warnings[0].startswith("Stripe tries again by itself on ")
    assert plan.digest == pay(invoice).plan().digest
    assert (requests(shop, "pay"), nothing_was_written()) == (0, True)

    result = operation.apply()
    assert (result.summary, result.warnings) == (f"{invoice} is paid.", [])
    assert at_stripe(shop, invoice)["status"] == "paid"
    assert (here(invoice).status, status_here(subscription)) == ("paid", "active")
    assert balance("u_ada") == (40, 0)
    done = {(change.label, change.after) for change in result.changes}
    assert {(change.label, change.after) for change in plan.changes} <= done
    [payload] = audits("manual.invoice_payment")
    assert (payload["subscription"], payload["amount"]) == (subscription, 2900)
    shop.deliver()
    assert balance("u_ada") == (40, 0)


def test_what_the_user_owes_is_foreseen_too(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    owing("u_ada", 25)
    assert balance("u_ada") == (0, 5)
    operation = pay(invoice)
    foreseen = [(c.label, c.before, c.after) for c in operation.plan().changes[-2:]]
    assert foreseen == [
        ("Credits of user u_ada: balance", "0", "15"),
        ("Credits of user u_ada: owed", "5", "0"),
    ]
    operation.apply()
    assert balance("u_ada") == (15, 0)


def test_a_declined_card_says_why_and_can_be_tried_again(shop: Shop) -> None:
    subscription, invoice = unpaid(shop)
    use_card(shop, subscription, "pm_card_chargeCustomerFail")
    BillingInvoice.objects.update(number="STALE")
    key = new_key()
    with pytest.raises(OperationError) as refused:
        pay(invoice, key=key).apply()
    assert "Your card was declined. (generic decline, HTTP 402" in str(refused.value)
    assert "send the customer a link to the billing portal" in str(refused.value)
    assert record_of(key).status == OperationRecord.Status.FAILED
    assert audits("manual.invoice_payment") == []
    assert here(invoice).status == "open"
    assert here(invoice).number != "STALE"  # brought up to date all the same

    use_card(shop, subscription, "pm_card_visa")
    pay(invoice, key=key).apply()
    assert here(invoice).status == "paid"
    assert len(audits("manual.invoice_payment")) == 1


def use_card(shop: Shop, subscription: str, card: str) -> None:
    """Gives the subscription's customer another default card."""
    customer = shop.at_stripe(subscription)["customer"]
    attached = shop.sandbox.post(f"/v1/payment_methods/{card}/attach", {"customer": customer})
    method = attached.json()["id"]
    default = {"invoice_settings[default_payment_method]": method}
    shop.sandbox.post(f"/v1/customers/{customer}", default).raise_for_status()
    own = {"default_payment_method": method}
    shop.sandbox.post(f"/v1/subscriptions/{subscription}", own).raise_for_status()


def test_without_a_card_the_customer_is_sent_to_the_portal(shop: Shop) -> None:
    invoice = billed(shop)
    assert "send the customer a link to the billing portal" in pay(invoice).plan().blocked
    with pytest.raises(BlockedError):
        pay(invoice).apply()
    assert requests(shop, "pay") == 0


def test_one_that_was_written_off_can_still_be_paid(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    shop.sandbox.post(f"/v1/invoices/{invoice}/mark_uncollectible").raise_for_status()
    operation = pay(invoice)
    assert "written off as uncollectible" in operation.plan().warnings[0]
    operation.apply()
    assert here(invoice).status == "paid"


def test_an_older_invoice_does_not_make_it_active(shop: Shop) -> None:
    subscription, first = unpaid(shop, "unpaid")
    latest = shop.sandbox.story("renew", subscription=subscription)["invoice"]
    plan = pay(first).plan()
    assert f"Its subscription is unpaid, and waits for {latest} too." in plan.warnings
    assert not [change for change in plan.changes if change.label.startswith("Subscription")]


def test_a_payment_does_not_revive_what_has_ended(shop: Shop) -> None:
    subscription, invoice = unpaid(shop)
    shop.sandbox.story("cancel", subscription=subscription)
    said = "Its subscription has ended (canceled): a payment does not bring it back."
    assert said in pay(invoice).plan().warnings


def test_money_from_elsewhere_is_stated_with_its_evidence(shop: Shop) -> None:
    subscription, invoice = unpaid(shop)
    before = charges(shop)
    operation = mark_paid(invoice)
    plan = operation.plan()
    assert plan.calls == [f"Mark {invoice} as paid outside Stripe: 29.00 USD, nothing is charged."]
    assert plan.warnings[0].startswith("Nothing is charged: it is your statement that 29.00 USD")
    assert "“Transfer 4711”" in plan.warnings[0]
    assert plan.approval == ""
    assert plan.changes[-1].after == "40"
    assert nothing_was_written()

    operation.apply()
    assert at_stripe(shop, invoice)["status"] == "paid"
    assert charges(shop) == before
    assert (here(invoice).status, status_here(subscription)) == ("paid", "active")
    assert balance("u_ada") == (40, 0)
    [payload] = audits("manual.invoice_marked_paid")
    assert payload["evidence"] == "Transfer 4711"
    assert (payload["user_id"], payload["stripe_status"]) == ("u_ada", "paid")


@pytest.mark.parametrize(("currency", "most"), [("usd", 99_999), ("jpy", 999), ("kwd", 999_999)])
def test_an_amount_is_large_in_its_own_currency(shop: Shop, currency: str, most: int) -> None:
    assert mark_paid(billed(shop, most, currency=currency)).plan().approval == ""
    assert mark_paid(billed(shop, most + 1, currency=currency)).plan().approval


def test_a_large_amount_from_elsewhere_needs_a_second_person(shop: Shop) -> None:
    invoice = billed(shop, 100_000)
    operation = mark_paid(invoice)
    assert "from 1,000.00 USD another person has to approve it" in operation.plan().approval
    assert operation.apply().requested
    assert at_stripe(shop, invoice)["status"] == "open"

    record = record_of(operation.key)
    result = approvals.approve(record, actor=CAROL, words="Seen on the account")
    assert at_stripe(shop, invoice)["status"] == "paid"
    assert result.details["amount"] == 100_000
    [payload] = audits("manual.invoice_marked_paid")
    assert (payload["admin"], payload["approved_by"]) == ("cli:bob", "cli:carol")


def test_to_void_always_needs_a_second_person(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    operation = void(invoice)
    plan = operation.plan()
    assert plan.calls == [f"Void {invoice}: 29.00 USD is given up."]
    assert "another person has to approve it" in plan.approval
    assert plan.warnings[0].startswith("This cannot be taken back.")
    assert operation.apply().requested
    assert void(invoice).plan().warnings[-1] == "“void invoice” by cli:bob waits for approval."
    assert (at_stripe(shop, invoice)["status"], here(invoice).status) == ("open", "open")

    approvals.approve(record_of(operation.key), actor=CAROL, words="Yes")
    assert (at_stripe(shop, invoice)["status"], here(invoice).status) == ("void", "void")
    assert balance("u_ada") == (20, 0)
    [payload] = audits("manual.invoice_voided")
    assert (payload["invoice"], payload["stripe_status_before"]) == (invoice, "open")


def in_state(shop: Shop, state: str) -> str:
    if state == "draft":
        return billed(shop, finalize=False)
    if state == "paid":
        subscription = shop.subscribe()["subscription"]
        return str(shop.at_stripe(subscription)["latest_invoice"])
    _, invoice = unpaid(shop)
    shop.sandbox.post(f"/v1/invoices/{invoice}/void").raise_for_status()
    return invoice


@EACH
@pytest.mark.parametrize("state", ["draft", "paid", "void"])
def test_where_it_makes_no_sense_it_says_what_to_do(shop: Shop, make: Make, state: str) -> None:
    invoice = in_state(shop, state)
    operation = make(invoice)
    assert operation.plan().blocked == operation.refused[state]
    before = at_stripe(shop, invoice)
    with pytest.raises(BlockedError, match="It is "):
        operation.apply()
    assert at_stripe(shop, invoice) == before
    assert audits(operation.audit_type) == []
    assert record_of(operation.key).error == operation.refused[state]


@EACH
@pytest.mark.parametrize("invoice", ["", "sub_1", "in_1/../x", "in_" + "x" * 300])
def test_a_wrong_id_is_refused(make: Make, invoice: str) -> None:
    with pytest.raises(InvalidInputError):
        make(invoice)


@pytest.mark.parametrize("evidence", ["", " \n", "x" * 201, "a\x00b"])
def test_without_evidence_nothing_is_stated(evidence: str) -> None:
    with pytest.raises(InvalidInputError, match="evidence"):
        mark_paid("in_1", evidence=evidence)


@EACH
def test_an_unknown_id_is_said(shop: Shop, make: Make) -> None:
    operation = make("in_nothing")
    with pytest.raises(OperationError, match="does not know"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED


@pytest.mark.parametrize(
    ("make", "what"), [(pay, "pay"), (mark_paid, "pay")], ids=["pay", "mark_paid"]
)
@pytest.mark.parametrize("after", [False, True], ids=["before its effect", "after its effect"])
def test_a_request_that_fails_leaves_a_retry_that_does_it_once(
    shop: Shop, make: Make, what: str, after: bool
) -> None:
    _, invoice = unpaid(shop)
    shop.sandbox.control("faults", path=f"/v1/invoices/*/{what}", status=500, after=after)
    operation = make(invoice)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    shop.sandbox.control("faults", "DELETE")
    assert audits(operation.audit_type) == []

    result = rebuild(record_of(operation.key)).apply()
    assert not result.already_done
    assert here(invoice).status == "paid"
    assert len(audits(operation.audit_type)) == 1
    assert CreditEntry.objects.filter(kind="subscription").count() == 2
    assert charges(shop) == (2 if make is pay else 1)


def test_voiding_that_fails_after_its_effect_is_completed(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    shop.sandbox.control("faults", path="/v1/invoices/*/void", status=500, after=True)
    operation = void(invoice)
    operation.apply()
    record = record_of(operation.key)
    with pytest.raises(OperationError, match="could not be reached"):
        approvals.approve(record, actor=CAROL, words="Yes")
    shop.sandbox.control("faults", "DELETE")
    assert (at_stripe(shop, invoice)["status"], here(invoice).status) == ("void", "open")

    again = rebuild(record_of(operation.key))
    assert again.apply().summary == f"{invoice} is void."
    assert here(invoice).status == "void"
    assert len(audits("manual.invoice_voided")) == 1


def test_the_same_key_acts_once(shop: Shop) -> None:
    sent = billed(shop)
    _, owed = unpaid(shop)
    for make, invoice, what in ((resend, sent, "send"), (pay, owed, "pay")):
        key = new_key()
        assert not make(invoice, key=key).apply().already_done
        assert make(invoice, key=key).apply().already_done
        assert requests(shop, what) == 1
    assert len(audits("manual.invoice_sent")) == len(audits("manual.invoice_payment")) == 1


def test_without_stripe_nothing_happens(shop: Shop) -> None:
    _, invoice = unpaid(shop)
    shop.sandbox.stop()
    operation = pay(invoice)
    with pytest.raises(OperationError, match="could not be reached"):
        operation.apply()
    assert record_of(operation.key).status == OperationRecord.Status.FAILED
    assert here(invoice).status == "open"


def recorded(operation: InvoiceOperation) -> OperationRecord:
    """The operation's record, as if it had been applied."""
    OperationRecord.objects.create(
        key=operation.key,
        name=operation.name,
        subject=operation.subject,
        parameters=operation.parameters(),
        actor=operation.actor.name,
        reason=operation.reason,
        status=OperationRecord.Status.APPLIED,
    )
    return record_of(operation.key)


@EACH
def test_none_of_them_can_be_taken_back_and_each_says_why(make: Make) -> None:
    operation = make("in_1")
    with pytest.raises(CannotUndoError) as refused:
        undo(recorded(operation), **BOB)
    assert str(refused.value) == operation.cannot_undo


@EACH
def test_each_is_built_again_from_its_record(make: Make) -> None:
    operation = make("in_1")
    again = rebuild(recorded(operation))
    assert type(again) is type(operation)
    assert again.parameters() == operation.parameters()

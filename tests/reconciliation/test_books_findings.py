"""What only reconciliation finds: payments, refunds, events and rows that no customer misses."""

from datetime import timedelta

import pytest
from django.db import connection

from billing.diagnosis.findings import Severity
from billing.diagnosis.kinds import Kind
from billing.ingress.handled import HANDLED
from billing.models import (
    BillingPayment,
    FindingRecord,
    InboxEvent,
    InvoicePayment,
    PaymentReversal,
)
from billing.operations.base import Actor
from billing.operations.fixing import FixFinding
from billing.operations.purchases import AttributePayment
from billing.reconciliation import fixing, runs
from tests.diagnosis.planting import deliver_all_but, kinds, subscribed
from tests.operations.shop import BOB, Shop, balance
from tests.reconciliation.town import restore, run_sql
from tests.sandbox.storefront import Storefront
from tests.support.events import deliver, deliver_and_drain, events_of

pytestmark = pytest.mark.django_db
NO_GRACE = timedelta(seconds=-2)
RITA = Actor.cli("rita")


def only_finding(kind: str = "daily") -> FindingRecord:
    """What a run finds, which is one thing."""
    run = runs.reconcile(kind, actor=RITA.name, grace=NO_GRACE)
    [record] = FindingRecord.objects.filter(run=run)
    return record


def mend(record: FindingRecord) -> None:
    """Applies what is safe, after which a run finds nothing."""
    assert record.run is not None
    fixed = fixing.fix(record.run, RITA, lambda said: None)
    assert [each.subject for each in fixed.mended] == [record.subject], fixed.lines()
    assert runs.reconcile("daily", actor=RITA.name, grace=NO_GRACE).differences == {}


def paid_invoice(shop: Shop) -> str:
    """Ada pays an invoice that is worth no credits; its charge."""
    store = Storefront(shop.sandbox)
    invoice = store.invoice(store.customer(**{"metadata[user_id]": "u_ada"}))
    store.post(f"/v1/invoices/{invoice['id']}/pay")
    shop.deliver()
    return BillingPayment.objects.get().stripe_charge_id


def test_a_payment_that_never_came(shop: Shop) -> None:
    """R4: every event of the charge was lost."""
    subscribed(shop)
    shop.buy()
    deliver_all_but(shop, "charge.succeeded", "charge.updated")
    record = only_finding()
    assert (record.kind, record.severity) == (Kind.PAYMENT_DIFFERS, Severity.MONEY)
    assert (record.amount, record.currency) == (4500, "usd")
    assert "that is not here" in record.verdict
    mend(record)
    assert BillingPayment.objects.count() == 2


def test_what_is_recommended_otherwise_by_now_is_left_to_a_person(shop: Shop) -> None:
    """A run long ago said to sync; by now somebody has to decide about the balance."""
    subscribed(shop)
    run_sql("UPDATE lead_credits SET balance = balance + 1009 WHERE user_id = 'u_ada'")
    record = only_finding()
    assert record.fix is not None
    stale = {"operation": "sync_from_stripe", "params": {"kind": "user", "id": "u_ada"}}
    FindingRecord.objects.update(fix=stale)
    assert record.run is not None
    fixed = fixing.fix(record.run, RITA, lambda said: None)
    assert [each.subject for each in fixed.left] == [record.subject]
    assert (fixed.mended, fixed.failed) == ([], [])


def test_what_is_recommended_otherwise_by_now_is_done_if_it_is_safe(shop: Shop) -> None:
    """Its events came meanwhile and had no effect: it is fetched instead of replayed."""
    subscribed(shop)
    shop.buy()
    deliver_all_but(shop, "charge.succeeded", "charge.updated")
    record = only_finding()
    assert record.fix is not None
    assert record.fix["operation"] == "replay_events"
    deliver(events_of(shop.sandbox))
    InboxEvent.objects.filter(status="pending").update(status="processed")
    assert record.run is not None
    fixed = fixing.fix(record.run, RITA, lambda said: None)
    assert [each.subject for each in fixed.mended] == [record.subject]


def test_a_refund_that_touches_no_credits(shop: Shop) -> None:
    charge = paid_invoice(shop)
    shop.sandbox.story("refund", charge=charge, amount=2000)
    record = only_finding()
    assert (record.kind, record.amount) == (Kind.REVERSAL_DIFFERS, 2000)
    assert "and not here" in record.verdict
    mend(record)
    assert PaymentReversal.objects.get().amount == BillingPayment.objects.get().amount_refunded


def test_a_refund_that_failed_and_nobody_here_knows(shop: Shop) -> None:
    """Its credits are still taken, though the money stayed."""
    charge = paid_invoice(shop)
    refund = shop.sandbox.story("refund", charge=charge, amount=2000)["refund"]
    shop.deliver()
    shop.sandbox.story("fail_refund", refund=refund)
    record = only_finding()
    assert (record.kind, record.subject) == (Kind.REVERSAL_DIFFERS, refund)
    assert "failed at Stripe, succeeded" in record.verdict
    mend(record)
    assert PaymentReversal.objects.get().status == "failed"


def test_money_for_nothing_that_we_know_of(shop: Shop) -> None:
    """Somebody charged a card past Checkout and invoices."""
    form = {"amount": 990, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa"}
    shop.sandbox.post("/v1/payment_intents", form).raise_for_status()
    shop.deliver()
    record = only_finding()
    assert (record.kind, record.amount, record.fix) == (Kind.PAYMENT_UNEXPLAINED, 990, None)

    shop.sandbox.story("refund", charge=record.subject)
    shop.deliver()
    assert runs.reconcile("daily", actor=RITA.name, grace=NO_GRACE).differences == {}
    record.refresh_from_db()
    assert record.resolved_by == FindingRecord.ITSELF


def test_a_subscription_of_which_no_event_was_ever_made(shop: Shop) -> None:
    """Its sync brings which payment paid its invoice, too: else that would be one for nothing."""
    fault = shop.sandbox.control("faults", no_event=True)
    bought = shop.subscribe()
    shop.sandbox.control(f"faults/{fault['id']}", http="DELETE")
    run = runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    assert run.found
    assert fixing.fix(run, RITA, lambda said: None).left == []
    assert runs.reconcile("full", actor=RITA.name, grace=NO_GRACE).found == 0
    assert InvoicePayment.objects.get().stripe_invoice_id == bought["invoice"]


def test_every_event_of_a_lost_subscription_is_replayed(shop: Shop) -> None:
    """Once the invoice and its charge are here, the charge's finding speaks for what is lost still:
    which payment paid which invoice."""
    shop.deliver()
    bought = shop.subscribe()
    run = runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    fixing.fix(run, RITA, lambda said: None)
    handled = {event["id"] for event in events_of(shop.sandbox) if event["type"] in HANDLED}
    assert handled <= set(InboxEvent.objects.values_list("stripe_event_id", flat=True))
    assert InvoicePayment.objects.get().stripe_invoice_id == bought["invoice"]


def test_an_event_whose_object_another_fix_has_brought_is_replayed_all_the_same(
    shop: Shop,
) -> None:
    bought = shop.subscribe()
    shop.deliver()
    told = shop.sandbox.story("past_due", subscription=bought["subscription"])
    shop.deliver()
    shop.sandbox.story("pay_invoice", invoice=told["invoice"])
    run = runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    fixing.fix(run, RITA, lambda said: None)
    handled = {event["id"] for event in events_of(shop.sandbox) if event["type"] in HANDLED}
    assert handled <= set(InboxEvent.objects.values_list("stripe_event_id", flat=True))
    assert runs.reconcile("full", actor=RITA.name, grace=NO_GRACE).found == 0


def test_a_payment_of_nobody_that_was_changed_here_is_fetched_again(shop: Shop) -> None:
    bought = shop.buy()
    shop.deliver()
    amount = BillingPayment.objects.get().amount
    run_sql("UPDATE billing_payments SET amount = amount + 100")
    run = runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    differing = FindingRecord.objects.get(kind=Kind.PAYMENT_DIFFERS)
    assert differing.fix_params == {"kind": "payment", "id": differing.subject}
    fixing.fix(run, RITA, lambda said: None)
    assert BillingPayment.objects.get(stripe_charge_id=bought["charge"]).amount == amount
    assert runs.reconcile("full", actor=RITA.name, grace=NO_GRACE).found == 0


def test_what_is_left_to_a_person_is_recommended_as_things_are_after_the_fixes(
    shop: Shop,
) -> None:
    """Credits by raw SQL are to be taken back, and those of a lost pack are granted meanwhile."""
    bought = shop.subscribe()
    shop.deliver()
    shop.buy(customer=bought["customer"])
    run_sql("UPDATE lead_credits SET balance = balance + 1009 WHERE user_id = 'u_ada'")
    run = runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    [left] = fixing.fix(run, RITA, lambda said: None).left
    assert (left.kind, left.fix_params["balance"]) == (Kind.GRANTED_WITHOUT_PAYMENT, 70)
    FixFinding(finding_id=left.pk, **BOB).apply()
    assert balance("u_ada") == (70, 0)


@pytest.mark.parametrize(
    ("bought", "kind"),
    [("pack", Kind.PACK_NOT_GRANTED), ("period", Kind.NO_CREDITS_THIS_PERIOD)],
)
def test_a_grant_that_is_gone_from_the_ledger(shop: Shop, bought: str, kind: Kind) -> None:
    """The purchase says that it was granted; once the balance is as the ledger has it, the credits
    are gone, too."""
    _ = shop.buy(user_id="u_ada") if bought == "pack" else shop.subscribe()
    shop.deliver()
    before = balance("u_ada")
    restore("credit_entries", "DELETE FROM credit_entries WHERE source ~ '^(checkout|invoice):'")
    runs.reconcile("full", actor=RITA.name, grace=NO_GRACE)
    kinds_ = set(FindingRecord.objects.values_list("kind", flat=True))
    assert kinds_ == {Kind.BALANCE_DIFFERS, kind}
    for each in (Kind.BALANCE_DIFFERS, kind):
        record = FindingRecord.objects.get(kind=each)
        FixFinding(finding_id=record.pk, **BOB).apply()
    assert balance("u_ada") == before
    assert runs.reconcile("full", actor=RITA.name, grace=NO_GRACE).found == 0


def test_a_pack_of_a_guest_that_was_attributed_is_granted(shop: Shop) -> None:
    """The run that had called it nobody's looks at it once more, and at no user's ledger."""
    bought = shop.buy(email="guest@example.com", attributed=False)
    shop.deliver()
    assert only_finding("full").kind == Kind.PAYMENT_UNATTRIBUTED
    AttributePayment(purchase_id=bought["checkout_session"], user_id="u_eve", **BOB).apply()
    assert balance("u_eve") == (50, 0)
    assert runs.reconcile("full", actor=RITA.name, grace=NO_GRACE).found == 0


def test_a_row_that_stripe_does_not_know(shop: Shop) -> None:
    """W11, as the runbook had it typed: the subscription exists in our table alone."""
    subscribed(shop)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_subscriptions (user_id, stripe_subscription_id, status,"
            " price_id, current_period_end, created_at)"
            " VALUES ('u_ada', 'sub_typed', 'active', 'price_typed', now() + '1 month', now())"
        )
    run = runs.reconcile("daily", actor=RITA.name, grace=NO_GRACE)
    assert run.differences == {Kind.UNKNOWN_AT_STRIPE: 1, Kind.RAW_SQL: 1}
    record = FindingRecord.objects.get(kind=Kind.UNKNOWN_AT_STRIPE)
    assert (record.subject, record.severity) == ("sub_typed", Severity.ACCESS)
    assert run.counts["subscription"]["only_here"] == 1


def test_an_event_that_stripe_does_not_know(shop: Shop) -> None:
    """Signed with our secret, and not by Stripe."""
    subscribed(shop)
    [event] = [e for e in events_of(shop.sandbox) if e["type"] == "invoice.paid"]
    deliver_and_drain([{**event, "id": "evt_forged"}])
    record = only_finding()
    assert (record.kind, record.subject, record.fix) == (Kind.EVENT_UNKNOWN, "evt_forged", None)
    assert kinds("u_ada") == []


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_customer_whose_event_was_lost(shop: Shop, is_deleted: bool) -> None:
    """Its replay brings the row and the event: a sync would leave the event missing for ever."""
    path = f"/v1/customers/{shop.at_stripe(subscribed(shop))['customer']}"
    if is_deleted:
        shop.sandbox.request("DELETE", path).raise_for_status()
    else:
        shop.sandbox.post(path, {"email": "ada@new.example"}).raise_for_status()
    deliver_all_but(shop, "customer.deleted", "customer.updated")
    record = only_finding()
    kind = Kind.CUSTOMER_DELETED if is_deleted else Kind.CUSTOMER_DIFFERS
    assert (record.kind, (record.fix or {})["operation"]) == (kind, "replay_events")
    mend(record)

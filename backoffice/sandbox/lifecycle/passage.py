"""What happens by itself as time passes; when that is, is in `due.py`."""

from collections.abc import Callable

from backoffice.sandbox.lifecycle import (
    cards,
    changing,
    checkout,
    clocks,
    disputes,
    invoicing,
    payments,
    payouts,
    refunds,
    settings,
    subscribing,
)
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


def happen(work: Work, subject: Json, what: str) -> None:
    """Lets happen to `subject` what is due for it at the time of `work`."""
    HAPPENINGS[what](work, subject)
    work.passed(subject)


def _period_ends(work: Work, subscription: Json) -> None:
    subscribing.renew(work, subscription, at_once=False)


def _incomplete_expires(work: Work, subscription: Json) -> None:
    subscribing.expire(work, subscription)


def _cancel(work: Work, subscription: Json) -> None:
    """A scheduled cancellation; what is left of a period that was paid for is credited."""
    unused = subscription["cancel_at"] < subscribing.period_of(subscription)[1]
    if unused and subscription["status"] == "active":
        changing.final_proration(work, subscription, credit=True, invoice_now=False)
    subscribing.cancel(work, subscription)


def _collection_resumes(work: Work, subscription: Json) -> None:
    work.change(subscription, subscribing.UPDATED, pause_collection=None)


def _finalize(work: Work, invoice: Json) -> None:
    """An hour is over in which a draft could be changed."""
    if work.get("customer", invoice["customer"]) is None:
        invoicing.stop_collecting(work, invoice)
        return
    if subscription := invoicing.subscription_of(work, invoice):
        subscribing.collect(work, subscription, invoice)
    else:
        invoicing.finalize(work, invoice)
        if invoice["collection_method"] == "send_invoice":
            work.emit("invoice.sent", invoice)
        elif invoice["status"] == "open":
            invoicing.pay(work, invoice)
    _give_up_if_exhausted(work, invoice)


def _retry(work: Work, invoice: Json) -> None:
    subscription = invoicing.subscription_of(work, invoice)
    if subscription and subscription["status"] in subscribing.TERMINAL:
        invoicing.stop_collecting(work, invoice)
        return
    invoicing.pay(work, invoice, retry=True)
    _give_up_if_exhausted(work, invoice)


def _give_up_if_exhausted(work: Work, invoice: Json) -> None:
    """After the last attempt to collect, the account's setting decides on the subscription."""
    pair = invoicing.open_payment(work, invoice) if invoice["status"] == "open" else None
    subscription = invoicing.subscription_of(work, invoice)
    waits = pair is not None and pair[1]["status"] == "processing"
    if (
        invoice["status"] == "open"
        and invoice["next_payment_attempt"] is None
        and not waits
        and subscription
        and subscription["status"] == "past_due"
    ):
        subscribing.give_up(work, subscription, settings.after_retries(work))


def _overdue(work: Work, invoice: Json) -> None:
    """An invoice that was sent is not paid in time."""
    work.emit("invoice.overdue", invoice)
    subscription = invoicing.subscription_of(work, invoice)
    if subscription and subscription["status"] == "active":
        work.change(subscription, subscribing.UPDATED, status="past_due")


def _never_paid(work: Work, invoice: Json) -> None:
    _give_up_if_exhausted(work, invoice)


def _bank_answers(work: Work, charge: Json) -> None:
    """The outcome of a bank debit, for the payment and for what it pays."""
    intent = work.find("payment_intent", charge["payment_intent"])
    method = work.find("payment_method", charge["payment_method"])
    succeed = cards.debit_succeeds(method)
    sessions = work.select("checkout.session", payment_intent=intent["id"])
    paying = work.select("invoice_payment", payment_intent=intent["id"])
    if sessions:
        checkout.settle(work, sessions[0], succeed=succeed)
        return
    payments.settle(work, intent, succeed=succeed)
    if paying:
        _settle_invoice(work, paying[0], succeed=succeed)


def _settle_invoice(work: Work, payment: Json, *, succeed: bool) -> None:
    invoice = work.find("invoice", payment["invoice"])
    attempts = invoice["attempt_count"]
    if succeed:
        invoicing.payment_arrived(work, invoice, payment, attempts)
    else:
        invoicing.attempt_failed(work, invoice, attempts)
    for session in work.select("checkout.session", invoice=invoice["id"]):
        checkout.answer(work, session, succeed=succeed)
    _give_up_if_exhausted(work, invoice)


def _no_evidence(work: Work, dispute: Json) -> None:
    """Nobody answered the bank in time."""
    details = dispute["evidence_details"] | {"past_due": True}
    work.change(dispute, "charge.dispute.updated", evidence_details=details)
    disputes.close(work, dispute, won=False)


HAPPENINGS: dict[str, Callable[[Work, Json], object]] = {
    "bank_answers": _bank_answers,
    "cancel": _cancel,
    "clock_ends": clocks.delete,
    "collection_resumes": _collection_resumes,
    "finalize": _finalize,
    "incomplete_expires": _incomplete_expires,
    "never_paid": _never_paid,
    "no_evidence": _no_evidence,
    "overdue": _overdue,
    "pay_out": payouts.pay_out,
    "payout_arrives": payouts.arrive,
    "payout_leaves": payouts.leave,
    "period_ends": _period_ends,
    "refund_arrives": refunds.complete,
    "retry": _retry,
    "session_expires": checkout.expire,
    "trial_will_end": subscribing.announce_trial_end,
}

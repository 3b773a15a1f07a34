"""When something next happens to an object by itself: a pure function of the object.

What then happens is in `lifecycle/passage.py`. Times are epoch seconds, spans are seconds.
"""

from collections.abc import Callable, Iterator

from backoffice.sandbox.types import Json

HOUR = 3600
DAY = 24 * HOUR
INCOMPLETE_LASTS = 23 * HOUR
"""How long the first invoice of an `incomplete` subscription can be paid."""
TRIAL_NOTICE = 3 * DAY
"""How long before its end Stripe announces the end of a trial."""
BANK_TAKES = 4 * DAY
"""How long a bank takes to answer a debit."""
REFUND_TAKES = DAY
"""How long a `pending` refund is on its way."""
PAYOUT_WAITS = 6 * HOUR
"""How long a payout is `pending`, before the bank is told."""
LAST_DEADLINE = 30 * DAY
"""How long after its due date an invoice sent to a customer ends its subscription."""

Due = tuple[int, str]
"""A time, and the name of what happens then."""
PASSING = frozenset({"trial_will_end", "overdue", "never_paid"})
"""What leaves no trace on the object: once its time is over, it is not due any more."""


def _subscription(subscription: Json) -> Iterator[Due]:
    status = subscription["status"]
    if status in ("canceled", "incomplete_expired"):
        return
    if status == "incomplete":
        yield subscription["created"] + INCOMPLETE_LASTS, "incomplete_expires"
        return
    if subscription["cancel_at"]:
        yield subscription["cancel_at"], "cancel"
    paused = subscription["pause_collection"]
    if paused and paused["resumes_at"]:
        yield paused["resumes_at"], "collection_resumes"
    if status == "trialing":
        yield subscription["trial_end"] - TRIAL_NOTICE, "trial_will_end"
    if status != "paused":
        yield subscription["items"]["data"][0]["current_period_end"], "period_ends"


def _invoice(invoice: Json) -> Iterator[Due]:
    if invoice["status"] == "draft" and invoice["automatically_finalizes_at"]:
        yield invoice["automatically_finalizes_at"], "finalize"
    elif invoice["status"] == "open":
        if invoice["next_payment_attempt"]:
            yield invoice["next_payment_attempt"], "retry"
        if invoice["collection_method"] == "send_invoice" and invoice["due_date"]:
            yield invoice["due_date"], "overdue"
            yield invoice["due_date"] + LAST_DEADLINE, "never_paid"


def _charge(charge: Json) -> Iterator[Due]:
    if charge["status"] == "pending":
        yield charge["created"] + BANK_TAKES, "bank_answers"


def _payout(payout: Json) -> Iterator[Due]:
    if payout["status"] == "pending":
        yield payout["created"] + PAYOUT_WAITS, "payout_leaves"
    elif payout["status"] == "in_transit":
        yield payout["arrival_date"], "payout_arrives"


def _payout_schedule(schedule: Json) -> Iterator[Due]:
    if schedule["next"]:
        yield schedule["next"], "pay_out"


def _refund(refund: Json) -> Iterator[Due]:
    if refund["status"] == "pending":
        yield refund["created"] + REFUND_TAKES, "refund_arrives"


def _session(session: Json) -> Iterator[Due]:
    if session["status"] == "open":
        yield session["expires_at"], "session_expires"


def _dispute(dispute: Json) -> Iterator[Due]:
    if dispute["status"].endswith("needs_response"):
        yield dispute["evidence_details"]["due_by"], "no_evidence"


def _test_clock(clock: Json) -> Iterator[Due]:
    yield clock["deletes_after"], "clock_ends"


KINDS: dict[str, Callable[[Json], Iterator[Due]]] = {
    "charge": _charge,
    "checkout.session": _session,
    "dispute": _dispute,
    "invoice": _invoice,
    "payout": _payout,
    "payout_schedule": _payout_schedule,
    "refund": _refund,
    "subscription": _subscription,
    "test_helpers.test_clock": _test_clock,
}


def next_due(subject: Json, since: int) -> Due | None:
    """What happens to `subject` next, or None; what is `PASSING` only at `since` or later."""
    falls_due = KINDS.get(subject["object"])
    if falls_due is None:
        return None
    coming = [due for due in falls_due(subject) if due[0] >= since or due[1] not in PASSING]
    return min(coming, key=lambda due: due[0], default=None)

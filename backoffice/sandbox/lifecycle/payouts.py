"""The account's balance, and the payouts that empty it: made, on their way, paid or failed.

Automatic payouts are made at 0:00 UTC of every day, for everything that is available and was not
paid out before, one a currency; a negative balance waits for what comes in. Weekends and bank
holidays are days like others. What a payout takes leaves the available balance at once.
"""

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle.money import DAY, SETTLEMENT
from backoffice.sandbox.shapes.payouts import BANK_ACCOUNT_ID
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

SCHEDULE = "payout_schedule"
ARRIVES_AFTER = 2
"""Days, the day of the payout counted as none, after which it arrives."""
FAILURES = {
    "account_closed": "The bank account has been closed.",
    "account_frozen": "The bank account has been frozen.",
    "could_not_process": "The bank could not process this payout.",
    "declined": "The bank has declined this payout. Please contact the bank before retrying.",
    "invalid_account_number": "The routing number seems correct, but the account number is"
    " invalid.",
    "no_account": "The bank account details on file are probably incorrect. No bank account could"
    " be found with those details.",
}
UNPAID = "kind = 'balance_transaction' AND payout IS NULL"
"""What no automatic payout contains."""
AVAILABLE = (
    "UPDATE objects SET status = 'available',"
    ' json = replace(json, \'"status":"pending"\', \'"status":"available"\')'
    " WHERE kind = 'balance_transaction' AND status = 'pending'"
    " AND json_extract(json, '$.available_on') <= ?"
)


def release(work: Work) -> None:
    """Makes balance transactions whose day has come `available`.

    Those of a test clock's customers also when it has come by the clock, if this work is about it.
    """
    work.flush()
    work.store.db.execute(AVAILABLE, [work.events_at or work.now])
    if work.clock:
        work.store.db.execute(f"{AVAILABLE} AND clock = ?", [work.now, work.clock])


def totals(work: Work, status: str) -> dict[str, int]:
    """What is `available` or `pending` on the balance, by currency; the account's own is named."""
    release(work)
    rows = work.store.rows(
        "SELECT json_extract(json, '$.currency'), sum(json_extract(json, '$.net'))"  # noqa: S608
        f" FROM objects WHERE {UNPAID} AND status = ? GROUP BY 1",
        [status],
    )
    return {SETTLEMENT: 0, **dict(rows)}


def set_schedule(work: Work, *, daily: bool) -> None:
    """Begins with the automatic payouts at the end of this day, or ends them."""
    kept = work.stored(SCHEDULE)
    schedule = kept.value if kept else work.add(shapes.payout_schedule(SCHEDULE, work.now))
    midnight = (work.now // DAY + 1) * DAY
    work.change(schedule, next=(schedule["next"] or midnight) if daily else None)


def pay_out(work: Work, schedule: Json) -> None:
    """The automatic payouts of a day."""
    work.change(schedule, next=schedule["next"] + DAY)
    for currency, amount in totals(work, "available").items():
        if amount > 0:
            _pay_out_everything(work, amount, currency)


def _pay_out_everything(work: Work, amount: int, currency: str) -> None:
    payout = make(work, amount, currency)
    work.flush()
    work.store.db.execute(
        f"UPDATE objects SET payout = ? WHERE {UNPAID} AND status = 'available'"  # noqa: S608
        " AND json_extract(json, '$.currency') = ?",
        [payout["id"], currency],
    )


def create(work: Work, amount: int, currency: str, **given: object) -> Json:
    """A payout by hand; Stripe's error where that much is not available."""
    if amount > totals(work, "available").get(currency, 0):
        raise ApiError(
            400,
            "You have insufficient funds in your Stripe account for this transfer. Your card "
            "balance is too low. You can use the /v1/balance endpoint to view your Stripe balance.",
            code="balance_insufficient",
        )
    return make(
        work, amount, currency, automatic=False, reconciliation_status="not_applicable", **given
    )


def make(work: Work, amount: int, currency: str, **given: object) -> Json:
    """A new payout, automatic unless said otherwise; emits `payout.created`."""
    if work.get("bank_account", BANK_ACCOUNT_ID) is None:
        work.add(shapes.bank_account(SETTLEMENT))
    payout = work.add(
        shapes.payout(
            work.new_id("po_"),
            work.now,
            amount=amount,
            arrival_date=(work.now // DAY + ARRIVES_AFTER) * DAY,
            currency=currency,
            **given,
        )
    )
    booked = _book(work, payout, -amount, "payout", payout["description"] or "STRIPE PAYOUT")
    work.change(payout, balance_transaction=booked["id"])
    work.emit("payout.created", payout)
    return payout


def _book(work: Work, payout: Json, amount: int, kind: str, description: str) -> Json:
    """The movement of a payout on the balance, which is available at once."""
    return work.add(
        shapes.balance_transaction(
            work.new_id("txn_"),
            work.now,
            amount=amount,
            currency=payout["currency"],
            description=description,
            reporting_category="payout" if amount < 0 else "payout_reversal",
            source=payout["id"],
            status="available",
            type=kind,
        )
    )


def leave(work: Work, payout: Json) -> None:
    """A payout is given to the bank; what an automatic one contains is complete then."""
    work.change(payout, "payout.updated", status="in_transit")
    if payout["automatic"]:
        work.change(payout, reconciliation_status="completed")
        work.emit("payout.reconciliation_completed", payout)


def arrive(work: Work, payout: Json) -> None:
    """A payout arrives."""
    trace = {"status": "supported", "value": payout["id"][-15:].upper()}
    work.change(payout, "payout.updated", status="paid", trace_id=trace)
    work.emit("payout.paid", payout)


def cancel(work: Work, payout: Json) -> None:
    """Cancels a payout by hand that the bank does not know of yet; Stripe's error otherwise."""
    if payout["automatic"]:
        raise invalid("Automatic payouts cannot be canceled.")
    if payout["status"] != "pending":
        raise invalid(
            f"Payouts can only be canceled while they are pending; this one is {payout['status']}."
        )
    _give_back(work, payout, "payout_cancel", status="canceled")
    work.emit("payout.canceled", payout)


def fail(work: Work, payout: Json, code: str = "account_closed") -> None:
    """The bank sends a payout back; its money goes out with a later one."""
    if payout["status"] in ("canceled", "failed"):
        raise invalid(f"This payout is {payout['status']}.", "payout")
    if code not in FAILURES:
        raise invalid(f"Invalid reason: must be one of {', '.join(FAILURES)}", "reason")
    changes = {"failure_code": code, "failure_message": FAILURES[code], "status": "failed"}
    _give_back(work, payout, "payout_failure", **changes)
    work.emit("payout.failed", payout)


def _give_back(work: Work, payout: Json, kind: str, **changes: str) -> None:
    wording = "STRIPE PAYOUT CANCEL" if kind == "payout_cancel" else "STRIPE PAYOUT FAILURE"
    booked = _book(work, payout, payout["amount"], kind, wording)
    work.change(payout, "payout.updated", failure_balance_transaction=booked["id"], **changes)

"""Refunds: made, failed, and how the charge adds them up."""

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle import cards, money
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


def refund(
    work: Work,
    charge: Json,
    amount: int | None = None,
    *,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Refunds `amount` (minor units), or all that is left, and returns the refund as it was made.

    Stripe's test card for failing refunds makes it fail right after; the returned object still
    says `succeeded`, as Stripe's answer does.
    """
    amount = _refundable(charge, amount)
    method = work.get("payment_method", charge["payment_method"])
    pending = cards.behavior(method) == cards.REFUND_PENDS
    made = work.add(
        shapes.refund(
            work.new_id("re_"),
            work.now,
            amount=amount,
            charge=charge["id"],
            currency=charge["currency"],
            customer=charge["customer"],
            metadata=metadata or {},
            payment_intent=charge["payment_intent"],
            payment_method=charge["payment_method"],
            reason=reason,
            status="pending" if pending else "succeeded",
        )
    )
    booked = money.book(
        work,
        made,
        -amount,
        charge["currency"],
        kind="refund",
        category="refund",
        description="REFUND FOR CHARGE",
    )
    work.change(made, balance_transaction=booked["id"])
    refunded = charge["amount_refunded"] + amount
    work.change(charge, amount_refunded=refunded, refunded=refunded == charge["amount"])
    work.emit("refund.created", made)
    work.emit(
        "charge.refunded",
        charge,
        {"amount_refunded": refunded - amount}
        | ({"refunded": False} if charge["refunded"] else {}),
    )
    if not pending:
        _tell_reference(work, made)
    answered = dict(made)
    if cards.behavior(method) == cards.REFUND_FAILS:
        fail(work, made)
    return answered


def _tell_reference(work: Work, made: Json) -> None:
    """The acquirer's reference arrives: `refund.updated`."""
    card = made["destination_details"]["card"] | {
        "reference": made["id"][-11:].upper(),
        "reference_status": "available",
    }
    details = made["destination_details"] | {"card": card}
    previous = {"destination_details": {"card": {"reference": None, "reference_status": "pending"}}}
    work.change(made, destination_details=details)
    work.emit("refund.updated", made, previous)
    work.emit("charge.refund.updated", made, previous)


def _refundable(charge: Json, amount: int | None) -> int:
    """The amount to refund; Stripe's error where that much cannot be refunded."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["refunded"] or (left == 0 and charge["amount_refunded"]):
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(400, message, code="charge_already_refunded")
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise invalid(f"Charge {charge['id']} has not succeeded and cannot be refunded.")
    if charge["disputed"]:
        message = f"Charge {charge['id']} has been charged back; cannot issue a refund."
        raise ApiError(400, message, code="charge_disputed")
    wanted = left if amount is None else amount
    if wanted > left:
        raise invalid(
            f"Refund amount ({shown(wanted, charge)}) is greater than unrefunded amount on "
            f"charge ({shown(left, charge)})",
            "amount",
        )
    if wanted < 1:
        raise invalid("Invalid positive integer", "amount", "parameter_invalid_integer")
    return wanted


def shown(amount: int, charge: Json) -> str:
    """An amount as Stripe's messages show it."""
    digits = money.exponent(charge["currency"])
    sign = {"usd": "$", "eur": "€", "jpy": "¥"}.get(charge["currency"], "")
    return f"{sign}{amount / 10**digits:.{digits}f}"


def complete(work: Work, made: Json) -> None:
    """A pending refund arrives."""
    work.change(made, "refund.updated", status="succeeded")
    _tell_reference(work, made)


def fail(work: Work, made: Json, reason: str = "expired_or_canceled_card") -> None:
    """The bank sends the money back: the charge counts as paid again by that much."""
    _take_back(work, made, "failed", failure_reason=reason)
    work.emit("refund.failed", made)


def cancel(work: Work, made: Json) -> None:
    """Cancels a refund that has not left yet."""
    _take_back(work, made, "canceled")


def _take_back(work: Work, made: Json, status: str, **changes: str) -> None:
    charge = work.find("charge", made["charge"])
    category = "refund_failure" if status == "failed" else "refund"
    booked = money.book(
        work,
        made,
        made["amount"],
        made["currency"],
        kind="refund_failure",
        category=category,
        description="REFUND FAILURE FOR CHARGE",
    )
    work.change(charge, amount_refunded=charge["amount_refunded"] - made["amount"], refunded=False)
    work.change(
        made,
        "refund.updated",
        failure_balance_transaction=booked["id"],
        status=status,
        **changes,
    )
    work.emit("charge.refund.updated", made)

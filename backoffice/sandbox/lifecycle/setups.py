"""Setup intents: a payment method is checked, and kept for payments to come."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.lifecycle import cards, payments, people
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


def create_intent(work: Work, **given: Any) -> Json:
    """A new setup intent; emits `setup_intent.created`."""
    intent = work.add(shapes.setup_intent(work.new_id("seti_"), work.now, **given))
    work.emit("setup_intent.created", intent)
    return intent


def confirm(work: Work, intent: Json, method: Json) -> bool:
    """Checks `method` and attaches it to the intent's customer; whether the bank agreed."""
    if cards.behavior(method) in cards.REFUSED_ON_ATTACH:
        decline = cards.DECLINES[cards.behavior(method)]
        work.change(
            intent,
            last_setup_error=payments.error_of(decline, method),
            payment_method=None,
            status="requires_payment_method",
        )
        work.emit("setup_intent.setup_failed", intent)
        return False
    if customer := work.get("customer", intent["customer"]):
        people.attach(work, method, customer)
    work.change(intent, last_setup_error=None, payment_method=method["id"], status="succeeded")
    work.emit("setup_intent.succeeded", intent)
    return True


def cancel(work: Work, intent: Json, reason: str | None) -> None:
    """Cancels an intent that has not succeeded; emits `setup_intent.canceled`."""
    work.change(intent, cancellation_reason=reason, status="canceled")
    work.emit("setup_intent.canceled", intent)

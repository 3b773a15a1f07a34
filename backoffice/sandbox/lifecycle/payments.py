"""Payment intents and charges: confirm, capture, settle, cancel."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.lifecycle import cards, disputes, money
from backoffice.sandbox.lifecycle.cards import Decline
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


def create_intent(work: Work, amount: int, currency: str, **given: Any) -> Json:
    """A new payment intent; emits `payment_intent.created`."""
    intent = work.add(
        shapes.payment_intent(
            work.new_id("pi_"), work.now, amount=amount, currency=currency, **given
        )
    )
    work.emit("payment_intent.created", intent)
    return intent


def confirm(work: Work, intent: Json, method: Json, decline: Decline | None = None) -> bool:
    """Tries to charge `method`; whether that worked, or is on its way (`processing`).

    `decline` makes a good card fail.
    """
    decline = decline or cards.decline_of(work, method)
    work.change(intent, payment_method=method["id"], last_payment_error=None)
    if decline:
        _fail(work, intent, method, decline)
        return False
    if method["type"] != "card":
        _process(work, intent, method)
        return True
    manual = intent["capture_method"] == "manual"
    charge = _charge(work, intent, method, captured=not manual)
    if manual:
        work.change(
            intent,
            latest_charge=charge["id"],
            status="requires_capture",
            amount_capturable=intent["amount"],
        )
        work.emit("charge.succeeded", charge)
        work.emit("payment_intent.amount_capturable_updated", intent)
    else:
        _succeed(work, intent, charge, "charge.succeeded")
    reason = cards.DISPUTES.get(cards.behavior(method))
    if reason:
        disputes.open_dispute(
            work, charge, reason=reason, inquiry=cards.behavior(method) == cards.INQUIRY
        )
    return True


def _charge(work: Work, intent: Json, method: Json, **given: Any) -> Json:
    """A charge for the intent's amount."""
    captured = given.get("captured", True)
    return work.add(
        shapes.charge(
            work.new_id("ch_"),
            work.now,
            amount=intent["amount"],
            amount_captured=intent["amount"] if captured else 0,
            billing_details=_billing_details(work, intent, method),
            currency=intent["currency"],
            customer=intent["customer"],
            description=intent["description"],
            metadata=intent["metadata"],
            payment_intent=intent["id"],
            payment_method=method["id"],
            payment_method_details=cards.charge_details(method, intent["amount"]),
            receipt_email=intent["receipt_email"],
            shipping=intent["shipping"],
            **given,
        )
    )


def _billing_details(work: Work, intent: Json, method: Json) -> Json:
    """Those of the payment method; without an address there, with the customer's."""
    details: Json = method["billing_details"]
    customer = work.get("customer", intent["customer"])
    if customer and customer["address"] and not any(details["address"].values()):
        return details | {"address": customer["address"]}
    return details


def _succeed(work: Work, intent: Json, charge: Json, event: str, amount: int | None = None) -> None:
    """The money of a charge was taken; emits `event` for it and `payment_intent.succeeded`.

    A card that is captured asynchronously is booked later: see `finish_capture`.
    """
    received = intent["amount"] if amount is None else amount
    work.change(
        charge,
        amount_captured=received,
        captured=True,
        paid=True,
        receipt_url=f"{work.base_url}/r/{charge['id']}",
        status="succeeded",
    )
    if not _captured_later(intent, charge):
        work.change(charge, balance_transaction=_book(work, charge)["id"])
    work.change(
        intent,
        amount_capturable=0,
        amount_received=received,
        latest_charge=charge["id"],
        processing=None,
        status="succeeded",
    )
    work.emit(event, charge)
    work.emit("payment_intent.succeeded", intent)


def _captured_later(intent: Json, charge: Json) -> bool:
    by_card = charge["payment_method_details"]["type"] == "card"
    return by_card and bool(intent["capture_method"] == "automatic_async")


def _book(work: Work, charge: Json) -> Json:
    """The balance transaction of what was captured."""
    return money.book(
        work,
        charge,
        charge["amount_captured"],
        charge["currency"],
        kind="charge",
        category="charge",
        fee=None,
        description=charge["description"],
    )


def finish_capture(work: Work, intent: Json) -> None:
    """Books a charge that was captured asynchronously; emits `charge.updated`.

    Stripe does so shortly after it has answered that the payment succeeded.
    """
    charge = work.get("charge", intent["latest_charge"])
    if intent["status"] == "succeeded" and charge and charge["balance_transaction"] is None:
        work.change(charge, "charge.updated", balance_transaction=_book(work, charge)["id"])


def _process(work: Work, intent: Json, method: Json) -> None:
    """Starts a bank debit, whose outcome comes days later."""
    charge = _charge(work, intent, method, captured=True, paid=False, status="pending")
    work.change(intent, latest_charge=charge["id"], processing=None, status="processing")
    work.emit("charge.pending", charge)
    work.emit("payment_intent.processing", intent)


def settle(work: Work, intent: Json, *, succeed: bool) -> None:
    """The outcome of a payment intent that is `processing`."""
    charge = work.find("charge", intent["latest_charge"])
    if succeed:
        _succeed(work, intent, charge, "charge.succeeded")
        return
    method = work.find("payment_method", intent["payment_method"])
    _mark_failed(work, intent, charge, method, cards.BANK_REFUSED)


def _fail(work: Work, intent: Json, method: Json, decline: Decline) -> None:
    charge = _charge(work, intent, method, captured=False, paid=False)
    _mark_failed(work, intent, charge, method, decline)


def _mark_failed(work: Work, intent: Json, charge: Json, method: Json, decline: Decline) -> None:
    outcome = charge["outcome"] | {
        "network_status": "declined_by_network",
        "network_decline_code": "01",
        "reason": decline.decline_code or decline.code,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }
    work.change(
        charge,
        amount_captured=0,
        captured=False,
        failure_code=decline.code,
        failure_message=decline.message,
        outcome=outcome,
        paid=False,
        status="failed",
    )
    work.change(
        intent,
        last_payment_error=error_of(decline, method) | {"charge": charge["id"]},
        latest_charge=charge["id"],
        payment_method=None,
        processing=None,
        status="requires_payment_method",
    )
    work.emit("charge.failed", charge)
    work.emit("payment_intent.payment_failed", intent)


def error_of(decline: Decline, method: Json) -> Json:
    """A decline of `method` as the intent's last error shows it."""
    shown = {"decline_code": decline.decline_code} if decline.decline_code else {}
    return {
        "code": decline.code,
        **shown,
        "doc_url": "https://stripe.com/docs/error-codes/" + decline.code.replace("_", "-"),
        "message": decline.message,
        "payment_method": dict(method),
        "type": "card_error",
    }


def capture(work: Work, intent: Json, amount: int | None = None) -> None:
    """Takes money that was authorised; the rest of the authorisation is released."""
    charge = work.find("charge", intent["latest_charge"])
    _succeed(work, intent, charge, "charge.captured", amount)


def cancel(work: Work, intent: Json, reason: str | None) -> None:
    """Cancels an intent that has not succeeded; emits `payment_intent.canceled`."""
    work.change(
        intent,
        amount_capturable=0,
        canceled_at=work.now,
        cancellation_reason=reason,
        status="canceled",
    )
    work.emit("payment_intent.canceled", intent)

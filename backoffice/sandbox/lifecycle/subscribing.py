"""Subscriptions: from the first invoice through renewals to their end."""

from dataclasses import dataclass
from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.due import TRIAL_NOTICE
from backoffice.sandbox.lifecycle import invoicing, people, taxes
from backoffice.sandbox.lifecycle.calendar import period_end
from backoffice.sandbox.lifecycle.cards import Decline
from backoffice.sandbox.shapes.base import listing
from backoffice.sandbox.shapes.invoicing import line_pricing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

UPDATED = "customer.subscription.updated"
TERMINAL = ("canceled", "incomplete_expired")


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is ordered: a recurring price and how many."""

    price: Json
    quantity: int = 1
    metadata: Json | None = None
    tax_rates: tuple[Json, ...] = ()


def items_of(subscription: Json) -> list[Json]:
    """The items of a subscription."""
    items: list[Json] = subscription["items"]["data"]
    return items


def period_of(subscription: Json) -> tuple[int, int]:
    """(start, end) of the current period."""
    first = items_of(subscription)[0]
    return first["current_period_start"], first["current_period_end"]


def start(
    work: Work,
    customer: Json,
    ordered: list[Ordered],
    *,
    trial_end: int | None = None,
    **given: Any,
) -> Json:
    """A new subscription, `incomplete` or `trialing`, with no invoice yet and no event."""
    subscription = shapes.subscription(
        work.new_id("sub_"),
        work.now,
        customer=customer["id"],
        currency=ordered[0].price["currency"],
        test_clock=customer["test_clock"],
        **given,
    )
    if trial_end:
        subscription |= {
            "billing_cycle_anchor": trial_end,
            "status": "trialing",
            "trial_end": trial_end,
            "trial_start": work.now,
        }
    work.add(subscription)
    end = trial_end or period_end(work.now, work.now, ordered[0].price["recurring"])
    items = [new_item(work, subscription, order, work.now, end) for order in ordered]
    set_items(work, subscription, items)
    return subscription


def new_item(work: Work, subscription: Json, order: Ordered, begin: int, end: int) -> Json:
    """An item for what is ordered."""
    return shapes.subscription_item(
        work.new_id("si_"),
        work.now,
        order.price,
        current_period_end=end,
        current_period_start=begin,
        metadata=order.metadata or {},
        quantity=order.quantity,
        subscription=subscription["id"],
        tax_rates=list(order.tax_rates),
    )


def set_items(work: Work, subscription: Json, items: list[Json]) -> None:
    """Replaces the items."""
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    work.change(subscription, items=listing(items, url))


def subscription_lines(work: Work, subscription: Json) -> list[Json]:
    """The invoice lines of the current period."""
    begin, end = period_of(subscription)
    trial = subscription["status"] == "trialing"
    exempt = work.find("customer", subscription["customer"])["tax_exempt"]
    return [
        _period_line(work, item, begin, end, trial=trial, exempt=exempt)
        for item in items_of(subscription)
    ]


def _period_line(work: Work, item: Json, begin: int, end: int, *, trial: bool, exempt: str) -> Json:
    price = item["price"]
    each = 0 if trial else price["unit_amount"] or 0
    name = price["nickname"] or price["product"]
    return shapes.invoice_line(
        work.new_id("il_"),
        amount=each * item["quantity"],
        currency=price["currency"],
        description="Free trial" if trial else f"{item['quantity']} × {name}",
        metadata=item["metadata"],
        parent={
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        period={"end": end, "start": begin},
        pricing=line_pricing(price["id"], price["product"], each),
        quantity=item["quantity"],
        subscription=item["subscription"],
        taxes=taxes.on(each * item["quantity"], item["tax_rates"], exempt),
    )


def bill(
    work: Work,
    subscription: Json,
    reason: str,
    *,
    lines: list[Json] | None = None,
    covers: tuple[int, int] | None = None,
    **given: Any,
) -> Json:
    """A draft invoice for the current period (or for `lines`) and for what is pending."""
    customer = work.find("customer", subscription["customer"])
    pending = invoicing.collect_pending(work, customer, subscription["currency"])
    own = subscription_lines(work, subscription) if lines is None else lines
    begin, end = covers or (work.now, work.now)
    by_hand = subscription["collection_method"] == "send_invoice"
    invoice = invoicing.draft(
        work,
        customer,
        [line for _, line in pending] + own,
        subscription=subscription,
        billing_reason=reason,
        collection_method=subscription["collection_method"],
        currency=subscription["currency"],
        default_tax_rates=subscription["default_tax_rates"],
        due_date=work.now + (subscription["days_until_due"] or 30) * 86400 if by_hand else None,
        period_start=begin,
        period_end=end,
        **given,
    )
    for item, _ in pending:
        work.change(item, invoice=invoice["id"])
    work.change(subscription, latest_invoice=invoice["id"])
    return invoice


def subscribe(
    work: Work,
    customer: Json,
    ordered: list[Ordered],
    *,
    method: Json | None = None,
    trial_end: int | None = None,
    pay_now: bool = True,
    decline: Decline | None = None,
    **given: Any,
) -> Json:
    """A subscription with its first invoice; `active` once that is paid.

    A subscription whose first payment fails stays `incomplete`. One that is paid by invoice
    (`send_invoice`) is active at once.
    """
    subscription = start(work, customer, ordered, trial_end=trial_end, **given)
    by_hand = subscription["collection_method"] == "send_invoice"
    if by_hand and not trial_end:
        work.change(subscription, status="active")
    if customer["currency"] is None:
        work.change(customer, "customer.updated", currency=subscription["currency"])
    invoice = bill(work, subscription, "subscription_create")
    work.emit("customer.subscription.created", subscription)
    if trial_end and trial_end - work.now < TRIAL_NOTICE:
        announce_trial_end(work, subscription)
    if by_hand and invoice["amount_due"]:
        return subscription
    invoicing.finalize(work, invoice)
    if invoice["status"] == "open" and pay_now:
        invoicing.pay(work, invoice, method, decline=decline)
    return subscription


def renew(
    work: Work,
    subscription: Json,
    *,
    decline: Decline | None = None,
    at_once: bool = True,
    changed: Json | None = None,
) -> Json | None:
    """The end of the current period: the next one with its invoice, or the subscription's end.

    Returns the invoice, paid or not; without `at_once` it is a draft, which waits for an hour as
    at Stripe. `decline` makes its payment fail. `changed` are the previous values of what the
    caller has changed: one event tells of that, too.
    """
    changed = changed or {}
    begin, end = period_of(subscription)
    if subscription["cancel_at"] and subscription["cancel_at"] <= end:
        cancel(work, subscription)
        return None
    was_trialing = subscription["status"] == "trialing"
    if was_trialing and _ends_with_trial(work, subscription, changed):
        return None
    anchor = subscription["billing_cycle_anchor"]
    recurring = items_of(subscription)[0]["price"]["recurring"]
    later = period_end(end, anchor, recurring)
    url = subscription["items"]["url"]
    moved = [
        item | {"current_period_start": end, "current_period_end": later}
        for item in items_of(subscription)
    ]
    before = {"items": subscription["items"], "latest_invoice": subscription["latest_invoice"]}
    if was_trialing:
        before["status"] = "trialing"
        work.change(subscription, status="active")
    work.change(subscription, items=listing(moved, url))
    invoice = bill(work, subscription, "subscription_cycle", covers=(begin, end))
    work.emit(UPDATED, subscription, before | changed)
    if at_once or _stays_draft(subscription):
        collect(work, subscription, invoice, decline)
    return invoice


def _stays_draft(subscription: Json) -> bool:
    paused = subscription["pause_collection"]
    return bool(
        subscription["status"] == "unpaid" or (paused and paused["behavior"] == "keep_as_draft")
    )


def collect(work: Work, subscription: Json, invoice: Json, decline: Decline | None = None) -> None:
    """Finalises and pays a subscription's draft, as far as the subscription lets it."""
    paused = subscription["pause_collection"]
    if _stays_draft(subscription):
        work.change(invoice, auto_advance=False, automatically_finalizes_at=None)
        return
    invoicing.finalize(work, invoice)
    if invoice["status"] != "open":
        return
    if paused and paused["behavior"] == "void":
        invoicing.void(work, invoice)
    elif paused:
        invoicing.mark_uncollectible(work, invoice)
    elif subscription["collection_method"] == "charge_automatically":
        invoicing.pay(work, invoice, decline=decline)
    else:
        work.emit("invoice.sent", invoice)


def announce_trial_end(work: Work, subscription: Json) -> None:
    """Says that a trial ends soon."""
    work.emit("customer.subscription.trial_will_end", subscription)


def _ends_with_trial(work: Work, subscription: Json, changed: Json) -> bool:
    """Whether the trial ends without a payment method, and what follows then."""
    customer = work.find("customer", subscription["customer"])
    has_method = (
        subscription["default_payment_method"]
        or (customer["invoice_settings"]["default_payment_method"])
    )
    what = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if has_method or what == "create_invoice":
        return False
    if what == "cancel":
        cancel(work, subscription)
    else:
        pause(work, subscription, changed)
    return True


def pause(work: Work, subscription: Json, changed: Json | None = None) -> None:
    """The status `paused`: the trial ended without a payment method, and no invoice is made.

    `changed` is as for `renew`.
    """
    before = {"status": subscription["status"]} | (changed or {})
    work.change(subscription, status="paused")
    work.emit(UPDATED, subscription, before)
    work.emit("customer.subscription.paused", subscription)


def resume(work: Work, subscription: Json, *, keep_anchor: bool) -> Json:
    """Starts a paused subscription again with an invoice; active once that is paid."""
    anchor = subscription["billing_cycle_anchor"] if keep_anchor else work.now
    recurring = items_of(subscription)[0]["price"]["recurring"]
    begin, end = period_of(subscription)
    if not keep_anchor or end <= work.now:
        begin, end = work.now, period_end(work.now, anchor, recurring)
    moved = [
        item | {"current_period_start": begin, "current_period_end": end}
        for item in items_of(subscription)
    ]
    before = {
        name: subscription[name] for name in ("items", "latest_invoice", "billing_cycle_anchor")
    }
    work.change(
        subscription,
        billing_cycle_anchor=anchor,
        items=listing(moved, subscription["items"]["url"]),
    )
    invoice = bill(work, subscription, "subscription_update")
    invoicing.finalize(work, invoice)
    if invoice["status"] == "open" and not invoicing.pay(work, invoice):
        work.emit(UPDATED, subscription, before)
        return invoice
    work.change(subscription, status="active")
    work.emit(UPDATED, subscription, before | {"status": "paused"})
    work.emit("customer.subscription.resumed", subscription)
    return invoice


def cancel(
    work: Work, subscription: Json, *, reason: str = "cancellation_requested", **details: str
) -> None:
    """Ends a subscription now; emits `customer.subscription.deleted`.

    Its open invoices are no longer collected; the first invoice of an incomplete one is voided.
    """
    latest = work.get("invoice", subscription["latest_invoice"])
    if latest and latest["status"] == "open" and subscription["status"] == "incomplete":
        invoicing.void(work, latest)
    elif latest:
        invoicing.stop_collecting(work, latest)
    work.change(
        subscription,
        cancellation_details={"comment": None, "feedback": None, "reason": reason} | details,
        canceled_at=subscription["canceled_at"] or work.now,
        ended_at=work.now,
        status="canceled",
    )
    work.emit("customer.subscription.deleted", subscription)


def delete_customer(work: Work, customer: Json) -> Json:
    """Deletes a customer: subscriptions end, payment methods are detached."""
    for subscription in work.select("subscription", customer=customer["id"]):
        if subscription["status"] not in TERMINAL:
            cancel(work, subscription)
    for method in work.select("payment_method", customer=customer["id"]):
        people.detach(work, method)
    work.emit("customer.deleted", customer)
    return work.delete(customer)


def expire(work: Work, subscription: Json) -> None:
    """An incomplete subscription whose first invoice was not paid within 23 hours."""
    latest = work.get("invoice", subscription["latest_invoice"])
    if latest and latest["status"] == "open":
        invoicing.void(work, latest)
    work.change(subscription, UPDATED, ended_at=work.now, status="incomplete_expired")


def schedule_cancellation(work: Work, subscription: Json, cancel_at: int | None) -> None:
    """Sets or clears a cancellation at a time, as the portal does in flexible billing mode."""
    changes: Json = {"cancel_at": cancel_at, "cancel_at_period_end": False}
    work.change(subscription, UPDATED, **changes, **cancellation(work, asked=cancel_at is not None))


def cancel_at_period_end(work: Work, subscription: Json, *, wanted: bool) -> None:
    """Sets or clears a cancellation at the end of the period."""
    work.change(
        subscription,
        UPDATED,
        cancel_at=period_of(subscription)[1] if wanted else None,
        cancel_at_period_end=wanted,
        **cancellation(work, asked=wanted),
    )


def cancellation(work: Work, *, asked: bool) -> Json:
    """The fields that say that a cancellation was asked for."""
    reason = "cancellation_requested" if asked else None
    return {
        "canceled_at": work.now if asked else None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": reason},
    }


def give_up(work: Work, subscription: Json, outcome: str = "unpaid") -> None:
    """Retries are exhausted: what the account's setting makes of the subscription.

    `outcome` is `canceled`, `unpaid`, or `past_due`, which leaves it as it is.
    """
    if outcome == "canceled":
        cancel(work, subscription, reason="payment_failed")
    elif outcome == "unpaid":
        if latest := work.get("invoice", subscription["latest_invoice"]):
            invoicing.stop_collecting(work, latest)
        work.change(subscription, UPDATED, status="unpaid")

"""Changes of a running subscription, and the prorations that they make."""

from backoffice.sandbox import shapes
from backoffice.sandbox.due import TRIAL_NOTICE
from backoffice.sandbox.lifecycle import invoicing, subscribing
from backoffice.sandbox.shapes.invoicing import line_pricing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work, difference


def change_items(work: Work, subscription: Json, items: list[Json], behavior: str) -> None:
    """Gives a subscription new items.

    `behavior` is Stripe's `proration_behavior`: prorations wait for the next invoice
    (`create_prorations`), are billed at once (`always_invoice`), or are not made (`none`).
    """
    old = {item["id"]: item for item in subscribing.items_of(subscription)}
    new = {item["id"]: item for item in items}
    billed = subscription["status"] in ("active", "past_due") and behavior != "none"
    made = []
    for id_ in {**old, **new}:
        before, after = old.get(id_), new.get(id_)
        if not billed or _same_cost(before, after):
            continue
        made += [
            _proration(work, subscription, item, sign)
            for item, sign in ((before, -1), (after, 1))
            if item
        ]
    previous = {"items": subscription["items"]}
    subscribing.set_items(work, subscription, items)
    if made and behavior == "always_invoice":
        previous["latest_invoice"] = subscription["latest_invoice"]
        invoice = subscribing.bill(work, subscription, "subscription_update", lines=[])
        work.emit(subscribing.UPDATED, subscription, previous)
        invoicing.finalize(work, invoice)
        if invoice["status"] == "open":
            invoicing.pay(work, invoice)
    else:
        work.emit(subscribing.UPDATED, subscription, previous)


def _same_cost(before: Json | None, after: Json | None) -> bool:
    if before is None or after is None:
        return False
    same = before["price"]["id"] == after["price"]["id"]
    return bool(same and before["quantity"] == after["quantity"])


def _proration(work: Work, subscription: Json, item: Json, sign: int) -> Json:
    """A pending invoice item for the rest of the period: a credit (-1) or a charge (1)."""
    begin, end = subscribing.period_of(subscription)
    left = max(end - work.now, 0) / max(end - begin, 1)
    price = item["price"]
    each = round((price["unit_amount"] or 0) * left) * sign
    name = price["nickname"] or price["product"]
    wording = "Unused time on" if sign < 0 else "Remaining time on"
    details = {"subscription": subscription["id"], "subscription_item": item["id"]}
    made = work.add(
        shapes.invoice_item(
            work.new_id("ii_"),
            work.now,
            amount=each * item["quantity"],
            currency=price["currency"],
            customer=subscription["customer"],
            test_clock=subscription["test_clock"],
            description=f"{wording} {item['quantity']} × {name}",
            discountable=False,
            parent={"subscription_details": details, "type": "subscription_details"},
            period={"end": end, "start": min(work.now, end)},
            pricing=line_pricing(price["id"], price["product"], each),
            proration=True,
            quantity=item["quantity"],
            tax_rates=item["tax_rates"],
        )
    )
    work.emit("invoiceitem.created", made)
    return made


def final_proration(work: Work, subscription: Json, *, credit: bool, invoice_now: bool) -> None:
    """Credits unused time before a cancellation, and bills what is pending at once."""
    if credit:
        for item in subscribing.items_of(subscription):
            _proration(work, subscription, item, -1)
    if invoice_now:
        invoice = subscribing.bill(work, subscription, "subscription_update", lines=[])
        invoicing.finalize(work, invoice)
        if invoice["status"] == "open":
            invoicing.pay(work, invoice)


def change_trial(work: Work, subscription: Json, end: int | str) -> None:
    """Ends a trial now, or moves its end."""
    if end != "now":
        moved = [
            item | {"current_period_end": int(end)} for item in subscribing.items_of(subscription)
        ]
        work.change(
            subscription,
            subscribing.UPDATED,
            billing_cycle_anchor=int(end),
            items=subscription["items"] | {"data": moved},
            status="trialing",
            trial_end=int(end),
            trial_start=subscription["trial_start"] or work.now,
        )
        if int(end) - work.now < TRIAL_NOTICE:
            subscribing.announce_trial_end(work, subscription)
        return
    if subscription["status"] != "trialing":
        return
    ended = [item | {"current_period_end": work.now} for item in subscribing.items_of(subscription)]
    changes = {
        "billing_cycle_anchor": work.now,
        "items": subscription["items"] | {"data": ended},
        "trial_end": work.now,
    }
    before = difference(subscription, changes)
    work.change(subscription, **changes)
    subscribing.renew(work, subscription, changed=before)

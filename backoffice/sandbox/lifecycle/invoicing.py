"""Invoices: drafted, finalised, paid or not, voided, written off."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.lifecycle import payments, people, taxes
from backoffice.sandbox.lifecycle.cards import Decline
from backoffice.sandbox.shapes.base import listing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

DAY = 86400
FINALIZED_AFTER = 3600
RETRIES = (3 * DAY, 5 * DAY, 7 * DAY)
"""How long after each failed attempt an automatic payment is tried again."""
LONGEST_EMBEDDED = 10


def draft(
    work: Work, customer: Json, lines: list[Json], *, subscription: Json | None = None, **given: Any
) -> Json:
    """A draft invoice with `lines`; emits `invoice.created`.

    The invoice embeds its first ten lines; further ones are kept beside it.
    """
    invoice = shapes.invoice(
        work.new_id("in_"),
        work.now,
        customer=customer["id"],
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=customer["phone"],
        customer_shipping=customer["shipping"],
        customer_tax_exempt=customer["tax_exempt"],
        test_clock=customer["test_clock"],
        **given,
    )
    if subscription:
        details = {"metadata": subscription["metadata"], "subscription": subscription["id"]}
        invoice["parent"] = {
            "quote_details": None,
            "subscription_details": details,
            "type": "subscription_details",
        }
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = work.now + FINALIZED_AFTER
    work.add(invoice)
    _set_lines(work, invoice, lines)
    work.emit("invoice.created", invoice)
    return invoice


def _set_lines(work: Work, invoice: Json, lines: list[Json]) -> None:
    """Lines without taxes of their own get those of the invoice."""
    exempt, rates = invoice["customer_tax_exempt"], invoice["default_tax_rates"]
    for line in lines:
        line["invoice"] = invoice["id"]
        line["taxes"] = line["taxes"] or taxes.on(line["amount"], rates, exempt)
    for line in lines[LONGEST_EMBEDDED:]:
        if kept := work.get("line_item", line["id"]):
            work.change(kept, taxes=line["taxes"])
        else:
            work.add(line, parent=invoice["id"])
    subtotal = sum(line["amount"] for line in lines)
    total_taxes = taxes.added_up(lines)
    inclusive, exclusive = taxes.sums(total_taxes)
    due = max(subtotal + exclusive, 0)
    work.change(
        invoice,
        lines=listing(
            lines[:LONGEST_EMBEDDED],
            f"/v1/invoices/{invoice['id']}/lines",
            has_more=len(lines) > LONGEST_EMBEDDED,
        ),
        amount_due=due,
        amount_remaining=due,
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal - inclusive,
        total=subtotal + exclusive,
        total_excluding_tax=subtotal - inclusive,
        total_taxes=total_taxes,
    )


def all_lines(work: Work, invoice: Json) -> list[Json]:
    """Every line of an invoice, in order."""
    embedded: list[Json] = invoice["lines"]["data"]
    if not invoice["lines"]["has_more"]:
        return embedded
    return [*embedded, *work.select("line_item", parent=invoice["id"])]


def retax(work: Work, invoice: Json, rates: list[Json]) -> None:
    """Gives a draft other default tax rates; lines with tax rates of their own keep those."""
    before = [rate["id"] for rate in invoice["default_tax_rates"]]
    lines = [
        line | {"taxes": []} if taxes.ids(line["taxes"]) == before else line
        for line in all_lines(work, invoice)
    ]
    work.change(invoice, default_tax_rates=rates)
    _set_lines(work, invoice, lines)


def add_line(work: Work, invoice: Json, line: Json) -> None:
    """Adds a line to a draft."""
    _set_lines(work, invoice, [*all_lines(work, invoice), line])


def item_line(work: Work, item: Json) -> Json:
    """The invoice line that an invoice item becomes."""
    customer = work.find("customer", item["customer"])
    parent = item["parent"] or {}
    subscription = (parent.get("subscription_details") or {}).get("subscription")
    return shapes.invoice_line(
        work.new_id("il_"),
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        discountable=item["discountable"],
        metadata=item["metadata"],
        parent={
            "invoice_item_details": {
                "invoice_item": item["id"],
                "proration": item["proration"],
                "proration_details": {"credited_items": None},
                "subscription": subscription,
            },
            "subscription_item_details": None,
            "type": "invoice_item_details",
        },
        period=item["period"],
        pricing=item["pricing"],
        quantity=item["quantity"],
        subscription=subscription,
        taxes=taxes.on(item["amount"], item["tax_rates"], customer["tax_exempt"]),
    )


def collect_pending(work: Work, customer: Json, currency: str) -> list[tuple[Json, Json]]:
    """(invoice item, its new line) for each of the customer's pending items in `currency`."""
    items = [
        item
        for item in work.select("invoiceitem", customer=customer["id"])
        if item["invoice"] is None and item["currency"] == currency
    ]
    return [(item, item_line(work, item)) for item in items]


def finalize(work: Work, invoice: Json) -> Json:
    """Makes a draft official; what costs nothing is paid at once."""
    customer = work.find("customer", invoice["customer"])
    sequence = customer["next_invoice_sequence"]
    work.change(customer, next_invoice_sequence=sequence + 1)
    _apply_balance(work, invoice, customer)
    if invoice["amount_due"]:
        _request_payment(work, invoice)
    previous = {
        "status": "draft",
        "number": None,
        "effective_at": None,
        "status_transitions": {"finalized_at": None},
    }
    link = f"{work.base_url}/i/{invoice['id']}"
    work.change(
        invoice,
        automatically_finalizes_at=None,
        effective_at=work.now,
        ending_balance=customer["balance"],
        hosted_invoice_url=link,
        invoice_pdf=f"{link}/pdf",
        number=f"{customer['invoice_prefix']}-{sequence:04d}",
        status="open",
        status_transitions=invoice["status_transitions"] | {"finalized_at": work.now},
    )
    work.emit("invoice.finalized", invoice)
    work.emit("invoice.updated", invoice, previous)
    if invoice["amount_due"] == 0:
        _mark_paid(work, invoice, attempted=True)
        work.emit("invoice.paid", invoice)
        work.emit("invoice.payment_succeeded", invoice)
        _tell_subscription(work, invoice, paid=True)
    return invoice


def _apply_balance(work: Work, invoice: Json, customer: Json) -> None:
    """Settles an invoice with the customer's balance, which is negative where it is a credit.

    A negative total becomes credit, and credit pays later invoices.
    """
    before = customer["balance"]
    owed = invoice["total"] + before
    due = max(owed, 0)
    work.change(invoice, amount_due=due, amount_remaining=due, starting_balance=before)
    work.change(customer, "customer.updated", balance=min(owed, 0))


def _request_payment(work: Work, invoice: Json) -> None:
    """The payment intent and the invoice payment that will pay an invoice."""
    described = {
        "subscription_create": "Subscription creation",
        "subscription_cycle": "Subscription update",
        "subscription_update": "Subscription update",
    }.get(invoice["billing_reason"], "Payment for Invoice")
    intent = payments.create_intent(
        work,
        invoice["amount_due"],
        invoice["currency"],
        capture_method="automatic",
        customer=invoice["customer"],
        description=described,
        payment_method_options={"card": {"request_three_d_secure": "automatic"}},
        receipt_email=invoice["customer_email"],
        setup_future_usage="off_session" if invoice["parent"] else None,
    )
    work.add(
        shapes.invoice_payment(
            work.new_id("inpay_"),
            work.now,
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            invoice=invoice["id"],
            payment={"payment_intent": intent["id"], "type": "payment_intent"},
        ),
        parent=intent["id"],
    )


def open_payment(work: Work, invoice: Json) -> tuple[Json, Json] | None:
    """(invoice payment, payment intent) that is to pay an open invoice."""
    for payment in work.select("invoice_payment", invoice=invoice["id"]):
        if payment["status"] == "open":
            return payment, work.find("payment_intent", payment["payment"]["payment_intent"])
    return None


def paying_method(work: Work, invoice: Json) -> Json | None:
    """The payment method that pays an invoice when none is named."""
    id_ = invoice["default_payment_method"]
    if id_ is None and (subscription := subscription_of(work, invoice)):
        id_ = subscription["default_payment_method"]
    if found := work.get("payment_method", id_):
        return found
    customer = work.get("customer", invoice["customer"])
    return people.default_method(work, customer) if customer else None


def subscription_of(work: Work, invoice: Json) -> Json | None:
    """The subscription that an invoice bills."""
    if invoice["parent"] is None:
        return None
    return work.get("subscription", invoice["parent"]["subscription_details"]["subscription"])


def pay(
    work: Work,
    invoice: Json,
    method: Json | None = None,
    *,
    decline: Decline | None = None,
    retry: bool = False,
) -> bool:
    """Tries to pay an open (or uncollectible) invoice; whether it is paid or being paid.

    Without any payment method the attempt fails. `decline` makes a good card fail. Of several
    attempts the first and each automatic `retry` count.
    """
    method = method or paying_method(work, invoice)
    pair = open_payment(work, invoice)
    if pair is None:
        raise LookupError(f"invoice {invoice['id']} has no open payment")
    payment, intent = pair
    counts = retry or not invoice["attempted"]
    attempts = invoice["attempt_count"] + counts
    if method is None or not payments.confirm(work, intent, method, decline):
        attempt_failed(work, invoice, attempts)
        return False
    if intent["status"] == "processing":
        _being_paid(work, invoice, attempts)
        return True
    payment_arrived(work, invoice, payment, attempts)
    return True


def _being_paid(work: Work, invoice: Json, attempts: int) -> None:
    """A bank was asked to pay, and answers in some days; Stripe trusts that it will."""
    work.change(
        invoice,
        "invoice.updated",
        attempted=True,
        attempt_count=attempts,
        next_payment_attempt=None,
    )
    subscription = subscription_of(work, invoice)
    if subscription and subscription["status"] == "incomplete":
        work.change(subscription, "customer.subscription.updated", status="active")


def payment_arrived(work: Work, invoice: Json, payment: Json, attempts: int) -> None:
    """The payment of an invoice succeeded, after so many `attempts`."""
    amount = payment["amount_requested"]
    work.change(
        payment,
        amount_paid=amount,
        status="paid",
        status_transitions={"canceled_at": None, "paid_at": work.now},
    )
    _mark_paid(
        work,
        invoice,
        amount_paid=amount,
        amount_remaining=0,
        attempted=True,
        attempt_count=attempts,
    )
    work.emit("invoice.paid", invoice)
    work.emit("invoice.payment_succeeded", invoice)
    work.emit("invoice_payment.paid", payment)
    _tell_subscription(work, invoice, paid=True)


def pay_out_of_band(work: Work, invoice: Json) -> None:
    """Marks an invoice as paid outside Stripe: nothing is charged."""
    cancel_open_payment(work, invoice, None)
    _mark_paid(
        work,
        invoice,
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
    )
    work.emit("invoice.paid", invoice)
    _tell_subscription(work, invoice, paid=True)


def cancel_open_payment(work: Work, invoice: Json, reason: str | None) -> None:
    """Cancels what was to pay an invoice."""
    if pair := open_payment(work, invoice):
        payment, intent = pair
        if intent["status"] not in ("succeeded", "canceled"):
            payments.cancel(work, intent, reason)
        work.change(
            payment,
            status="canceled",
            status_transitions={"canceled_at": work.now, "paid_at": None},
        )


def _mark_paid(work: Work, invoice: Json, **changes: Any) -> None:
    work.change(
        invoice,
        "invoice.updated",
        auto_advance=False,
        next_payment_attempt=None,
        status="paid",
        status_transitions=invoice["status_transitions"] | {"paid_at": work.now},
        **changes,
    )


def attempt_failed(work: Work, invoice: Json, attempts: int) -> None:
    """An attempt to pay failed; the next one is planned if it was one of those that count."""
    counted = attempts > invoice["attempt_count"] or invoice["next_payment_attempt"] is None
    work.change(
        invoice,
        "invoice.updated",
        attempted=True,
        attempt_count=attempts,
        next_payment_attempt=_next_attempt(work, invoice, attempts)
        if counted
        else invoice["next_payment_attempt"],
    )
    work.emit("invoice.payment_failed", invoice)
    _tell_subscription(work, invoice, paid=False)


def _next_attempt(work: Work, invoice: Json, attempts: int) -> int | None:
    """When a payment is tried again, if it is; the first one of a subscription never is."""
    subscription = subscription_of(work, invoice)
    hopeless = subscription and subscription["status"] in ("incomplete", "unpaid", "canceled")
    if not hopeless and invoice["auto_advance"] and attempts <= len(RETRIES):
        return work.now + RETRIES[attempts - 1]
    return None


def _tell_subscription(work: Work, invoice: Json, *, paid: bool) -> None:
    """What a payment, or a failed one, means for the subscription and the customer."""
    subscription = subscription_of(work, invoice)
    if subscription is None:
        return
    status = subscription["status"]
    customer = work.get("customer", invoice["customer"])
    if paid and status in ("incomplete", "past_due", "unpaid"):
        work.change(subscription, "customer.subscription.updated", status="active")
    elif not paid and status in ("active", "trialing"):
        work.change(subscription, "customer.subscription.updated", status="past_due")
    if customer and status != "incomplete":
        people.mark_delinquent(work, customer, delinquent=not paid)


def void(work: Work, invoice: Json) -> None:
    """Cancels an open invoice for good."""
    cancel_open_payment(work, invoice, "void_invoice")
    work.change(
        invoice,
        "invoice.updated",
        auto_advance=False,
        next_payment_attempt=None,
        status="void",
        status_transitions=invoice["status_transitions"] | {"voided_at": work.now},
    )
    work.emit("invoice.voided", invoice)


def stop_collecting(work: Work, invoice: Json) -> None:
    """Nothing more happens to a draft or an open invoice by itself."""
    if invoice["status"] in ("draft", "open"):
        work.change(
            invoice,
            "invoice.updated",
            auto_advance=False,
            automatically_finalizes_at=None,
            next_payment_attempt=None,
        )


def mark_uncollectible(work: Work, invoice: Json) -> None:
    """Writes an open invoice off; it can still be paid."""
    work.change(
        invoice,
        "invoice.updated",
        auto_advance=False,
        next_payment_attempt=None,
        status="uncollectible",
        status_transitions=invoice["status_transitions"] | {"marked_uncollectible_at": work.now},
    )
    work.emit("invoice.marked_uncollectible", invoice)

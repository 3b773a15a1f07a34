"""Invoices, their lines and payments, and invoice items."""

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import CardError, invalid
from backoffice.sandbox.lifecycle import invoicing, people
from backoffice.sandbox.listing import PAGING, Filters, page_of, slice_of
from backoffice.sandbox.resources.catalog import price_for
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.resources.payments import declined
from backoffice.sandbox.resources.taxes import rates_named
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.shapes.invoicing import line_pricing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work, difference

retrievable("invoice", "/v1/invoices/{id}", "InvoiceRetrieveParams")
retrievable("invoice_payment", "/v1/invoice_payments/{id}", "InvoicePaymentRetrieveParams")
retrievable("invoiceitem", "/v1/invoiceitems/{id}", "InvoiceItemRetrieveParams")

INVOICE_FIELDS = "auto_advance collection_method custom_fields description due_date footer"
DAY = 86400


@api(
    "POST",
    "/v1/invoices",
    "InvoiceCreateParams",
    supports=f"{INVOICE_FIELDS} customer currency days_until_due default_payment_method metadata"
    " pending_invoice_items_behavior subscription statement_descriptor default_tax_rates",
)
def create_invoice(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["customer"])
    customer = work.find("customer", params["customer"], "customer")
    subscription = None
    if params.get("subscription"):
        subscription = work.find("subscription", params["subscription"], "subscription")
    currency = params.get("currency") or customer["currency"] or "usd"
    included = params.get("pending_invoice_items_behavior", "exclude") == "include"
    if included and not customer["currency"] and not params.get("currency"):
        waiting = [
            i for i in work.select("invoiceitem", customer=customer["id"]) if i["invoice"] is None
        ]
        currency = waiting[0]["currency"] if waiting else currency
    pending = invoicing.collect_pending(work, customer, currency) if included else []
    fields = chosen(params, f"{INVOICE_FIELDS} default_payment_method statement_descriptor")
    if days := params.get("days_until_due"):
        fields["due_date"] = work.now + days * DAY
    inherited = subscription["default_tax_rates"] if subscription else []
    rates = params.get("default_tax_rates")
    invoice = invoicing.draft(
        work,
        customer,
        [line for _, line in pending],
        default_tax_rates=inherited
        if rates is None
        else rates_named(work, rates, "default_tax_rates"),
        subscription=subscription,
        auto_advance=fields.pop("auto_advance", False),
        billing_reason="manual",
        currency=currency,
        metadata=metadata({}, params.get("metadata")),
        **fields,
    )
    for item, _ in pending:
        work.change(item, invoice=invoice["id"])
    return invoice


@api(
    "POST",
    "/v1/invoices/{id}",
    "InvoiceUpdateParams",
    supports=f"{INVOICE_FIELDS} days_until_due default_payment_method metadata"
    " statement_descriptor default_tax_rates",
)
def update_invoice(call: Call) -> Answer:
    work, params = call.work, call.params
    invoice = work.find("invoice", call.id)
    if invoice["status"] != "draft" and set(params) - {
        "auto_advance",
        "metadata",
        "default_payment_method",
        "description",
    }:
        raise invalid(
            "This invoice can no longer be edited: it is not a draft.", code="invoice_not_editable"
        )
    changes = with_metadata(
        invoice, params, f"{INVOICE_FIELDS} default_payment_method statement_descriptor"
    )
    if days := params.get("days_until_due"):
        changes["due_date"] = invoice["created"] + days * DAY
    if invoice["status"] == "draft" and "auto_advance" in changes:
        finalized = work.now + invoicing.FINALIZED_AFTER if changes["auto_advance"] else None
        changes["automatically_finalizes_at"] = finalized
    before = dict(invoice)
    work.change(invoice, **changes)
    if "default_tax_rates" in params:
        rates = rates_named(work, params["default_tax_rates"], "default_tax_rates")
        invoicing.retax(work, invoice, rates)
    if previous := difference(before, invoice):
        work.emit("invoice.updated", invoice, previous)
    return invoice


@api("DELETE", "/v1/invoices/{id}", "InvoiceDeleteParams")
def delete_invoice(call: Call) -> Answer:
    invoice = _in_status(call.work, call.id, "draft")
    if invoice["parent"]:
        raise invalid("You can't delete invoices created by subscriptions.")
    call.work.emit("invoice.deleted", invoice)
    return call.work.delete(invoice)


def _in_status(work: Work, id: str, *statuses: str) -> Json:  # noqa: A002
    invoice = work.find("invoice", id)
    if invoice["status"] not in statuses:
        wanted = " or ".join(statuses)
        raise invalid(
            f"You can only do this to an invoice that is {wanted}; {id} is {invoice['status']}.",
            code="invoice_not_editable",
        )
    return invoice


@api("POST", "/v1/invoices/{id}/finalize", "InvoiceFinalizeInvoiceParams", supports="auto_advance")
def finalize_invoice(call: Call) -> Answer:
    invoice = call.work.find("invoice", call.id)
    if invoice["status"] != "draft":
        raise invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice."
        )
    call.work.change(invoice, **chosen(call.params, "auto_advance"))
    return invoicing.finalize(call.work, invoice)


@api(
    "POST",
    "/v1/invoices/{id}/pay",
    "InvoicePayParams",
    supports="paid_out_of_band payment_method source forgive off_session",
)
def pay_invoice(call: Call) -> Answer:
    work, params = call.work, call.params
    invoice = work.find("invoice", call.id)
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid")
    if invoice["status"] == "void":
        raise invalid("Invoice is void and cannot be paid", code="invoice_not_editable")
    if invoice["status"] == "draft":
        invoicing.finalize(work, invoice)
    if invoice["status"] == "paid":
        return invoice
    if params.get("paid_out_of_band"):
        invoicing.pay_out_of_band(work, invoice)
        return invoice
    method = _method_for(work, invoice, params)
    if not invoicing.pay(work, invoice, method):
        pair = invoicing.open_payment(work, invoice)
        raise declined(pair[1]) if pair else CardError("The payment failed.", "card_declined")
    return invoice


def _method_for(work: Work, invoice: Json, params: Json) -> Json:
    customer = work.find("customer", invoice["customer"], "customer")
    if wanted := params.get("payment_method") or params.get("source"):
        return people.usable_method(work, wanted, customer, "payment_method")
    if method := invoicing.paying_method(work, invoice):
        return method
    raise invalid(
        "There is no `default_payment_method` set on this Customer or Invoice. Please set a "
        "default payment method on either to proceed."
    )


@api("POST", "/v1/invoices/{id}/send", "InvoiceSendInvoiceParams")
def send_invoice(call: Call) -> Answer:
    work = call.work
    invoice = _in_status(work, call.id, "draft", "open", "paid")
    if invoice["collection_method"] != "send_invoice":
        raise invalid(
            "You can only manually send an invoice if its collection method is set to "
            "'send_invoice'."
        )
    if invoice["status"] == "draft":
        invoicing.finalize(work, invoice)
    work.emit("invoice.sent", invoice)
    return invoice


@api("POST", "/v1/invoices/{id}/void", "InvoiceVoidInvoiceParams")
def void_invoice(call: Call) -> Answer:
    invoice = _in_status(call.work, call.id, "open", "uncollectible")
    invoicing.void(call.work, invoice)
    return invoice


@api("POST", "/v1/invoices/{id}/mark_uncollectible", "InvoiceMarkUncollectibleParams")
def mark_uncollectible(call: Call) -> Answer:
    invoice = _in_status(call.work, call.id, "open")
    invoicing.mark_uncollectible(call.work, invoice)
    return invoice


@api(
    "GET",
    "/v1/invoices",
    "InvoiceListParams",
    supports=f"{PAGING} created customer status subscription collection_method due_date",
)
def list_invoices(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer", "status", "subscription")
    filters.json_equal(call.params, "collection_method")
    filters.compare(call.params, "due_date", "json_extract(json, '$.due_date')")
    return page_of(call, "invoice", filters, "/v1/invoices")


@api("GET", "/v1/invoices/{id}/lines", "InvoiceLineItemListParams", supports=PAGING)
def list_lines(call: Call) -> Answer:
    invoice = call.work.find("invoice", call.id)
    lines = invoicing.all_lines(call.work, invoice)
    return slice_of(call, lines, f"/v1/invoices/{call.id}/lines")


@api(
    "GET",
    "/v1/invoice_payments",
    "InvoicePaymentListParams",
    supports=f"{PAGING} created invoice status payment",
)
def list_invoice_payments(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "invoice", "status")
    if payment := call.params.get("payment"):
        filters.equal(payment, "payment_intent")
    return page_of(call, "invoice_payment", filters, "/v1/invoice_payments")


@api(
    "POST",
    "/v1/invoiceitems",
    "InvoiceItemCreateParams",
    supports="amount currency customer description discountable invoice metadata period"
    " price_data pricing quantity subscription tax_rates unit_amount_decimal",
)
def create_item(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["customer"])
    customer = work.find("customer", params["customer"], "customer")
    item = shapes.invoice_item(
        work.new_id("ii_"),
        work.now,
        customer=customer["id"],
        metadata=metadata({}, params.get("metadata")),
        tax_rates=rates_named(work, params.get("tax_rates"), "tax_rates"),
        test_clock=customer["test_clock"],
        **_priced(work, params, customer),
        **chosen(params, "description discountable period"),
    )
    if wanted := params.get("subscription"):
        subscription = work.find("subscription", wanted, "subscription")
        details = {"subscription": subscription["id"], "subscription_item": None}
        item["parent"] = {"subscription_details": details, "type": "subscription_details"}
    work.add(item)
    work.emit("invoiceitem.created", item)
    if wanted := params.get("invoice"):
        invoice = work.find("invoice", wanted, "invoice")
        if invoice["status"] != "draft":
            raise invalid(
                "You can only add items to an invoice that is a draft.",
                "invoice",
                "invoice_not_editable",
            )
        work.change(item, invoice=invoice["id"])
        before = {"amount_due": invoice["amount_due"], "total": invoice["total"]}
        invoicing.add_line(work, invoice, invoicing.item_line(work, item))
        work.emit("invoice.updated", invoice, before)
    return item


def _priced(work: Work, params: Json, customer: Json) -> Json:
    """Amount, currency, quantity and pricing of a new invoice item."""
    quantity = params.get("quantity", 1)
    wanted = params.get("pricing") or (
        {"price_data": params["price_data"]} if params.get("price_data") else None
    )
    if wanted:
        price = price_for(work, wanted, "pricing")
        each = price["unit_amount"] or 0
        pricing = line_pricing(price["id"], price["product"], each)
        return {
            "amount": each * quantity,
            "currency": price["currency"],
            "pricing": pricing,
            "quantity": quantity,
        }
    if "unit_amount_decimal" in params:
        amount = round(float(params["unit_amount_decimal"]) * quantity)
    else:
        need(params, ["amount"])
        amount = params["amount"]
    currency = params.get("currency") or customer["currency"] or "usd"
    return {"amount": amount, "currency": currency.lower(), "quantity": quantity}


@api("DELETE", "/v1/invoiceitems/{id}", "InvoiceItemDeleteParams")
def delete_item(call: Call) -> Answer:
    item = call.work.find("invoiceitem", call.id)
    if item["invoice"]:
        raise invalid("You can only delete an invoice item that is not on an invoice yet.")
    call.work.emit("invoiceitem.deleted", item)
    return call.work.delete(item)


@api(
    "GET",
    "/v1/invoiceitems",
    "InvoiceItemListParams",
    supports=f"{PAGING} created customer invoice pending",
)
def list_items(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer", "invoice")
    if (pending := call.params.get("pending")) is not None:
        filters.add("invoice IS NULL" if pending else "invoice IS NOT NULL")
    return page_of(call, "invoiceitem", filters, "/v1/invoiceitems")

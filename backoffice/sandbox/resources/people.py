"""Customers, payment methods and billing portal sessions."""

import re

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid
from backoffice.sandbox.lifecycle import cards, clocks, people, subscribing
from backoffice.sandbox.listing import PAGING, Filters, page_of, page_size
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.search import compile_query
from backoffice.sandbox.shapes.base import EMPTY_ADDRESS, listing
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
CUSTOMER_FIELDS = (
    "address balance description email invoice_prefix name next_invoice_sequence phone"
    " preferred_locales shipping tax_exempt"
)


def check_email(email: str | None, param: str = "email") -> None:
    """Stripe's error for what is no email address."""
    if email and (len(email) > 512 or not EMAIL.match(email)):
        raise invalid(f"Invalid email address: {email}", param, "email_invalid")


@api(
    "POST",
    "/v1/customers",
    "CustomerCreateParams",
    supports=f"{CUSTOMER_FIELDS} metadata invoice_settings payment_method source test_clock",
)
def create_customer(call: Call) -> Answer:
    work, params = call.work, call.params
    check_email(params.get("email"))
    if wanted := params.get("test_clock"):
        clocks.enter(work, work.find(clocks.KIND, wanted, "test_clock"))
    customer = people.create_customer(
        work,
        test_clock=params.get("test_clock"),
        metadata=metadata({}, params.get("metadata")),
        **_addressed(chosen(params, CUSTOMER_FIELDS)),
    )
    wanted = params.get("payment_method") or params.get("source")
    attached: Json | None = None
    if wanted:
        attached = people.payment_method(work, wanted)
        people.attach(work, attached, customer)
    if settings := _invoice_settings(work, customer, params, wanted, attached):
        work.change(customer, invoice_settings=settings)
    elif attached and params.get("source"):
        settings = customer["invoice_settings"] | {"default_payment_method": attached["id"]}
        work.change(customer, invoice_settings=settings)
    return customer


def _addressed(fields: Json) -> Json:
    """`fields` with complete address objects."""
    if fields.get("address"):
        fields["address"] = {**EMPTY_ADDRESS, **fields["address"]}
    if shipping := fields.get("shipping"):
        address = {**EMPTY_ADDRESS, **(shipping.get("address") or {})}
        fields["shipping"] = {"phone": None, **shipping, "address": address}
    return fields


def _invoice_settings(
    work: Work, customer: Json, params: Json, token: str | None = None, made: Json | None = None
) -> Json | None:
    """The new invoice settings, if any were sent; a test token stands for what it became."""
    sent = params.get("invoice_settings")
    if not sent:
        return None
    settings = {**customer["invoice_settings"], **chosen(sent, " ".join(sent))}
    if default := sent.get("default_payment_method"):
        if made and default == token:
            settings["default_payment_method"] = made["id"]
        else:
            param = "invoice_settings[default_payment_method]"
            method = people.usable_method(work, default, customer, param)
            if method["customer"] is None:
                people.attach(work, method, customer)
            settings["default_payment_method"] = method["id"]
    return settings


@api("GET", "/v1/customers/{id}", "CustomerRetrieveParams")
def retrieve_customer(call: Call) -> Answer:
    kept = call.work.stored(call.id)
    if kept and kept.deleted and kept.value["object"] == "customer":
        return {"id": call.id, "object": "customer", "deleted": True}
    return call.work.find("customer", call.id)


@api(
    "POST",
    "/v1/customers/{id}",
    "CustomerUpdateParams",
    supports=f"{CUSTOMER_FIELDS} metadata invoice_settings source",
)
def update_customer(call: Call) -> Answer:
    work, params = call.work, call.params
    customer = work.find("customer", call.id)
    check_email(params.get("email"))
    changes = _addressed(with_metadata(customer, params, CUSTOMER_FIELDS))
    if settings := _invoice_settings(work, customer, params):
        changes["invoice_settings"] = settings
    if source := params.get("source"):
        method = people.attach(work, people.payment_method(work, source, "source"), customer)
        held: Json = changes.get("invoice_settings") or customer["invoice_settings"]
        changes["invoice_settings"] = {**held, "default_payment_method": method["id"]}
    return work.change(customer, "customer.updated", **changes)


@api(
    "GET",
    "/v1/customers/{id}/sources",
    "CustomerPaymentSourceListParams",
    supports="limit object starting_after ending_before",
)
def list_customer_sources(call: Call) -> Answer:
    """None: cards are payment methods here. dj-stripe's own sync asks."""
    call.work.find("customer", call.id)
    return listing([], f"/v1/customers/{call.id}/sources")


@api("DELETE", "/v1/customers/{id}", "CustomerDeleteParams")
def delete_customer(call: Call) -> Answer:
    return subscribing.delete_customer(call.work, call.work.find("customer", call.id))


@api("GET", "/v1/customers", "CustomerListParams", supports=f"{PAGING} created email test_clock")
def list_customers(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "email")
    filters.of_clock(call.params)
    return page_of(call, "customer", filters, "/v1/customers")


@api("GET", "/v1/customers/search", "CustomerSearchParams", supports="query limit page")
def search_customers(call: Call) -> Answer:
    work, params = call.work, call.params
    condition, values = compile_query(params["query"])
    limit = page_size(params)
    token = params.get("page") or ""
    start = work.stored(token) if token else None
    if token and start is None:
        raise invalid("Invalid page token.", "page")
    cursor = "AND (created, seq) < (?, ?)" if start else ""
    rows = work.store.rows(
        "SELECT id, json FROM objects WHERE kind = 'customer' AND NOT deleted"  # noqa: S608
        f" AND ({condition}) {cursor} ORDER BY created DESC, seq DESC LIMIT ?",
        [*values, *((start.value["created"], start.seq) if start else ()), limit + 1],
    )
    found = [work.find("customer", id_) for id_, _ in rows[:limit]]
    more = len(rows) > limit
    return {
        "object": "search_result",
        "data": found,
        "has_more": more,
        "next_page": found[-1]["id"] if more else None,
        "url": "/v1/customers/search",
    }


retrievable("payment_method", "/v1/payment_methods/{id}", "PaymentMethodRetrieveParams")
METHOD_FIELDS = "allow_redisplay billing_details"


@api(
    "POST",
    "/v1/payment_methods",
    "PaymentMethodCreateParams",
    supports=f"{METHOD_FIELDS} type card us_bank_account sepa_debit metadata",
)
def create_payment_method(call: Call) -> Answer:
    work, params = call.work, call.params
    kind = params.get("type", "card")
    need(params, ["type", kind])
    if kind == "card":
        card = params["card"]
        token = card.get("token") or NUMBERS.get(str(card.get("number", "")).replace(" ", ""))
        if not token:
            raise invalid(
                "Use one of Stripe's test cards or tokens.", "card[number]", "incorrect_number"
            )
        method = cards.from_token(work, token, "card[token]")
    else:
        made = shapes.payment_method(work.new_id("pm_"), work.now, kind, _account(kind, params))
        method = work.add(made)
    return _update_method(work, method, params)


def _account(kind: str, params: Json) -> Json:
    """The bank account that a new payment method of type `kind` debits."""
    if kind == "us_bank_account":
        need(params[kind], ["account_number"])
        return cards.bank_account(params[kind]["account_number"][-4:])
    if kind == "sepa_debit":
        need(params[kind], ["iban"])
        return cards.sepa_account(params[kind]["iban"].replace(" ", ""))
    raise invalid(f"This sandbox does not simulate payment methods of type {kind}.", "type")


def _update_method(work: Work, method: Json, params: Json, event: str | None = None) -> Json:
    changes = with_metadata(method, params, "allow_redisplay metadata")
    if details := params.get("billing_details"):
        merged = {**method["billing_details"], **chosen(details, " ".join(details))}
        changes["billing_details"] = _addressed(merged)
    return work.change(method, event, **changes)


NUMBERS = {
    "4242424242424242": "tok_visa",
    "4000056655665556": "tok_visa_debit",
    "5555555555554444": "tok_mastercard",
    "4000000000000002": "tok_chargeDeclined",
    "4000000000009995": "tok_chargeDeclinedInsufficientFunds",
    "4000000000000069": "tok_chargeDeclinedExpiredCard",
    "4000000000000127": "tok_chargeDeclinedIncorrectCvc",
    "4000000000000119": "tok_chargeDeclinedProcessingError",
    "4000000000000341": "tok_chargeCustomerFail",
    "4000000000000259": "tok_createDispute",
    "4000000000001976": "tok_createDisputeInquiry",
    "4000000000002685": "tok_createDisputeProductNotReceived",
    "4000000000005126": "tok_refundFail",
    "4000000000007726": "tok_pendingRefund",
}


@api(
    "POST",
    "/v1/payment_methods/{id}",
    "PaymentMethodUpdateParams",
    supports=f"{METHOD_FIELDS} metadata",
)
def update_payment_method(call: Call) -> Answer:
    method = call.work.find("payment_method", call.id)
    return _update_method(call.work, method, call.params, "payment_method.updated")


@api("POST", "/v1/payment_methods/{id}/attach", "PaymentMethodAttachParams", supports="customer")
def attach_payment_method(call: Call) -> Answer:
    need(call.params, ["customer"])
    customer = call.work.find("customer", call.params["customer"], "customer")
    method = people.payment_method(call.work, call.id, "id")
    return people.attach(call.work, method, customer)


@api("POST", "/v1/payment_methods/{id}/detach", "PaymentMethodDetachParams")
def detach_payment_method(call: Call) -> Answer:
    return people.detach(call.work, call.work.find("payment_method", call.id))


@api("GET", "/v1/payment_methods", "PaymentMethodListParams", supports=f"{PAGING} customer type")
def list_payment_methods(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer", "type")
    return page_of(call, "payment_method", filters, "/v1/payment_methods")


@api(
    "GET",
    "/v1/customers/{id}/payment_methods",
    "CustomerPaymentMethodListParams",
    supports=f"{PAGING} type",
)
def list_customer_payment_methods(call: Call) -> Answer:
    customer = call.work.find("customer", call.id)
    filters = Filters()
    filters.equal(call.params | {"customer": customer["id"]}, "customer", "type")
    return page_of(call, "payment_method", filters, f"/v1/customers/{call.id}/payment_methods")


@api(
    "POST",
    "/v1/billing_portal/sessions",
    "billing_portal.SessionCreateParams",
    supports="customer return_url locale flow_data configuration",
)
def create_portal_session(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["customer"])
    work.find("customer", params["customer"], "customer")
    id_ = work.new_id("bps_")
    return work.add(
        shapes.portal_session(
            id_,
            work.now,
            flow=_portal_flow(params.get("flow_data")),
            url=f"{work.base_url}/p/session/{id_}",
            **chosen(params, "customer return_url locale configuration"),
        )
    )


def _portal_flow(data: Json | None) -> Json | None:
    if not data:
        return None
    ending = {"hosted_confirmation": None, "redirect": None, "type": "portal_homepage"}
    flow: Json = dict.fromkeys(
        ("subscription_cancel", "subscription_update", "subscription_update_confirm")
    )
    return {**flow, **data, "after_completion": ending | (data.get("after_completion") or {})}

"""Checkout sessions and their line items, and the calls that a payment page makes."""

from typing import Any

from backoffice.sandbox.errors import invalid, missing_parameter
from backoffice.sandbox.lifecycle import cards, checkout, people
from backoffice.sandbox.listing import PAGING, Filters, page_of, slice_of
from backoffice.sandbox.resources.catalog import price_for
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.resources.payments import declined
from backoffice.sandbox.resources.people import check_email
from backoffice.sandbox.resources.taxes import rates_named
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

retrievable("checkout.session", "/v1/checkout/sessions/{id}", "checkout.SessionRetrieveParams")

SHORTEST_LIFETIME = 30 * 60
LONGEST_LIFETIME = 24 * 3600
SESSION_FIELDS = (
    "allow_promotion_codes billing_address_collection cancel_url client_reference_id"
    " customer_creation customer_email locale payment_method_collection payment_method_types"
    " submit_type success_url ui_mode phone_number_collection"
)
PLAN_FIELDS = {
    "payment_intent_data": "capture_method description metadata receipt_email setup_future_usage"
    " shipping statement_descriptor statement_descriptor_suffix transfer_group",
    "subscription_data": "default_tax_rates description metadata trial_end trial_period_days"
    " trial_settings",
}


@api(
    "POST",
    "/v1/checkout/sessions",
    "checkout.SessionCreateParams",
    supports=f"{SESSION_FIELDS} currency customer expires_at line_items metadata mode"
    " payment_intent_data subscription_data",
)
def create(call: Call) -> Answer:
    work, params = call.work, call.params
    mode = params.get("mode")
    if mode is None:
        raise missing_parameter("mode")
    if params.get("ui_mode", "hosted_page") == "hosted_page":
        need(params, ["success_url"])
    if params.get("customer") and params.get("customer_email"):
        raise invalid(
            "You may only specify one of these parameters: customer, customer_email.", "customer"
        )
    check_email(params.get("customer_email"), "customer_email")
    given = chosen(params, SESSION_FIELDS)
    if wanted := params.get("customer"):
        given["customer"] = work.find("customer", wanted, "customer")["id"]
    if mode == "payment":
        given.setdefault("customer_creation", None if wanted else "if_required")
    given["metadata"] = metadata({}, params.get("metadata"))
    if (expiry := params.get("expires_at")) is not None:
        if not SHORTEST_LIFETIME <= expiry - work.now + 60 <= LONGEST_LIFETIME + 120:
            raise invalid(
                "The `expires_at` timestamp must be at least 30 minutes and at most "
                "24 hours from Checkout Session creation.",
                "expires_at",
            )
        given["expires_at"] = expiry
    named = (params.get("subscription_data") or {}).get("default_tax_rates")
    rates = rates_named(work, named, "subscription_data[default_tax_rates]")
    lines = _lines(work, params, mode)
    session = checkout.open_session(work, mode, lines, rates=rates, **given)
    if session["payment_status"] == "no_payment_required" and mode != "setup":
        work.change(
            session, payment_status="unpaid" if session["amount_total"] else "no_payment_required"
        )
    _remember(work, session, params)
    return session


def _lines(work: Work, params: Json, mode: str) -> list[tuple[Json, int]]:
    """(price, quantity) of each line item, checked against the mode."""
    if mode == "setup":
        if params.get("line_items"):
            raise invalid("`line_items` cannot be used in `setup` mode.", "line_items")
        return []
    need(params, ["line_items"])
    lines = []
    for place, sent in enumerate(params["line_items"]):
        param = f"line_items[{place}]"
        price = price_for(work, sent, param)
        if sent.get("quantity") is None:
            raise missing_parameter(f"{param}[quantity]")
        if mode == "payment" and price["recurring"]:
            raise invalid(
                "You specified `payment` mode but passed a recurring price. Either switch to "
                "`subscription` mode or use only one-time prices.",
                param,
            )
        lines.append((price, sent["quantity"]))
    if mode == "subscription" and not any(price["recurring"] for price, _ in lines):
        raise invalid(
            "You must provide at least one recurring price in `subscription` mode when "
            "using prices.",
            "line_items",
        )
    if mode == "subscription" and not all(price["recurring"] for price, _ in lines):
        raise invalid(
            "This sandbox bills only recurring prices in `subscription` mode.", "line_items"
        )
    if len({price["currency"] for price, _ in lines}) > 1:
        raise invalid("All line items must have the same currency.", "line_items")
    return lines


def _remember(work: Work, session: Json, params: Json) -> None:
    """Keeps what the session was told for the payment intent or subscription it will make.

    Stripe never shows it again, so it is kept beside the session.
    """
    name = "subscription_data" if session["mode"] == "subscription" else "payment_intent_data"
    for other in PLAN_FIELDS:
        if other != name and params.get(other):
            raise invalid(f"You can not pass `{other}` in `{session['mode']}` mode.", other)
    sent = params.get(name) or {}
    for field in sent:
        if field not in PLAN_FIELDS[name].split():
            raise invalid(
                f"This sandbox does not simulate the parameter {name}[{field}].", f"{name}[{field}]"
            )
    if sent:
        work.remember(session["id"], sent)


@api("POST", "/v1/checkout/sessions/{id}", "checkout.SessionUpdateParams", supports="metadata")
def update(call: Call) -> Answer:
    session = call.work.find("checkout.session", call.id)
    return call.work.change(session, **with_metadata(session, call.params, ""))


@api(
    "GET",
    "/v1/checkout/sessions",
    "checkout.SessionListParams",
    supports=f"{PAGING} created customer customer_details payment_intent status subscription",
)
def list_sessions(call: Call) -> Answer:
    params = call.params
    filters = Filters()
    filters.equal(params, "customer", "payment_intent", "status", "subscription")
    if details := params.get("customer_details"):
        filters.equal(details, "email")
    return page_of(call, "checkout.session", filters, "/v1/checkout/sessions")


@api(
    "GET",
    "/v1/checkout/sessions/{id}/line_items",
    "checkout.SessionLineItemListParams",
    supports=PAGING,
)
def list_line_items(call: Call) -> Answer:
    session = call.work.find("checkout.session", call.id)
    lines = checkout.lines_of(call.work, session)
    return slice_of(call, lines, f"/v1/checkout/sessions/{call.id}/line_items")


@api("POST", "/v1/checkout/sessions/{id}/expire", "checkout.SessionExpireParams")
def expire(call: Call) -> Answer:
    session = call.work.find("checkout.session", call.id)
    _expect_open(session, "expired")
    checkout.expire(call.work, session)
    return session


def _expect_open(session: Json, what: str) -> None:
    if session["status"] != "open":
        raise invalid(
            'Only Checkout Sessions with a status in ["open"] can be '
            f"{what}. This Checkout Session has a status of `{session['status']}`."
        )


@api("GET", "/v1/payment_pages/{id}")
def retrieve_page(call: Call) -> Answer:
    """The page behind a session, as the official CLI reads it; not in Stripe's documentation."""
    session = call.work.find("checkout.session", call.id)
    return session | {"object": "checkout.session", "session_id": session["id"]}


@api(
    "POST", "/v1/payment_pages/{id}/confirm", extra={"payment_method": str, "expected_amount": int}
)
def confirm_page(call: Call) -> Answer:
    """The buyer submits the page, as the official CLI does it; not in Stripe's documentation."""
    work, params = call.work, call.params
    session = work.find("checkout.session", call.id)
    _expect_open(session, "confirmed")
    need(params, ["payment_method"])
    expected = params.get("expected_amount")
    if expected is not None and expected != (session["amount_total"] or 0):
        raise invalid(
            f"The amount is {session['amount_total']}, not {expected}.",
            "expected_amount",
            "checkout_amount_mismatch",
        )
    customer = work.get("customer", session["customer"])
    method = people.usable_method(work, params["payment_method"], customer, "payment_method")
    confirm(work, session, method)
    return session


def confirm(work: Work, session: Json, method: Json, buyer: Json | None = None) -> None:
    """Completes a session with `method`; 402 if it is declined, and the session stays open."""
    plan: dict[str, Any] = work.remembered(session["id"])
    if days := plan.pop("trial_period_days", None):
        plan["trial_end"] = work.now + days * 86400
    if named := plan.get("default_tax_rates"):
        plan["default_tax_rates"] = [dict(work.find("tax_rate", id_)) for id_ in named]
    if not checkout.complete(work, session, method, buyer=buyer, plan=plan):
        raise declined(_refused(work))
    intent = work.get("payment_intent", session["payment_intent"])
    outcome = cards.prompt_outcome(method)
    if intent and intent["status"] == "processing" and outcome is not None:
        checkout.settle(work, session, succeed=outcome)


def _refused(work: Work) -> Json:
    """The intent that was just refused."""
    setups = [made for made in work.made("setup_intent") if made["last_setup_error"]]
    payments = [made for made in work.made("payment_intent") if made["last_payment_error"]]
    return [*setups, *payments][-1]

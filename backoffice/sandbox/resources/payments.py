"""Payment intents, charges and refunds."""

from backoffice.sandbox.errors import ApiError, CardError, invalid
from backoffice.sandbox.lifecycle import cards, payments, people, refunds
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import (
    chosen,
    metadata,
    positive,
    with_metadata,
)
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

retrievable("payment_intent", "/v1/payment_intents/{id}", "PaymentIntentRetrieveParams")
retrievable("charge", "/v1/charges/{id}", "ChargeRetrieveParams")
retrievable("refund", "/v1/refunds/{id}", "RefundRetrieveParams")

INTENT_FIELDS = (
    "description receipt_email setup_future_usage shipping statement_descriptor"
    " statement_descriptor_suffix transfer_group"
)
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")


@api(
    "POST",
    "/v1/payment_intents",
    "PaymentIntentCreateParams",
    supports=f"{INTENT_FIELDS} amount currency customer metadata payment_method confirm"
    " capture_method confirmation_method payment_method_types automatic_payment_methods"
    " off_session return_url error_on_requires_action use_stripe_sdk payment_method_options",
)
def create_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    customer = None
    if params.get("customer"):
        customer = work.find("customer", params["customer"], "customer")
    fields = chosen(
        params, f"{INTENT_FIELDS} capture_method confirmation_method payment_method_types"
    )
    if automatic := params.get("automatic_payment_methods"):
        fields["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    intent = payments.create_intent(
        work,
        positive(params["amount"], "amount"),
        params["currency"].lower(),
        customer=params.get("customer"),
        metadata=metadata({}, params.get("metadata")),
        **fields,
    )
    if wanted := params.get("payment_method"):
        method = people.usable_method(work, wanted, customer, "payment_method")
        work.change(intent, payment_method=method["id"], status="requires_confirmation")
    if params.get("confirm"):
        confirm_or_fail(work, intent)
    return intent


def confirm_or_fail(work: Work, intent: Json) -> None:
    """Confirms an intent with the payment method that it holds; 402 if it is declined."""
    if not intent["payment_method"]:
        raise ApiError(
            400,
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can "
            "either update the PaymentIntent with a payment method and then confirm it again, or "
            "confirm it again directly with a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
        )
    method = work.find("payment_method", intent["payment_method"], "payment_method")
    if intent["setup_future_usage"] and intent["customer"]:
        people.attach(work, method, work.find("customer", intent["customer"], "customer"))
    if not payments.confirm(work, intent, method):
        raise declined(intent)
    payments.finish_capture(work, intent)
    outcome = cards.prompt_outcome(method)
    if intent["status"] == "processing" and outcome is not None:
        payments.settle(work, intent, succeed=outcome)


def declined(intent: Json) -> CardError:
    """The 402 for an intent (to pay, or to set up) whose last attempt failed."""
    setup = intent["object"] == "setup_intent"
    error = intent["last_setup_error" if setup else "last_payment_error"]
    shown = {name: error[name] for name in ("charge", "decline_code") if name in error}
    return CardError(error["message"], error["code"], **shown, **{intent["object"]: dict(intent)})


@api(
    "POST",
    "/v1/payment_intents/{id}",
    "PaymentIntentUpdateParams",
    supports=f"{INTENT_FIELDS} amount currency customer metadata payment_method"
    " payment_method_types",
)
def update_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    intent = work.find("payment_intent", call.id)
    changes = with_metadata(intent, params, f"{INTENT_FIELDS} payment_method_types")
    if "amount" in params or "currency" in params or "payment_method" in params:
        _expect(intent, CONFIRMABLE, "updated")
    if "amount" in params:
        changes["amount"] = positive(params["amount"], "amount")
    changes |= chosen(params, "currency")
    if wanted := params.get("customer"):
        changes["customer"] = work.find("customer", wanted, "customer")["id"]
    if wanted := params.get("payment_method"):
        owner = work.get("customer", changes.get("customer", intent["customer"]))
        method = people.usable_method(work, wanted, owner, "payment_method")
        changes |= {"payment_method": method["id"], "status": "requires_confirmation"}
    return work.change(intent, **changes)


def _expect(intent: Json, statuses: tuple[str, ...], what: str) -> None:
    if intent["status"] not in statuses:
        raise ApiError(
            400,
            f"This PaymentIntent could not be {what} because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            f"{what}: {', '.join(statuses)}.",
            code="payment_intent_unexpected_state",
            payment_intent=dict(intent),
        )


@api(
    "POST",
    "/v1/payment_intents/{id}/confirm",
    "PaymentIntentConfirmParams",
    supports="payment_method return_url off_session receipt_email setup_future_usage"
    " use_stripe_sdk error_on_requires_action capture_method shipping",
)
def confirm_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    intent = work.find("payment_intent", call.id)
    _expect(intent, CONFIRMABLE, "confirmed")
    changes = chosen(params, "receipt_email setup_future_usage capture_method shipping")
    if wanted := params.get("payment_method"):
        owner = work.get("customer", intent["customer"])
        method = people.usable_method(work, wanted, owner, "payment_method")
        changes["payment_method"] = method["id"]
    work.change(intent, **changes)
    confirm_or_fail(work, intent)
    return intent


@api(
    "POST",
    "/v1/payment_intents/{id}/capture",
    "PaymentIntentCaptureParams",
    supports="amount_to_capture metadata",
)
def capture_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    intent = work.find("payment_intent", call.id)
    _expect(intent, ("requires_capture",), "captured")
    amount = params.get("amount_to_capture") or intent["amount_capturable"]
    if not 1 <= amount <= intent["amount_capturable"]:
        raise invalid(
            "You cannot capture more than was authorised.", "amount_to_capture", "amount_too_large"
        )
    work.change(intent, metadata=metadata(intent["metadata"], params.get("metadata")))
    payments.capture(work, intent, amount)
    return intent


@api(
    "POST",
    "/v1/payment_intents/{id}/cancel",
    "PaymentIntentCancelParams",
    supports="cancellation_reason",
)
def cancel_intent(call: Call) -> Answer:
    intent = call.work.find("payment_intent", call.id)
    _expect(intent, (*CONFIRMABLE, "requires_capture", "processing"), "canceled")
    payments.cancel(call.work, intent, call.params.get("cancellation_reason"))
    return intent


@api("GET", "/v1/payment_intents", "PaymentIntentListParams", supports=f"{PAGING} created customer")
def list_intents(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer")
    return page_of(call, "payment_intent", filters, "/v1/payment_intents")


@api(
    "POST",
    "/v1/charges/{id}",
    "ChargeUpdateParams",
    supports="description metadata receipt_email shipping",
)
def update_charge(call: Call) -> Answer:
    charge = call.work.find("charge", call.id)
    changes = with_metadata(charge, call.params, "description receipt_email shipping")
    return call.work.change(charge, "charge.updated", **changes)


@api("GET", "/v1/charges", "ChargeListParams", supports=f"{PAGING} created customer payment_intent")
def list_charges(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer", "payment_intent")
    return page_of(call, "charge", filters, "/v1/charges")


@api(
    "POST",
    "/v1/refunds",
    "RefundCreateParams",
    supports="amount charge payment_intent reason metadata",
)
def create_refund(call: Call) -> Answer:
    work, params = call.work, call.params
    return refunds.refund(
        work,
        charge_of(work, params),
        params.get("amount"),
        reason=params.get("reason"),
        metadata=metadata({}, params.get("metadata")),
    )


def charge_of(work: Work, params: Json) -> Json:
    """The charge that `charge` or `payment_intent` names."""
    if params.get("charge"):
        return work.find("charge", params["charge"], "charge")
    if not params.get("payment_intent"):
        raise invalid(
            "One of the following params should be provided for this request: "
            "payment_intent or charge."
        )
    intent = work.find("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        raise invalid(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            "payment_intent",
        )
    return work.find("charge", intent["latest_charge"])


@api("POST", "/v1/refunds/{id}", "RefundUpdateParams", supports="metadata")
def update_refund(call: Call) -> Answer:
    refund = call.work.find("refund", call.id)
    return call.work.change(refund, "refund.updated", **with_metadata(refund, call.params, ""))


@api("POST", "/v1/refunds/{id}/cancel", "RefundCancelParams")
def cancel_refund(call: Call) -> Answer:
    refund = call.work.find("refund", call.id)
    if refund["status"] not in ("pending", "requires_action"):
        raise invalid(f"You cannot cancel a refund with status {refund['status']}.")
    refunds.cancel(call.work, refund)
    return refund


@api("GET", "/v1/refunds", "RefundListParams", supports=f"{PAGING} charge created payment_intent")
def list_refunds(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "charge", "payment_intent")
    return page_of(call, "refund", filters, "/v1/refunds")


@api("GET", "/v1/charges/{id}/refunds", "RefundListParams", supports=PAGING)
def list_charge_refunds(call: Call) -> Answer:
    charge = call.work.find("charge", call.id)
    filters = Filters(["charge = ?"], [charge["id"]])
    return page_of(call, "refund", filters, f"/v1/charges/{call.id}/refunds")

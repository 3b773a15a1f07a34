"""Setup intents."""

from backoffice.sandbox.errors import ApiError
from backoffice.sandbox.lifecycle import people, setups
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import chosen, metadata, with_metadata
from backoffice.sandbox.resources.payments import CONFIRMABLE, declined
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

retrievable("setup_intent", "/v1/setup_intents/{id}", "SetupIntentRetrieveParams")

INTENT_FIELDS = "description payment_method_types"


@api(
    "POST",
    "/v1/setup_intents",
    "SetupIntentCreateParams",
    supports=f"{INTENT_FIELDS} automatic_payment_methods confirm customer metadata"
    " payment_method return_url usage use_stripe_sdk",
)
def create_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    fields = chosen(params, f"{INTENT_FIELDS} usage")
    if wanted := params.get("customer"):
        fields["customer"] = work.find("customer", wanted, "customer")["id"]
    if automatic := params.get("automatic_payment_methods"):
        fields["automatic_payment_methods"] = {"allow_redirects": "always", **automatic}
    intent = setups.create_intent(work, metadata=metadata({}, params.get("metadata")), **fields)
    work.change(intent, **_method(work, intent, params))
    if params.get("confirm"):
        _confirm_or_fail(work, intent)
    return intent


def _method(work: Work, intent: Json, params: Json) -> Json:
    """The changes of an intent that is given a payment method, if it is."""
    if not (wanted := params.get("payment_method")):
        return {}
    owner = work.get("customer", intent["customer"])
    method = people.usable_method(work, wanted, owner, "payment_method")
    return {"payment_method": method["id"], "status": "requires_confirmation"}


def _confirm_or_fail(work: Work, intent: Json) -> None:
    """Confirms an intent with the payment method that it holds; 402 if it is declined."""
    if not intent["payment_method"]:
        raise ApiError(
            400,
            "You cannot confirm this SetupIntent because it's missing a payment method. Update "
            "the SetupIntent with a payment method and then confirm it again.",
            code="setup_intent_unexpected_state",
        )
    method = work.find("payment_method", intent["payment_method"], "payment_method")
    if not setups.confirm(work, intent, method):
        raise declined(intent)


def _unfinished(call: Call, what: str) -> Json:
    """The intent in the path; Stripe's error if it is too late for `what`."""
    intent = call.work.find("setup_intent", call.id)
    if intent["status"] not in CONFIRMABLE:
        raise ApiError(
            400,
            f"You cannot {what} this SetupIntent because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state",
            setup_intent=dict(intent),
        )
    return intent


@api(
    "POST",
    "/v1/setup_intents/{id}",
    "SetupIntentUpdateParams",
    supports=f"{INTENT_FIELDS} customer metadata payment_method",
)
def update_intent(call: Call) -> Answer:
    work, params = call.work, call.params
    intent = _unfinished(call, "update")
    changes = with_metadata(intent, params, INTENT_FIELDS)
    if wanted := params.get("customer"):
        changes["customer"] = work.find("customer", wanted, "customer")["id"]
    work.change(intent, **changes)
    return work.change(intent, **_method(work, intent, params))


@api(
    "POST",
    "/v1/setup_intents/{id}/confirm",
    "SetupIntentConfirmParams",
    supports="payment_method return_url use_stripe_sdk",
)
def confirm_intent(call: Call) -> Answer:
    intent = _unfinished(call, "confirm")
    call.work.change(intent, **_method(call.work, intent, call.params))
    _confirm_or_fail(call.work, intent)
    return intent


@api(
    "POST",
    "/v1/setup_intents/{id}/cancel",
    "SetupIntentCancelParams",
    supports="cancellation_reason",
)
def cancel_intent(call: Call) -> Answer:
    intent = _unfinished(call, "cancel")
    setups.cancel(call.work, intent, call.params.get("cancellation_reason"))
    return intent


@api(
    "GET",
    "/v1/setup_intents",
    "SetupIntentListParams",
    supports=f"{PAGING} created customer payment_method",
)
def list_intents(call: Call) -> Answer:
    filters = Filters()
    filters.equal(call.params, "customer")
    filters.json_equal(call.params, "payment_method")
    return page_of(call, "setup_intent", filters, "/v1/setup_intents")

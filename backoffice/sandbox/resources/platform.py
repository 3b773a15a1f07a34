"""The account, webhook endpoints and events."""

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import ApiError, invalid, no_such
from backoffice.sandbox.lifecycle import settings
from backoffice.sandbox.listing import EVENTS_LISTED, PAGING, Filters, page_of
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.shapes.base import listing
from backoffice.sandbox.shapes.platform import ACCOUNT_ID
from backoffice.sandbox.types import Json

MAX_ENDPOINTS = 16
ACCOUNT_CREATED = 1_577_836_800


@api("GET", "/v1/account", "AccountRetrieveCurrentParams")
def retrieve_account(call: Call) -> Answer:
    return shapes.account(ACCOUNT_CREATED, payouts=settings.shown(call.work)["payouts"])


@api("GET", "/v1/accounts", "AccountListParams", supports="limit starting_after ending_before")
def list_connected_accounts(call: Call) -> Answer:
    """There are none; dj-stripe's own sync asks."""
    return listing([], "/v1/accounts")


@api("GET", "/v1/accounts/{id}", "AccountRetrieveParams")
def retrieve_account_by_id(call: Call) -> Answer:
    if call.id != ACCOUNT_ID:
        raise ApiError(
            403,
            f"The provided key does not have access to account '{call.id}' (or that account does "
            "not exist). Application access may have been revoked.",
            code="account_invalid",
        )
    return retrieve_account(call)


retrievable("webhook_endpoint", "/v1/webhook_endpoints/{id}", "WebhookEndpointRetrieveParams")


def _check_endpoint(params: Json) -> None:
    url = params.get("url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise invalid(
            "Invalid URL: An explicit scheme (such as https) must be provided.",
            "url",
            "url_invalid",
        )
    if "enabled_events" in params and not params["enabled_events"]:
        raise invalid("You must specify at least one event type.", "enabled_events")


@api(
    "POST",
    "/v1/webhook_endpoints",
    "WebhookEndpointCreateParams",
    supports="api_version description enabled_events metadata url",
)
def create_endpoint(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["url", "enabled_events"])
    _check_endpoint(params)
    if len(work.select("webhook_endpoint")) >= MAX_ENDPOINTS:
        raise invalid("You have reached the maximum of 16 test webhook endpoints.")
    endpoint = work.add(
        shapes.webhook_endpoint(
            work.new_id("we_"),
            work.now,
            metadata=metadata({}, params.get("metadata")),
            **chosen(params, "api_version description enabled_events url"),
        )
    )
    secret = work.new_id("whsec_")
    work.store.db.execute("INSERT INTO secrets VALUES (?, ?)", (endpoint["id"], secret))
    return {**endpoint, "secret": secret}


@api(
    "POST",
    "/v1/webhook_endpoints/{id}",
    "WebhookEndpointUpdateParams",
    supports="description disabled enabled_events metadata url",
)
def update_endpoint(call: Call) -> Answer:
    endpoint = call.work.find("webhook_endpoint", call.id)
    _check_endpoint(call.params)
    changes = with_metadata(endpoint, call.params, "description enabled_events url")
    if "disabled" in call.params:
        changes["status"] = "disabled" if call.params["disabled"] else "enabled"
        call.work.store.db.execute("DELETE FROM failing WHERE endpoint = ?", [call.id])
    return call.work.change(endpoint, **changes)


@api("DELETE", "/v1/webhook_endpoints/{id}", "WebhookEndpointDeleteParams")
def delete_endpoint(call: Call) -> Answer:
    return call.work.delete(call.work.find("webhook_endpoint", call.id))


@api("GET", "/v1/webhook_endpoints", "WebhookEndpointListParams", supports=PAGING)
def list_endpoints(call: Call) -> Answer:
    return page_of(call, "webhook_endpoint", Filters(), "/v1/webhook_endpoints")


@api("GET", "/v1/events/{id}", "EventRetrieveParams")
def retrieve_event(call: Call) -> Answer:
    event = call.work.find("event", call.id)
    if event["created"] < call.work.now - EVENTS_LISTED:
        raise no_such("event", call.id)
    return event


@api(
    "GET", "/v1/events", "EventListParams", supports=f"{PAGING} created delivery_success type types"
)
def list_events(call: Call) -> Answer:
    params = call.params
    if params.get("type") and params.get("types"):
        raise invalid("You may only specify one of these parameters: type, types.", "type")
    filters = Filters()
    filters.add("created >= ?", call.work.now - EVENTS_LISTED)
    if type_ := params.get("type"):
        filters.add("type GLOB ?" if "*" in type_ else "type = ?", type_)
    if types := params.get("types"):
        if len(types) > 20:
            raise invalid("You may only specify up to 20 types.", "types")
        filters.add(f"type IN ({','.join('?' * len(types))})", *types)
    if (delivered := params.get("delivery_success")) is not None:
        filters.add("status = ?", "delivered" if delivered else "pending")
    return page_of(call, "event", filters, "/v1/events")


@api("POST", "/v1/events/{id}/retry", extra={"webhook_endpoint": str})
def retry_event(call: Call) -> Answer:
    """Delivers an event again, as `stripe events resend` asks; not in Stripe's documentation."""
    work, params = call.work, call.params
    event = work.find("event", call.id)
    need(params, ["webhook_endpoint"])
    endpoint = work.find("webhook_endpoint", params["webhook_endpoint"], "webhook_endpoint")
    if endpoint["status"] != "enabled":
        raise invalid("This webhook endpoint is disabled.", "webhook_endpoint")
    work.store.enqueue(event["id"], endpoint["id"])
    work.flush()
    return work.change(event, pending_webhooks=work.store.count_undelivered(event["id"]))

"""Subscriptions and their items."""

from typing import Any

from backoffice.sandbox.errors import ApiError, invalid, no_such
from backoffice.sandbox.lifecycle import changing, invoicing, people, subscribing
from backoffice.sandbox.lifecycle.subscribing import TERMINAL, Ordered
from backoffice.sandbox.listing import PAGING, Filters, page_of, slice_of
from backoffice.sandbox.resources.catalog import price_for
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.resources.payments import declined
from backoffice.sandbox.resources.taxes import rates_named
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

retrievable("subscription", "/v1/subscriptions/{id}", "SubscriptionRetrieveParams")

DAY = 86400
PLAIN_FIELDS = "collection_method days_until_due description"


@api(
    "POST",
    "/v1/subscriptions",
    "SubscriptionCreateParams",
    supports=f"{PLAIN_FIELDS} customer items default_payment_method metadata trial_end"
    " trial_period_days trial_settings cancel_at cancel_at_period_end payment_behavior"
    " payment_settings off_session proration_behavior billing_mode currency default_tax_rates",
)
def create(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["customer", "items"])
    customer = work.find("customer", params["customer"], "customer")
    ordered = [
        _ordered(work, item, f"items[{place}]") for place, item in enumerate(params["items"])
    ]
    _check_same(ordered)
    given = chosen(params, PLAIN_FIELDS)
    given["metadata"] = metadata({}, params.get("metadata"))
    given |= _payment_settings(params) | _tax_rates(work, params)
    if settings := params.get("trial_settings"):
        given["trial_settings"] = settings
    method = None
    if wanted := params.get("default_payment_method"):
        method = people.usable_method(work, wanted, customer, "default_payment_method")
        if method["customer"] is None:
            people.attach(work, method, customer)
        given["default_payment_method"] = method["id"]
    trial_end = _trial_end(work, params, ordered)
    behavior = params.get("payment_behavior", "allow_incomplete")
    method = method or people.default_method(work, customer)
    by_hand = given.get("collection_method") == "send_invoice"
    if by_hand and not given.get("days_until_due"):
        raise invalid(
            "If `collection_method` is set to `send_invoice`, you must set `days_until_due`.",
            "days_until_due",
            "parameter_missing",
        )
    if not (
        method or trial_end or by_hand or behavior == "default_incomplete" or _is_free(ordered)
    ):
        raise ApiError(
            400,
            "This customer has no attached payment source or default payment method. Please "
            "consider adding a default payment method.",
            code="resource_missing",
        )
    subscription = subscribing.subscribe(
        work,
        customer,
        ordered,
        method=method,
        trial_end=trial_end,
        pay_now=behavior != "default_incomplete",
        **given,
    )
    if subscription["status"] == "incomplete" and behavior == "error_if_incomplete":
        error = _first_decline(work, subscription)
        error.keeps_changes = False
        raise error
    _schedule(work, subscription, params)
    return subscription


def _is_free(ordered: list[Ordered]) -> bool:
    return not any(order.price["unit_amount"] for order in ordered)


def _first_decline(work: Work, subscription: Json) -> ApiError:
    invoice = work.find("invoice", subscription["latest_invoice"])
    pair = invoicing.open_payment(work, invoice)
    if pair is None or not pair[1]["last_payment_error"]:
        raise invalid("The first payment needs a payment method.", "default_payment_method")
    return declined(pair[1])


def _ordered(work: Work, item: Json, param: str) -> Ordered:
    price = price_for(work, item, param)
    if not price["recurring"]:
        raise invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices "
            "with `type=recurring`.",
            f"{param}[price]",
        )
    return Ordered(
        price,
        item.get("quantity", 1),
        metadata({}, item.get("metadata")),
        tuple(rates_named(work, item.get("tax_rates"), f"{param}[tax_rates]")),
    )


def _check_same(ordered: list[Ordered]) -> None:
    if not ordered:
        raise invalid("A subscription needs at least one item.", "items", "parameter_missing")
    if len({order.price["currency"] for order in ordered}) > 1:
        raise invalid("All prices on a subscription must have the same currency.", "items")
    rhythms = {
        (order.price["recurring"]["interval"], order.price["recurring"]["interval_count"])
        for order in ordered
    }
    if len(rhythms) > 1:
        raise invalid(
            "This sandbox bills all items of a subscription at the same interval.", "items"
        )
    if len({order.price["id"] for order in ordered}) < len(ordered):
        raise invalid("Cannot add multiple subscription items with the same price.", "items")


def _trial_end(work: Work, params: Json, ordered: list[Ordered]) -> int | None:
    """When the trial ends, from whichever parameter says so."""
    end = params.get("trial_end")
    if end == "now":
        return None
    days = params.get("trial_period_days") or max(
        (order.price["recurring"]["trial_period_days"] or 0 for order in ordered), default=0
    )
    if end is None:
        return work.now + days * DAY if days else None
    if end <= work.now:
        raise invalid(
            "Invalid timestamp: must be an integer Unix timestamp in the future", "trial_end"
        )
    return int(end)


def _tax_rates(work: Work, params: Json) -> Json:
    name = "default_tax_rates"
    return {name: rates_named(work, params[name], name)} if name in params else {}


def _payment_settings(params: Json) -> Json:
    sent = params.get("payment_settings")
    if not sent:
        return {}
    blank = {
        "payment_method_options": None,
        "payment_method_types": None,
        "save_default_payment_method": "off",
    }
    return {"payment_settings": blank | chosen(sent, " ".join(sent))}


def _schedule(work: Work, subscription: Json, params: Json) -> None:
    """Sets or clears a cancellation as `cancel_at` or `cancel_at_period_end` ask."""
    if "cancel_at" in params and params.get("cancel_at_period_end"):
        raise invalid(
            "You can only set one of `cancel_at` and `cancel_at_period_end`.", "cancel_at"
        )
    if "cancel_at" in params:
        at: Any = params["cancel_at"]
        if isinstance(at, str) and at:
            at = subscribing.period_of(subscription)[1]
        if at and at <= work.now:
            raise invalid("cancel_at must be in the future.", "cancel_at")
        subscribing.schedule_cancellation(work, subscription, at or None)
    if "cancel_at_period_end" in params:
        wanted = params["cancel_at_period_end"]
        if wanted != subscription["cancel_at_period_end"] or (
            not wanted and subscription["cancel_at"]
        ):
            subscribing.cancel_at_period_end(work, subscription, wanted=wanted)


@api(
    "POST",
    "/v1/subscriptions/{id}",
    "SubscriptionUpdateParams",
    supports=f"{PLAIN_FIELDS} items default_payment_method metadata cancel_at off_session"
    " cancel_at_period_end pause_collection payment_behavior payment_settings"
    " proration_behavior trial_end trial_settings cancellation_details default_tax_rates",
)
def update(call: Call) -> Answer:
    work, params = call.work, call.params
    subscription = work.find("subscription", call.id)
    if subscription["status"] in TERMINAL and set(params) - {"metadata", "cancellation_details"}:
        raise invalid(
            "A canceled subscription can only update its cancellation_details and metadata."
        )
    changes = with_metadata(subscription, params, f"{PLAIN_FIELDS} trial_settings")
    changes |= _payment_settings(params) | _tax_rates(work, params)
    if wanted := params.get("default_payment_method"):
        customer = work.find("customer", subscription["customer"], "customer")
        method = people.usable_method(work, wanted, customer, "default_payment_method")
        if method["customer"] is None:
            people.attach(work, method, customer)
        changes["default_payment_method"] = method["id"]
    elif "default_payment_method" in params:
        changes["default_payment_method"] = None
    if "pause_collection" in params:
        sent = params["pause_collection"]
        changes["pause_collection"] = {"resumes_at": None, **sent} if sent else None
    if details := params.get("cancellation_details"):
        changes["cancellation_details"] = {**subscription["cancellation_details"], **details}
    if params.get("items"):
        _change_items(work, subscription, params)
    if "trial_end" in params:
        changing.change_trial(work, subscription, params["trial_end"])
    work.change(subscription, subscribing.UPDATED, **changes)
    _schedule(work, subscription, params)
    return subscription


def _change_items(work: Work, subscription: Json, params: Json) -> None:
    """Replaces, adds and removes items as `items` asks."""
    current = {item["id"]: item for item in subscribing.items_of(subscription)}
    begin, end = subscribing.period_of(subscription)
    for place, sent in enumerate(params["items"]):
        param = f"items[{place}]"
        if (id_ := sent.get("id")) is None:
            order = _ordered(work, sent, param)
            item = subscribing.new_item(work, subscription, order, begin, end)
            current[item["id"]] = item
        elif id_ not in current:
            raise no_such("subscription_item", id_, f"{param}[id]", 400)
        elif sent.get("deleted"):
            del current[id_]
        else:
            current[id_] = _changed_item(work, current[id_], sent, param)
    items = list(current.values())
    _check_same([Ordered(item["price"]) for item in items])
    changing.change_items(
        work, subscription, items, params.get("proration_behavior", "create_prorations")
    )


def _changed_item(work: Work, item: Json, sent: Json, param: str) -> Json:
    changed = dict(item)
    if sent.get("price") or sent.get("price_data"):
        order = _ordered(work, sent, param)
        fresh = subscribing.new_item(work, {"id": item["subscription"]}, order, 0, 0)
        changed |= {"price": fresh["price"], "plan": fresh["plan"]}
    if "quantity" in sent:
        changed["quantity"] = sent["quantity"]
    if "tax_rates" in sent:
        changed["tax_rates"] = rates_named(work, sent["tax_rates"], f"{param}[tax_rates]")
    if "metadata" in sent:
        changed["metadata"] = metadata(item["metadata"], sent["metadata"])
    return changed


@api(
    "DELETE",
    "/v1/subscriptions/{id}",
    "SubscriptionCancelParams",
    supports="cancellation_details invoice_now prorate",
)
def cancel(call: Call) -> Answer:
    work, params = call.work, call.params
    subscription = work.find("subscription", call.id)
    if subscription["status"] in TERMINAL:
        raise no_such("subscription", call.id)
    if params.get("prorate") or params.get("invoice_now"):
        changing.final_proration(
            work,
            subscription,
            credit=params.get("prorate", False),
            invoice_now=params.get("invoice_now", False),
        )
    subscribing.cancel(work, subscription, **params.get("cancellation_details", {}))
    return subscription


@api(
    "POST",
    "/v1/subscriptions/{id}/resume",
    "SubscriptionResumeParams",
    supports="billing_cycle_anchor proration_behavior",
)
def resume(call: Call) -> Answer:
    work, params = call.work, call.params
    subscription = work.find("subscription", call.id)
    if subscription["status"] != "paused":
        raise invalid(
            f"Only paused subscriptions can be resumed; this one is {subscription['status']}."
        )
    keep = params.get("billing_cycle_anchor", "now") == "unchanged"
    subscribing.resume(work, subscription, keep_anchor=keep)
    return subscription


@api(
    "GET",
    "/v1/subscriptions",
    "SubscriptionListParams",
    supports=f"{PAGING} created customer status price collection_method current_period_start"
    " current_period_end test_clock",
)
def list_subscriptions(call: Call) -> Answer:
    params = call.params
    filters = Filters()
    filters.equal(params, "customer")
    filters.json_equal(params, "collection_method")
    if not params.get("customer"):
        filters.of_clock(params)
    status = params.get("status")
    if status == "ended":
        filters.add("status IN ('canceled', 'incomplete_expired')")
    elif status is None:
        filters.add("status <> 'canceled'")
    elif status != "all":
        filters.add("status = ?", status)
    if price := params.get("price"):
        filters.add(
            "EXISTS (SELECT 1 FROM json_each(json, '$.items.data')"
            " WHERE json_extract(value, '$.price.id') = ?)",
            price,
        )
    for edge in ("current_period_start", "current_period_end"):
        filters.compare(params, edge, f"json_extract(json, '$.items.data[0].{edge}')")
    return page_of(call, "subscription", filters, "/v1/subscriptions")


@api(
    "GET", "/v1/subscription_items", "SubscriptionItemListParams", supports=f"{PAGING} subscription"
)
def list_items(call: Call) -> Answer:
    need(call.params, ["subscription"])
    subscription = call.work.find("subscription", call.params["subscription"], "subscription")
    return slice_of(call, subscribing.items_of(subscription), "/v1/subscription_items")

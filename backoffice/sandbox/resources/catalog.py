"""Products and prices."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work, difference

PRODUCT_FIELDS = (
    "active description images name package_dimensions shippable statement_descriptor tax_code"
    " unit_label url"
)

retrievable("product", "/v1/products/{id}", "ProductRetrieveParams")
retrievable("price", "/v1/prices/{id}", "PriceRetrieveParams")


@api(
    "POST",
    "/v1/products",
    "ProductCreateParams",
    supports=f"{PRODUCT_FIELDS} id metadata type default_price_data marketing_features",
)
def create_product(call: Call) -> Answer:
    work, params = call.work, call.params
    id_ = params.get("id") or work.new_id("prod_")
    if work.stored(id_):
        raise invalid("Product already exists.", "id", "resource_already_exists")
    fields = chosen(params, f"{PRODUCT_FIELDS} marketing_features type")
    product = work.add(
        shapes.product(id_, work.now, metadata=metadata({}, params.get("metadata")), **fields)
    )
    work.emit("product.created", product)
    if (wanted := params.get("default_price_data")) is not None:
        price = make_price(work, wanted, product["id"])
        work.change(product, "product.updated", default_price=price["id"])
    return product


@api(
    "POST",
    "/v1/products/{id}",
    "ProductUpdateParams",
    supports=f"{PRODUCT_FIELDS} metadata default_price marketing_features",
)
def update_product(call: Call) -> Answer:
    product = call.work.find("product", call.id)
    if price := call.params.get("default_price"):
        call.work.find("price", price, "default_price")
    changes = with_metadata(
        product, call.params, f"{PRODUCT_FIELDS} default_price marketing_features"
    )
    return call.work.change(product, "product.updated", updated=call.work.now, **changes)


@api("DELETE", "/v1/products/{id}", "ProductDeleteParams")
def delete_product(call: Call) -> Answer:
    product = call.work.find("product", call.id)
    if call.work.select("price", parent=product["id"]):
        raise invalid(
            "This product cannot be deleted because it has one or more user-created prices."
        )
    call.work.emit("product.deleted", product)
    return call.work.delete(product)


@api(
    "GET",
    "/v1/products",
    "ProductListParams",
    supports=f"{PAGING} active created ids type url shippable",
)
def list_products(call: Call) -> Answer:
    filters = Filters()
    filters.json_equal(call.params, "active", "shippable", "url")
    filters.equal(call.params, "type")
    if ids := call.params.get("ids"):
        filters.add(f"id IN ({','.join('?' * len(ids))})", *ids)
    return page_of(call, "product", filters, "/v1/products")


PRICE_FIELDS = "active lookup_key nickname tax_behavior"


def make_price(work: Work, wanted: Json, product: str, **more: Any) -> Json:
    """A new price for `product` as `price_data` and its like describe it."""
    need(wanted, ["currency"])
    amount = wanted.get("unit_amount")
    decimal = wanted.get("unit_amount_decimal")
    if amount is None and decimal is None:
        raise invalid(
            "You must specify either `unit_amount` or `unit_amount_decimal`.", "unit_amount"
        )
    if amount is not None and amount < 0:
        raise invalid("Invalid non-negative integer", "unit_amount", "parameter_invalid_integer")
    recurring = wanted.get("recurring")
    if recurring:
        recurring = {
            "interval": recurring["interval"],
            "interval_count": recurring.get("interval_count", 1),
            "meter": recurring.get("meter"),
            "trial_period_days": recurring.get("trial_period_days"),
            "usage_type": recurring.get("usage_type", "licensed"),
        }
    if amount is None and decimal is not None and float(decimal).is_integer():
        amount = int(float(decimal))
    price = work.add(
        shapes.price(
            work.new_id("price_"),
            work.now,
            currency=wanted["currency"].lower(),
            metadata=metadata({}, wanted.get("metadata")),
            product=product,
            recurring=recurring,
            unit_amount=amount,
            unit_amount_decimal=decimal,
            **chosen(wanted, "tax_behavior"),
            **more,
        )
    )
    if recurring:
        work.emit("plan.created", shapes.plan(price))
    work.emit("price.created", price)
    return price


def price_for(work: Work, wanted: Json, param: str) -> Json:
    """The price that a line names by `price`, or describes by `price_data`."""
    if id_ := wanted.get("price"):
        price = work.find("price", id_, f"{param}[price]")
        if not price["active"]:
            raise invalid(
                f"The price specified is inactive. This field only accepts active prices: {id_}",
                f"{param}[price]",
            )
        return price
    described = wanted.get("price_data")
    if not described:
        raise invalid(
            f"Missing required param: {param}[price].", f"{param}[price]", "parameter_missing"
        )
    if product := described.get("product"):
        work.find("product", product, f"{param}[price_data][product]")
    else:
        data = described.get("product_data") or {}
        need(data, ["name"])
        made = work.add(
            shapes.product(
                work.new_id("prod_"),
                work.now,
                active=False,
                metadata=metadata({}, data.get("metadata")),
                **chosen(data, "name description images"),
            )
        )
        product = made["id"]
        work.emit("product.created", made)
    return make_price(work, described, product, active=False)


@api(
    "POST",
    "/v1/prices",
    "PriceCreateParams",
    supports=f"{PRICE_FIELDS} currency metadata product product_data recurring unit_amount"
    " unit_amount_decimal billing_scheme transfer_lookup_key",
)
def create_price(call: Call) -> Answer:
    work, params = call.work, call.params
    if product := params.get("product"):
        work.find("product", product, "product")
    elif data := params.get("product_data"):
        fields = chosen(data, "name active statement_descriptor tax_code unit_label")
        made = shapes.product(
            work.new_id("prod_"), work.now, metadata=metadata({}, data.get("metadata")), **fields
        )
        product = work.add(made)["id"]
        work.emit("product.created", made)
    else:
        need(params, ["product"])
    if params.get("billing_scheme", "per_unit") != "per_unit":
        raise invalid("This sandbox simulates only per_unit prices.", "billing_scheme")
    if key := params.get("lookup_key"):
        _claim_lookup_key(work, key, transfer=params.get("transfer_lookup_key", False))
    return make_price(work, params, str(product), **chosen(params, "active lookup_key nickname"))


def _claim_lookup_key(work: Work, key: str, *, transfer: bool) -> None:
    for price in work.select("price"):
        if price["lookup_key"] == key:
            if not transfer:
                raise invalid(
                    f"A price ({price['id']}) already uses that lookup key.", "lookup_key"
                )
            work.change(price, "price.updated", lookup_key=None)


@api(
    "POST",
    "/v1/prices/{id}",
    "PriceUpdateParams",
    supports=f"{PRICE_FIELDS} metadata transfer_lookup_key",
)
def update_price(call: Call) -> Answer:
    work, params = call.work, call.params
    price = work.find("price", call.id)
    if (key := params.get("lookup_key")) and key != price["lookup_key"]:
        _claim_lookup_key(work, key, transfer=params.get("transfer_lookup_key", False))
    changes = with_metadata(price, params, PRICE_FIELDS)
    if price["recurring"]:
        _tell_plan(work, price, changes)
    work.change(price, "price.updated", **changes)
    _refresh_embedded(work, price)
    return price


def _tell_plan(work: Work, price: Json, changes: Json) -> None:
    """A recurring price is a plan, too: `plan.updated` if that shows the changes."""
    before, after = shapes.plan(price), shapes.plan(price | changes)
    if previous := difference(before, after):
        work.emit("plan.updated", after, previous)


def _refresh_embedded(work: Work, price: Json) -> None:
    """Subscriptions show the price as it is now."""
    work.flush()
    holders = work.store.rows(
        "SELECT id FROM objects WHERE kind = 'subscription' AND instr(json, ?) > 0", [price["id"]]
    )
    for (id_,) in holders:
        subscription = work.find("subscription", id_)
        items = [
            item | {"price": dict(price), "plan": shapes.plan(price)}
            if item["price"]["id"] == price["id"]
            else item
            for item in subscription["items"]["data"]
        ]
        work.change(subscription, items=subscription["items"] | {"data": items})


@api(
    "GET",
    "/v1/prices",
    "PriceListParams",
    supports=f"{PAGING} active created currency lookup_keys product type recurring",
)
def list_prices(call: Call) -> Answer:
    params = call.params
    filters = Filters()
    filters.json_equal(params, "active", "currency", "product")
    filters.equal(params, "type")
    for name, value in params.get("recurring", {}).items():
        filters.add("json_extract(json, ?) = ?", f"$.recurring.{name}", value)
    if keys := params.get("lookup_keys"):
        marks = ",".join("?" * len(keys))
        filters.add(f"json_extract(json, '$.lookup_key') IN ({marks})", *keys)
    return page_of(call, "price", filters, "/v1/prices")

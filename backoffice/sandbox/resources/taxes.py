"""Tax rates."""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import invalid
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.resources.common import chosen, metadata, need, with_metadata
from backoffice.sandbox.routing import Answer, Call, api, retrievable
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

retrievable("tax_rate", "/v1/tax_rates/{id}", "TaxRateRetrieveParams")

RATE_FIELDS = "active country description display_name jurisdiction state tax_type"


@api(
    "POST",
    "/v1/tax_rates",
    "TaxRateCreateParams",
    supports=f"{RATE_FIELDS} inclusive metadata percentage",
)
def create_rate(call: Call) -> Answer:
    work, params = call.work, call.params
    need(params, ["display_name"])
    percentage = params["percentage"]
    if not 0 <= percentage <= 100:
        raise invalid("Invalid percentage: must be between 0 and 100", "percentage")
    rate = work.add(
        shapes.tax_rate(
            work.new_id("txr_"),
            work.now,
            metadata=metadata({}, params.get("metadata")),
            **chosen(params, f"{RATE_FIELDS} inclusive percentage"),
        )
    )
    work.emit("tax_rate.created", rate)
    return rate


@api("POST", "/v1/tax_rates/{id}", "TaxRateUpdateParams", supports=f"{RATE_FIELDS} metadata")
def update_rate(call: Call) -> Answer:
    """What carries a tax rate already keeps it as it was, which is told by its percentage alone."""
    rate = call.work.find("tax_rate", call.id)
    changes = with_metadata(rate, call.params, RATE_FIELDS)
    return call.work.change(rate, "tax_rate.updated", **changes)


@api("GET", "/v1/tax_rates", "TaxRateListParams", supports=f"{PAGING} active created inclusive")
def list_rates(call: Call) -> Answer:
    filters = Filters()
    filters.json_equal(call.params, "active", "inclusive")
    return page_of(call, "tax_rate", filters, "/v1/tax_rates")


def rates_named(work: Work, ids: Any, param: str) -> list[Json]:
    """The tax rates that a request names; '' names none. Those that are not active are refused."""
    rates = []
    for place, id_ in enumerate(ids or ()):
        rate = work.find("tax_rate", id_, f"{param}[{place}]")
        if not rate["active"]:
            raise invalid(f"Tax rate {id_} is inactive and cannot be used.", f"{param}[{place}]")
        rates.append(dict(rate))
    return rates

"""Test clocks."""

from backoffice.sandbox.lifecycle import clocks
from backoffice.sandbox.listing import PAGING, Filters, page_of
from backoffice.sandbox.routing import Answer, Call, api, retrievable

PATH = "/v1/test_helpers/test_clocks"
retrievable(clocks.KIND, f"{PATH}/{{id}}", "test_helpers.TestClockRetrieveParams")


@api("POST", PATH, "test_helpers.TestClockCreateParams", supports="frozen_time name")
def create_clock(call: Call) -> Answer:
    return clocks.create(call.work, call.params["frozen_time"], name=call.params.get("name"))


@api(
    "POST",
    f"{PATH}/{{id}}/advance",
    "test_helpers.TestClockAdvanceParams",
    supports="frozen_time",
)
def advance_clock(call: Call) -> Answer:
    clock = call.work.find(clocks.KIND, call.id)
    clocks.advance(call.work, clock, call.params["frozen_time"])
    return clock


@api("DELETE", f"{PATH}/{{id}}", "test_helpers.TestClockDeleteParams")
def delete_clock(call: Call) -> Answer:
    return clocks.delete(call.work, call.work.find(clocks.KIND, call.id))


@api("GET", PATH, "test_helpers.TestClockListParams", supports=PAGING)
def list_clocks(call: Call) -> Answer:
    return page_of(call, clocks.KIND, Filters(), PATH)

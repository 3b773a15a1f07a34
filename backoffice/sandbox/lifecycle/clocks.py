"""Test clocks: the time of some customers, which stands still until it is advanced.

A customer of a test clock, and what belongs to the customer, lives at the clock's `frozen_time`.
The events that tell of it are made at the sandbox's own time. (Stripe stamps payments with the
real time as well: stripe-python issue 1183. Here they are dated by the clock, so that bank debits
settle as it advances.)
"""

from typing import Any

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle import subscribing
from backoffice.sandbox.lifecycle.calendar import period_end
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

KIND = "test_helpers.test_clock"
MOST_CUSTOMERS = 3
TWO_YEARS = 2 * 365 * 86400


def create(work: Work, frozen_time: int, **given: Any) -> Json:
    """A new clock that stands at `frozen_time`; live mode has none."""
    if work.store.livemode:
        raise invalid("Test clocks can only be used in test mode.")
    clock = work.add(
        shapes.test_clock(work.new_id("clock_"), work.now, frozen_time=frozen_time, **given)
    )
    work.emit(f"{KIND}.created", clock)
    return clock


def enter(work: Work, clock: Json) -> None:
    """A customer is to be made at a clock's time; Stripe's error if it has three already."""
    expect_still(clock)
    if len(customers_of(work, clock)) >= MOST_CUSTOMERS:
        raise invalid(
            f"You cannot have more than {MOST_CUSTOMERS} customers in one test clock.",
            "test_clock",
        )
    work.enter(clock)


def expect_still(clock: Json) -> None:
    """Stripe's error while a clock advances: nothing of it can be changed then."""
    if clock["status"] == "advancing":
        message = "Test clock advancement underway - cannot perform modifications."
        raise ApiError(429, message, code="lock_timeout")


def customers_of(work: Work, clock: Json) -> list[Json]:
    """The customers of a clock."""
    return work.select("customer", clock=clock["id"])


def advance(work: Work, clock: Json, target: int) -> None:
    """Sets a clock going towards `target`; it gets there in steps, see `sandbox.time`."""
    expect_still(clock)
    if clock["status"] == "internal_failure":
        raise invalid("This test clock failed to advance and can only be deleted.")
    if target <= clock["frozen_time"]:
        raise invalid(
            "The new frozen time must be after the test clock's current frozen time.",
            "frozen_time",
        )
    if target > _furthest(work, clock):
        raise invalid(
            "Cannot advance a test clock by more than two intervals of its shortest subscription"
            " at once; without subscriptions, by more than two years.",
            "frozen_time",
        )
    work.change(
        clock, status="advancing", status_details={"advancing": {"target_frozen_time": target}}
    )
    work.emit(f"{KIND}.advancing", clock)


def _furthest(work: Work, clock: Json) -> int:
    """The latest time to which a clock can be advanced at once."""
    start: int = clock["frozen_time"]
    ends = []
    for subscription in work.select("subscription", clock=clock["id"]):
        if subscription["status"] not in subscribing.TERMINAL:
            recurring = subscribing.items_of(subscription)[0]["price"]["recurring"]
            once = period_end(start, start, recurring)
            ends.append(period_end(once, start, recurring))
    return min(ends, default=start + TWO_YEARS)


def arrive(work: Work, clock: Json) -> None:
    """A clock has reached the time that it was advanced to."""
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    work.change(clock, frozen_time=target, status="ready", status_details={})
    work.emit(f"{KIND}.ready", clock)


def break_down(work: Work, clock: Json) -> None:
    """Something failed while a clock advanced: it can only be deleted now."""
    work.change(clock, status="internal_failure", status_details={})
    work.emit(f"{KIND}.internal_failure", clock)


def delete(work: Work, clock: Json) -> Json:
    """Deletes a clock with its customers."""
    work.enter(clock)
    for customer in customers_of(work, clock):
        subscribing.delete_customer(work, customer)
    work.emit(f"{KIND}.deleted", clock)
    return work.delete(clock)

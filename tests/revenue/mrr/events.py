"""Events of subscriptions as Stripe sends them, written into the log."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from billing.ingress import log
from billing.models import MrrChange, SubscriptionState
from billing.revenue.mrr import facts

START = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def price(amount: Any, interval: str = "month", count: int = 1, **more: Any) -> dict[str, Any]:
    """A recurring price, of which one unit costs `amount` minor units."""
    recurring = {"interval": interval, "interval_count": count, "usage_type": "licensed"}
    recurring |= more.pop("recurring", {})
    name = f"price_{amount}_{interval}_{count}"
    return {
        "id": name,
        "object": "price",
        "currency": "usd",
        "unit_amount": amount if isinstance(amount, int) else None,
        "unit_amount_decimal": str(amount),
        "product": "prod_1",
        "recurring": recurring,
        **more,
    }


def items(*priced: tuple[dict[str, Any], int]) -> dict[str, Any]:
    """A subscription's items."""
    data = [{"id": f"si_{n}", "price": p, "quantity": q} for n, (p, q) in enumerate(priced)]
    return {"object": "list", "data": data}


@dataclass
class Told:
    """A subscription whose life is told in events, written one by one."""

    id: str = "sub_1"
    customer: str = "cus_1"
    currency: str = "usd"
    object: dict[str, Any] = field(default_factory=dict)
    numbers: int = 0

    def event(self, days: float, kind: str = "updated", **changes: Any) -> dict[str, Any]:
        """An event so many days after START, whose object has these changes from now on."""
        at = int((START + DAY * days).timestamp())
        if not self.object:
            self.object = {
                "id": self.id, "object": "subscription", "customer": self.customer,
                "currency": self.currency, "created": at, "start_date": at, "status": "active",
                "items": items((price(1000), 1)), "metadata": {"user_id": "u_1"},
            }  # fmt: skip
        self.object = {**self.object, **changes}
        self.numbers += 1
        return {
            "id": f"evt_{self.id}_{self.numbers}",
            "type": f"customer.subscription.{kind}",
            "created": at,
            "data": {"object": self.object},
        }

    def tell(self, days: float, kind: str = "updated", **changes: Any) -> None:
        """The same, logged."""
        log.write([self.event(days, kind, **changes)])

    def cancel(self, days: float, reason: str | None = "cancellation_requested") -> None:
        ended = int((START + DAY * days).timestamp())
        self.tell(days, "deleted", status="canceled", ended_at=ended,
                  cancellation_details={"reason": reason})  # fmt: skip


def days_after(at: datetime | None) -> float | None:
    """How many days after START."""
    return None if at is None else round((at - START) / DAY, 3)


def states(id_: str = "sub_1") -> list[tuple[Any, ...]]:
    """What the facts have of a subscription: (day, status, mrr)."""
    facts.refresh()
    found = SubscriptionState.objects.filter(subscription_id=id_)
    return [(days_after(state.at), state.status, state.mrr) for state in found]


def changes(customer: str = "cus_1") -> list[tuple[Any, ...]]:
    """What changed the customer's revenue: (day, kind, before, after)."""
    facts.refresh()
    found = MrrChange.objects.filter(customer_id=customer)
    return [(days_after(change.at), change.kind, change.before, change.after) for change in found]

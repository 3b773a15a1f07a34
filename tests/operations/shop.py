"""The marketplace that the tests buy from, and reading what became of it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, connections, transaction

from billing.models import (
    BillingEvent,
    BillingSubscription,
    CreditEntry,
    LeadCredits,
    OperationRecord,
    acting_as,
)
from billing.operations.base import Actor
from billing.projection import ledger
from billing.projection.ledger import Entry
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain, events_of

BOB = {"actor": Actor.cli("bob"), "reason": "The customer called"}


@dataclass
class Shop:
    """Prices in a sandbox, and stories told with them."""

    sandbox: SandboxProcess
    pack: str = field(init=False)
    plan: str = field(init=False)

    def __post_init__(self) -> None:
        self.pack = self._price(4500, 50)
        self.plan = self._price(2900, 20, recurring={"interval": "month"})

    def _price(self, amount: int, credits_: int, **more: Any) -> str:
        product = self.sandbox.stripe.v1.products.create({"name": f"{credits_} credits"})
        price = self.sandbox.stripe.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": amount,
                "metadata": {"lead_credits": str(credits_)},
                **more,
            }
        )
        return price.id

    def buy(self, **params: Any) -> Any:
        """A paid pack of the user u_ada."""
        params = {"email": "ada@example.com", "user_id": "u_ada", "price": self.pack, **params}
        return self.sandbox.story("buy_pack", **params)

    def subscribe(self, **params: Any) -> Any:
        """A subscription of the user u_ada."""
        params = {"email": "ada@example.com", "user_id": "u_ada", "price": self.plan, **params}
        return self.sandbox.story("subscribe", **params)

    def deliver(self) -> None:
        """Brings every event so far to the back office, and processes them."""
        deliver_and_drain(events_of(self.sandbox))

    def at_stripe(self, subscription_id: str) -> Any:
        """The subscription as the sandbox has it."""
        return self.sandbox.get(f"/v1/subscriptions/{subscription_id}").json()

    def event_of(self, type_: str) -> str:
        """The id of the latest event of a type."""
        events = [event for event in events_of(self.sandbox) if event["type"] == type_]
        return str(events[-1]["id"])


def balance(user_id: str) -> tuple[int, int]:
    """Balance and what is owed; no row means 0."""
    row = LeadCredits.objects.filter(user_id=user_id).first()
    return (row.balance, row.owed) if row else (0, 0)


def status_here(subscription_id: str) -> str:
    return BillingSubscription.objects.get(stripe_subscription_id=subscription_id).status


def audits(type_: str) -> list[dict[str, Any]]:
    """The payloads of the audit events of a type, the oldest first."""
    events = BillingEvent.objects.filter(type=type_).order_by("id")
    return list(events.values_list("payload", flat=True))


def record_of(key: str) -> OperationRecord:
    return OperationRecord.objects.get(key=key)


def owing(user_id: str, amount: int) -> None:
    """Lets a user owe credits, as a refund of spent ones does."""
    with transaction.atomic(), acting_as("stripe"):
        ledger.post([Entry(user_id, -amount, CreditEntry.Kind.REFUND)])


def past_triggers(*statements: str) -> None:
    """Runs SQL on the balances as the tables' owner does in a restore: the triggers are off."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lead_credits DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("ALTER TABLE lead_credits ENABLE TRIGGER USER")


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Makes the calls in threads that start together; their results or exceptions."""
    outcomes: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(position: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            outcomes[position] = call()
        except Exception as error:
            outcomes[position] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes

"""The people of a world, of whom each has one thing go wrong, and how things go wrong there."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from random import Random
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef

from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    CreditPrice,
    LeadCredits,
    PaymentReversal,
)
from tests.reconciliation.world import World
from tests.support.events import Event

OLD = "2020-08-27"  # an API version whose payload is not read: the object is fetched
A_QUARTER = timedelta(days=90)


@dataclass(frozen=True)
class Expected:
    """What reconciliation must find of one seed: kind, subject, and the operation that mends it.

    `who` is the user or customer that it is found about; '' where nobody is known.
    """

    kind: str
    subject: str
    fix: str | None
    who: str = ""

    @property
    def found(self) -> tuple[str, str, str | None]:
        return (self.kind, self.subject, self.fix)


@dataclass(frozen=True)
class Subscriber:
    """Somebody with one active subscription that is paid month by month."""

    user_id: str
    customer: str
    subscription: str
    price: str


@dataclass
class Town:
    """A world and the dice: who is hit, and by which of the ways in which a thing goes wrong."""

    world: World
    seed: int
    made: int = 0
    random: Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    @cached_property
    def subscribers(self) -> Iterator[Subscriber]:
        """Everybody with an ordinary subscription, in the order of the dice."""
        found = sorted(ordinary_subscribers(), key=lambda each: each.subscription)
        self.random.shuffle(found)
        return iter(found)

    def subscriber(self) -> Subscriber:
        """An ordinary subscriber to whom nothing has happened yet."""
        return next(self.subscribers)

    @cached_property
    def pack(self) -> str:
        """A pack of 37 credits, which nobody in the world has bought."""
        return self.price(3700, 37)

    @cached_property
    def unlock(self) -> str:
        """A monthly plan that unlocks features and brings no credits."""
        return self.price(1900, 0, **{"recurring[interval]": "month"})

    def price(self, amount: int, credits_: int | None, **more: str) -> str:
        """A new price in US cents; one without `credits_` is mapped to nothing."""
        form = {"currency": "usd", "unit_amount": amount, "product_data[name]": "Leads", **more}
        if credits_ is not None:
            form["metadata[lead_credits]"] = credits_
        return str(self.post("prices", **form)["id"])

    def post(self, path: str, **form: Any) -> Any:
        """What Stripe's API answers to a POST."""
        return self.world.sandbox.post(f"/v1/{path}", form).raise_for_status().json()

    def tell(self, story: str, **params: Any) -> Any:
        return self.world.sandbox.story(story, **params)

    def number(self) -> int:
        """A new number, for names that nobody has."""
        self.made += 1
        return self.made

    def newcomer(self) -> tuple[str, str]:
        """A new customer with a card and the user they stand for: (user, customer)."""
        number = self.number()
        form = {
            "email": f"newcomer{number}@example.com",
            "metadata[user_id]": f"u_new_{number}",
            "payment_method": "pm_card_visa",
            "invoice_settings[default_payment_method]": "pm_card_visa",
        }
        return form["metadata[user_id]"], str(self.post("customers", **form)["id"])

    def buyer(self) -> tuple[str, str, Any]:
        """A new customer who bought a pack: (user, customer, ids of what they bought)."""
        user, customer = self.newcomer()
        bought = self.tell("buy_pack", customer=customer, user_id=user, price=self.pack)
        self.bring()
        return user, customer, bought

    def bring(self) -> None:
        """What is new comes, all of it."""
        self.world.bring(self.world.new_events())

    def lose(self, *types: str) -> list[Event]:
        """What is new comes, but for the events of these types. Returns the lost ones."""
        events = self.world.new_events()
        missed = [event for event in events if event["type"] in types]
        assert missed, f"nothing of {types} was sent"
        self.world.bring(events, missed)
        return missed

    def lose_newest(self, type_: str) -> None:
        """What is new comes, but for the newest event of this type."""
        events = self.world.new_events()
        self.world.bring(events, [event for event in events if event["type"] == type_][-1:])

    @contextmanager
    def fault(self, **fault: Any) -> Iterator[None]:
        """Stripe's API misbehaves meanwhile."""
        made = self.world.sandbox.control("faults", **fault)
        try:
            yield
        finally:
            self.world.sandbox.control(f"faults/{made['id']}", http="DELETE")

    def at_stripe(self, path: str) -> Any:
        return self.world.sandbox.get(f"/v1/{path}").raise_for_status().json()


def ordinary_subscribers() -> list[Subscriber]:
    """Who has one customer, one active monthly subscription, and never had any trouble."""
    customer = {"stripe_customer_id": OuterRef("stripe_customer_id")}
    several = (
        BillingCustomer.objects.values("user_id").annotate(n=Count("pk")).filter(n__gt=1)
    ).values("user_id")
    shared = (
        BillingCustomer.objects.values("email").annotate(n=Count("pk")).filter(n__gt=1)
    ).values("email")
    crowded = (
        BillingSubscription.objects.values("stripe_customer_id")
        .annotate(n=Count("pk"))
        .filter(n__gt=1)
    ).values("stripe_customer_id")
    reversed_ = BillingPayment.objects.filter(
        stripe_charge_id__in=PaymentReversal.objects.values("charge_id")
    ).values("stripe_customer_id")
    living = BillingCustomer.objects.filter(**customer, deleted=False)
    rows = (
        BillingSubscription.objects.filter(
            Exists(living.exclude(user_id__in=several).exclude(email__in=shared)),
            Exists(LeadCredits.objects.filter(user_id=OuterRef("user_id"), balance__gte=20)),
            ~Exists(BillingInvoice.objects.filter(**customer).exclude(status="paid")),
            status="active",
            cancel_at_period_end=False,
            cancel_at=None,
            collection_paused=False,
            currency="usd",
            price_id__in=CreditPrice.objects.filter(credits__lte=600).values("price_id"),
        )
        .exclude(stripe_customer_id__in=crowded)
        .exclude(stripe_customer_id__in=reversed_)
        .exclude(current_period_end__gt=F("current_period_start") + A_QUARTER)
    )
    names = ("user_id", "stripe_customer_id", "stripe_subscription_id", "price_id")
    return [Subscriber(*row) for row in rows.values_list(*names)]


def restore(table: str, statement: str, *values: Any) -> None:
    """Runs SQL as the tables' owner does who restores rows: the triggers are off."""
    assert re.fullmatch(r"\w+", table)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(statement, values)
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def run_sql(statement: str, *values: Any) -> None:
    """What somebody types into psql."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)

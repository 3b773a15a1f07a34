"""Whose rows are: the user of each customer, subscription, invoice and purchase.

Operations that say whose something is note what they changed, so that exactly that can be
taken back.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from django.db import transaction
from django.db.models import Model, Q
from django.db.models.functions import Now

from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingSubscription,
    Purchase,
    acting_as,
)

T = TypeVar("T")

TABLES: dict[str, tuple[type[Model], str]] = {
    "Customer": (BillingCustomer, "stripe_customer_id"),
    "Subscription": (BillingSubscription, "stripe_subscription_id"),
    "Invoice": (BillingInvoice, "stripe_invoice_id"),
    "Purchase": (Purchase, "source"),
}

Owners = dict[str, dict[str, str | None]]  # table, id, user
Moved = dict[str, dict[str, list[str | None]]]  # table, id, [user before, user after]


def owners(
    customer_ids: Iterable[str], *, sources: Iterable[str] = (), user: str | None = None
) -> Owners:
    """The users of these customers' rows, of these purchases, and of what is `user`'s."""
    theirs = Q(stripe_customer_id__in=list(customer_ids))
    if user is not None:
        theirs |= Q(user_id=user)
    found: Owners = {}
    for name, (model, key) in TABLES.items():
        wanted = theirs | Q(source__in=list(sources)) if model is Purchase else theirs
        rows = model._default_manager.filter(wanted).order_by(key)
        found[name] = dict(rows.values_list(key, "user_id"))
    return found


def current(found: Owners) -> Owners:
    """The users of the same rows, as they are now."""
    return {
        name: dict(
            model._default_manager.filter(**{f"{key}__in": list(found[name])}).values_list(
                key, "user_id"
            )
        )
        for name, (model, key) in TABLES.items()
    }


def moved(before: Owners, after: Owners) -> Moved:
    """What became another user's, or was made, from one look to the next."""
    return {
        name: {
            id_: [before[name].get(id_), user]
            for id_, user in users.items()
            if id_ not in before[name] or before[name][id_] != user
        }
        for name, users in after.items()
    }


def give_back(changed: Moved) -> None:
    """Sets the users back, of rows that are still as they were left."""
    for name, (model, key) in TABLES.items():
        for id_, (old, new) in changed.get(name, {}).items():
            rows = model._default_manager.filter(**{key: id_}, user_id=new)
            rows.update(user_id=old, updated_at=Now())


def rehearsed(act: Callable[[], T], *, actor: str) -> T:
    """What `act` says that it did, in a transaction that is rolled back.

    A preview is the real thing: what a plan shows is what applying it does.
    """
    with transaction.atomic():
        with acting_as(actor):
            said = act()
        transaction.set_rollback(True)
    return said

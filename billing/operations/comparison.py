"""The billing rows of some customers before and after, field by field.

A preview is the real thing, rolled back: what a plan shows is what applying it does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from billing.diagnosis.differences import INVOICE_FIELDS, SUBSCRIPTION_FIELDS, in_words
from billing.diagnosis.rehearsal import rehearse
from billing.gateway.observation import Observation
from billing.gateway.shapes import event_customer_id
from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingSubscription,
    OperationRecord,
    Purchase,
)
from billing.operations.base import Change, Operation, Result
from billing.projection.intake import Intake, bring_in
from billing.projection.ledger import Posted

ABSENT = "not here"
Rows = dict[str, dict[str, str]]

CUSTOMER = ("user_id", "email", "name", "delinquent", "deleted")
SUBSCRIPTION = ("user_id", *SUBSCRIPTION_FIELDS)
INVOICE = ("user_id", *INVOICE_FIELDS)
PURCHASE = ("user_id", "status", "credits", "amount", "currency")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows are compared: Stripe's objects by id, and everything of these customers."""

    object_ids: frozenset[str]
    customer_ids: frozenset[str]

    @classmethod
    def of(cls, observations: Iterable[Observation]) -> "Scope":
        items = list(observations)
        customers = {event_customer_id(item.data) for item in items} - {""}
        return cls(frozenset(item.id for item in items), frozenset(customers))


def rows(scope: Scope) -> Rows:
    """The rows as they are now, each as its fields in words."""
    return {
        f"{title} {getattr(row, key)}": {
            name: in_words(name, getattr(row, name), getattr(row, "currency", "")) for name in names
        }
        for title, query, key, names in _queries(scope)
        for row in query
    }


def row_changes(before: Rows, after: Rows) -> list[Change]:
    """What differs: one change for a new row, and one for each field of a known one."""
    found: list[Change] = []
    for title, fields in after.items():
        known = before.get(title)
        if known is None:
            found.append(Change(title, ABSENT, fields.get("status", "here")))
            continue
        found += [
            Change(f"{title}: {name}", known[name], value)
            for name, value in fields.items()
            if known[name] != value
        ]
    return found


def credit_changes(posted: Iterable[Posted]) -> list[Change]:
    """What happened to each user's balance, and to what they owe."""
    by_user: dict[str, list[Posted]] = {}
    for item in posted:
        by_user.setdefault(item.entry.user_id, []).append(item)
    found: list[Change] = []
    for user, items in sorted(by_user.items()):
        first, last = items[0], items[-1]
        balance = (first.balance_after - first.delta, last.balance_after)
        owed = (first.owed_after - first.owed_delta, last.owed_after)
        for name, (old, new) in (("balance", balance), ("owed", owed)):
            if old != new:
                found.append(Change(f"Credits of user {user}: {name}", str(old), str(new)))
    return found


def nothing_more(intake: Intake) -> None:
    """What most operations write besides."""


def preview(
    observations: Sequence[Observation],
    *,
    actor: str,
    doubted: Iterable[str] = (),
    also: Callable[[Intake], None] = nothing_more,
) -> list[Change]:
    """What bringing these objects in would change. Writes nothing that lasts.

    `also` writes what the operation does besides. Raises a GatewayError where Stripe does
    not tell what else is needed.
    """
    scope = Scope.of(observations)
    before = rows(scope)

    def look(intake: Intake) -> list[Change]:
        also(intake)
        return row_changes(before, rows(scope)) + credit_changes(intake.posted)

    return rehearse(observations, look, actor=actor, doubted=doubted)


def bring_in_for(
    operation: Operation,
    record: OperationRecord,
    observations: Sequence[Observation],
    describe: Callable[[list[Change]], Result],
    *,
    before: Rows | None = None,
    also: Callable[[Intake], None] = nothing_more,
) -> Result:
    """Brings these objects in and records the operation, in one transaction.

    `describe` makes the result from what changed since `before`, which is now unless given.
    `also` writes what the operation does besides.
    """
    scope = Scope.of(observations)
    known = rows(scope) if before is None else before
    results: list[Result] = []

    def commit(intake: Intake) -> None:
        also(intake)
        changes = row_changes(known, rows(scope)) + credit_changes(intake.posted)
        with operation.committing(record) as done:
            done.result = describe(changes)
        results.append(done.result)

    bring_in(observations, actor=operation.actor.name, within=commit)
    return results[-1]


def _queries(scope: Scope) -> list[tuple[str, QuerySet[Any], str, tuple[str, ...]]]:
    ids, customers = scope.object_ids, scope.customer_ids
    theirs = Q(stripe_customer_id__in=customers)
    return [
        ("Customer", BillingCustomer.objects.filter(theirs), "stripe_customer_id", CUSTOMER),
        (
            "Subscription",
            BillingSubscription.objects.filter(theirs | Q(stripe_subscription_id__in=ids)),
            "stripe_subscription_id",
            SUBSCRIPTION,
        ),
        (
            "Invoice",
            BillingInvoice.objects.filter(theirs | Q(stripe_invoice_id__in=ids)),
            "stripe_invoice_id",
            INVOICE,
        ),
        ("Purchase", Purchase.objects.filter(theirs | Q(source__in=ids)), "source", PURCHASE),
    ]

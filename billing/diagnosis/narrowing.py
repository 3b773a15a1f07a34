"""Narrowing a list to what an operator has at hand: an email, a user's id, any Stripe id.

Whole ids and beginnings of emails are looked up in indexes, so that it costs the same on a
large database.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import BooleanField, F, Func, Model, Q, QuerySet
from django.db.models.fields.json import KT

from billing.diagnosis.search import PART, search
from billing.models import BillingCustomer, BillingEvent

Row = TypeVar("Row", bound=Model)

MOST_PEOPLE = 200  # customers that one search may stand for
FEW = 2_000  # of whom a part of an email or name is looked up first, and then put in order
ALL = 2**31  # rows

# The newest first, in words of which no index has the order: those who match are found by an index
# of what they match and sorted, however many PostgreSQL takes them for. It would go through all
# customers from the newest where it thinks that many match, and all of those may be old.
_SORTED = ((F("created_at") + timedelta()).desc(), F("id").desc())


@dataclass(frozen=True, slots=True)
class People:
    """Customers by their Stripe ids, and the users that they stand for."""

    customers: frozenset[str]
    users: frozenset[str]


NOBODY = People(frozenset(), frozenset())


def people(term: str) -> People:
    """Those whom an email (or how it begins), a user's id or a customer's id names."""
    rows = BillingCustomer.objects.filter(
        Q(email__istartswith=term) | Q(user_id=term) | Q(stripe_customer_id=term)
    )
    if len(term) >= PART:
        rows = rows.order_by(*_SORTED)
    found = list(rows.values_list("stripe_customer_id", "user_id")[:MOST_PEOPLE])
    return People(
        frozenset(customer for customer, _ in found),
        frozenset(user for _, user in found if user) | {term},
    )


def find(
    rows: QuerySet[Row],
    term: str,
    ids: Iterable[str],
    *,
    customer: str = "",
    user: str = "",
    also: Q | None = None,
) -> QuerySet[Row]:
    """The rows with `term` in one of their `ids`, of the people whom it names, or that `also` says.

    `customer` and `user` are the fields with the Stripe customer and the user, if any.
    """
    matches = also or Q()
    for field in ids:
        matches |= Q(**{field: term})
    named = people(term) if customer or user else NOBODY
    if customer and named.customers:
        matches |= Q(**{f"{customer}__in": named.customers})
    if user:
        matches |= Q(**{f"{user}__in": named.users})
    if not matches:
        return rows.none()
    return found_first(rows, rows.filter(matches)) if named.customers else rows.filter(matches)


def found_first(rows: QuerySet[Row], found: QuerySet[Row]) -> QuerySet[Row]:
    """The same rows as `found`, where these are few: found first, and then put in order."""
    return rows.filter(pk__in=ids(found))


def ids(found: QuerySet[Any], most: int = ALL) -> QuerySet[Any]:
    """The ids of a few rows, in no order, for a query that PostgreSQL looks at by itself.

    Together with an order and a page's length it would go through all rows in that order until
    the page is full, which comes late where what is looked for is old.
    """
    return found.order_by().values_list("pk", flat=True)[:most]


def find_customers(rows: QuerySet[BillingCustomer], term: str) -> QuerySet[BillingCustomer]:
    """Customers by all that the search knows them by; by a part of an email or name, all."""
    found = search(term)
    shown = [i for hit in found.hits for i in hit.person.customer_ids]
    matches = Q(stripe_customer_id__in=shown)
    if not found.more:
        return rows.filter(matches)
    part = Q(email__icontains=term) | Q(name__icontains=term)
    are_few = len(ids(rows.filter(part), FEW + 1)) <= FEW
    matching = rows.filter(matches | part)
    return rows.filter(_one_of(matching)) if are_few else matching


def _one_of(found: QuerySet[Any]) -> Func:
    """That a row is one of these few, for the reason of `_SORTED`, whatever they are sorted by.

    As an array that is not known yet: PostgreSQL expects ten of them, and never thinks that
    going through all rows in the page's order would fill it sooner.
    """
    return Func(
        F("pk"),
        ArraySubquery(ids(found)),
        template="%(expressions)s)",
        arg_joiner=" = ANY(",
        output_field=BooleanField(),
    )


def find_events(rows: QuerySet[BillingEvent], term: str) -> QuerySet[BillingEvent]:
    """Events by their own id, or by the object, customer, subscription or user in them."""
    named = people(term)
    about = _about([term], named.customers | {term}, named.users)
    found = with_subjects(rows).filter(Q(stripe_event_id=term) | about)
    return found_first(rows, found) if named.customers else found


def events_of(
    *, objects: Iterable[str] = (), customers: Iterable[str] = (), users: Iterable[str] = ()
) -> QuerySet[BillingEvent]:
    """The log's rows about these objects, customers and users."""
    return with_subjects(BillingEvent.objects.all()).filter(_about(objects, customers, users))


def _about(objects: Iterable[str], customers: Iterable[str], users: Iterable[str]) -> Q:
    ids, names = list(objects), list(users)
    return (
        Q(object_id__in=ids)
        | Q(subscription_id__in=ids)
        | Q(customer_id__in=list(customers))
        | Q(user__in=names)
        | Q(metadata_user__in=names)
    )


def with_subjects(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Names for what the payload says the event is about, spelt as in the indexes."""
    named: QuerySet[Any] = rows.alias(
        object_id=KT("payload__id"),
        subscription_id=KT("payload__subscription"),
        customer_id=KT("payload__customer"),
        user=KT("payload__user_id"),
        metadata_user=KT("payload__metadata__user_id"),
    )
    return named

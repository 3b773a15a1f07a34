"""Keeps the states and the changes: derived again where something happened, and checked."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Coalesce, Least

from billing.database import rows, stream
from billing.models import MrrChange, SubscriptionsRead, SubscriptionState
from billing.revenue.mrr import days
from billing.revenue.mrr.changes import CHANGES
from billing.revenue.mrr.derived import Derived
from billing.revenue.mrr.states import STATES

name = "subscriptions"
BATCH = 1_000  # subscriptions or customers that are derived at once
LOCK = 7_020  # of PostgreSQL's advisory locks


def _columns(model: type[SubscriptionState] | type[MrrChange]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields if not field.primary_key)


STATE = Derived(
    SubscriptionState._meta.db_table,
    "subscription_id = ANY(%(ids)s)",
    ("subscription_id", "at"),
    _columns(SubscriptionState),
    STATES,
)
CHANGE = Derived(
    MrrChange._meta.db_table,
    "customer_id = ANY(%(ids)s)",
    ("customer_id", "currency", "at"),
    _columns(MrrChange),
    CHANGES,
)

_LOGGED = """
    SELECT payload->>'id' AS id FROM billing_events
    WHERE starts_with(type, 'customer.subscription.') AND payload->>'id' IS NOT NULL
"""
_ALL = f"""
    {_LOGGED} UNION SELECT id FROM djstripe_subscription
    UNION SELECT subscription_id FROM billing_subscription_states
"""  # noqa: S608  (a query of this module)
_NEW = f"""
    {_LOGGED} AND id > %(event_id)s
    UNION SELECT stripe_subscription_id FROM billing_subscriptions
        WHERE updated_at >= coalesce(%(written_at)s::timestamptz, '-infinity')
    UNION SELECT stripe_subscription_id FROM billing_invoices
        WHERE id > %(invoice_id)s AND stripe_subscription_id <> ''
"""  # noqa: S608  (a query of this module)
_CUSTOMERS = """
    SELECT customer_id AS id FROM billing_subscription_states
    UNION SELECT customer_id FROM billing_mrr_changes
"""
# Up to where nothing can appear any more: what a transaction that is still open has written is
# not to be seen yet, and has an id and a time from after its start.
_SETTLED = """
    WITH begun AS (
        SELECT least(now() - interval '1 minute', min(xact_start)) AS at FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    )
    SELECT begun.at AS written_at,
           (SELECT coalesce(max(id), %(event_id)s) FROM billing_events
            WHERE id > %(event_id)s AND recorded_at < begun.at) AS event_id,
           (SELECT coalesce(max(id), %(invoice_id)s) FROM billing_invoices
            WHERE id > %(invoice_id)s AND updated_at < begun.at) AS invoice_id
    FROM begun
"""


def refresh() -> int:
    """Derives again what has events, was written, or was billed since; how many rows changed."""
    read, _ = SubscriptionsRead.objects.get_or_create(pk=1)
    before = {name: getattr(read, name) for name in ("event_id", "invoice_id", "written_at")}
    settled = rows(_SETTLED, before)[0]
    changed = sum(_derive(ids) for ids in _batches(_NEW, before))
    _note(**settled)
    return changed + _add_up()


def rebuild() -> int:
    """Derives everything again, batch by batch; how many rows were not as they should be.

    It may be interrupted, and run beside `refresh`.
    """
    SubscriptionsRead.objects.get_or_create(pk=1)
    settled = rows(_SETTLED, {"event_id": 0, "invoice_id": 0})[0]
    changed = sum(_derive(ids) for ids in _batches(_ALL))
    changed += sum(_derive_changes(ids) for ids in _batches(_CUSTOMERS))
    _stale(days.BEGINNING)
    _note(**settled)
    return changed + _add_up()


def check() -> Iterator[dict[str, Any]]:
    """What a fresh derivation says otherwise (billing.revenue.facts.Family)."""
    for ids in _batches(_ALL):
        yield from STATE.differences(ids=ids)
    for ids in _batches(_CUSTOMERS):
        yield from CHANGE.differences(ids=ids)
    yield from days.DAY.differences(since=days.BEGINNING)


def _batches(sql: str, params: dict[str, Any] | None = None) -> Iterator[list[str]]:
    found = (row["id"] for row in stream(f"{sql} ORDER BY 1", params or {}))
    while batch := list(islice(found, BATCH)):
        yield batch


def _derive(ids: list[str]) -> int:
    """The states of these subscriptions, and the changes of their customers."""
    with transaction.atomic():
        _lock()
        states = STATE.derive(ids=ids)
        found = SubscriptionState.objects.filter(subscription_id__in=ids)
        customers = found.order_by().values_list("customer_id", flat=True).distinct()
        changes = CHANGE.derive(ids=sorted(customers))
        _stale(states.since, changes.since)
        return states.count + changes.count


def _derive_changes(ids: list[str]) -> int:
    with transaction.atomic():
        _lock()
        changes = CHANGE.derive(ids=ids)
        _stale(changes.since)
        return changes.count


def _stale(*since: datetime | None) -> None:
    """Notes from when on the days are to be added up again."""
    if times := [at for at in since if at is not None]:
        earliest = Least(Coalesce("stale_from", min(times)), min(times))
        SubscriptionsRead.objects.filter(pk=1).update(stale_from=earliest)


def _add_up() -> int:
    """Adds up the days since something changed; how many rows were not."""
    with transaction.atomic():
        _lock()
        since = SubscriptionsRead.objects.values_list("stale_from", flat=True).get(pk=1)
        if since is None:
            return 0
        SubscriptionsRead.objects.filter(pk=1).update(stale_from=None)
        return days.DAY.derive(since=days.day_of(since)).count


def _lock() -> None:
    """One derivation at a time, until the transaction's end: two of one row would collide."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _note(*, event_id: int, invoice_id: int, written_at: datetime) -> None:
    SubscriptionsRead.objects.filter(pk=1).update(
        event_id=event_id, invoice_id=invoice_id, written_at=written_at
    )

"""Statuses that were set by hand: they end as soon as Stripe's own word is written over them."""

from collections.abc import Iterable

from django.db.models import QuerySet
from django.db.models.functions import Now

from billing.models import BillingEvent, BillingSubscription, StatusOverride

STRIPE = "stripe"  # as `ended_by`: Stripe's own word came in


def in_force(subscription_ids: Iterable[str]) -> QuerySet[StatusOverride]:
    """The overrides of these subscriptions that have not ended, the oldest first."""
    return StatusOverride.objects.filter(
        stripe_subscription_id__in=list(subscription_ids), ended_at=None
    ).order_by("pk")


def end(subscription_ids: Iterable[str], by: str) -> int:
    """Ends the overrides in force of these subscriptions, with an audit event each; how many.

    To be called in the transaction that wrote their statuses, after it did.
    """
    overrides = list(in_force(subscription_ids).select_for_update())
    for override in overrides:
        StatusOverride.objects.filter(pk=override.pk).update(ended_at=Now(), ended_by=by)
        _log_end(override, by)
    return len(overrides)


def put_back(subscription_ids: Iterable[str], by: str) -> int:
    """Gives the subscriptions whose override is in force the status from before; how many.

    A status that somebody changed since then stays. Inside a transaction.
    """
    overrides = list(in_force(subscription_ids))
    for override in overrides:
        BillingSubscription.objects.filter(
            stripe_subscription_id=override.stripe_subscription_id, status=override.status
        ).update(status=override.status_before, updated_at=Now())
    return end([override.stripe_subscription_id for override in overrides], by)


def _log_end(override: StatusOverride, by: str) -> None:
    subscription = override.stripe_subscription_id
    rows = BillingSubscription.objects.filter(stripe_subscription_id=subscription)
    row = rows.first()
    status = row.status if row else "gone"
    BillingEvent.objects.create(
        type="system.override_ended",
        payload={
            "subscription": subscription,
            "customer": row.stripe_customer_id if row else "",
            "user_id": row.user_id if row else None,
            "status_before": override.status_before,
            "status_by_hand": override.status,
            "status": status,
            "ended_by": by,
            "set_by": override.actor,
            "operation": override.operation_key,
            "summary": (
                f"The status {override.status} that {override.actor} set by hand has ended."
                f" {subscription} is {status}."
            ),
        },
    )

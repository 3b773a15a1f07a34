"""How far back Stripe's events go (STRIPE.md, Webhooks): older history is in its objects alone."""

from datetime import datetime, timedelta

KEPT_EVENTS = timedelta(days=30) - timedelta(hours=1)  # Stripe lists no older ones


def lost_history(
    since: datetime, until: datetime, now: datetime
) -> tuple[datetime, datetime] | None:
    """The part of a window (UTC) of which no events can be had any more; None where there is
    none."""
    oldest = now - KEPT_EVENTS
    return (since, min(until, oldest)) if since < oldest else None

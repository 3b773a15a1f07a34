"""What our rows have to say after something happened at Stripe, and where it can get stuck."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet, Sum

from billing.alerts.firing import list_page
from billing.alerts.flow import NOT_STRIPES
from billing.models import (
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    InboxEvent,
    LeadCredits,
    WebhookRejection,
)
from billing.smoke.steps import Sign, StuckError, open_page

Status = InboxEvent.Status
THROUGH = (Status.PROCESSED, Status.IGNORED)


def refused_so_far() -> int:
    """How many requests to the webhook were ever refused; not those that nobody signed."""
    counts = WebhookRejection.objects.exclude(reason=NOT_STRIPES)
    return int(counts.aggregate(all=Sum("count"))["all"] or 0)


def came(type_: str, object_id: str, *, refused: int) -> Sign:
    """Stripe's webhook about an object; `refused` is how many were refused before the test."""
    events = InboxEvent.objects.filter(
        type=type_, object_id=object_id, source=InboxEvent.Source.WEBHOOK
    )

    def stuck(waited: float) -> StuckError:
        newly = refused_so_far() - refused
        if newly > 0:
            return StuckError(
                f"No {type_} about {object_id} came within {waited:.0f} s, but"
                f" {newly:,} requests to the webhook were refused since the test began.",
                "After a wrong signature, set STRIPE_WEBHOOK_SECRET to the endpoint's secret, and"
                " start the web server again. manage.py check_webhooks says more.",
                list_page(WebhookRejection, since="hour"),
            )
        return StuckError(
            f"Stripe's webhook {type_} about {object_id} did not come within {waited:.0f} s:"
            " webhooks do not reach this back office.",
            "Run manage.py check_webhooks: is the web server up, the endpoint registered at"
            " Stripe, enabled, and reached under PUBLIC_URL?",
            list_page(InboxEvent),
        )

    return Sign(f"Stripe's webhook {type_}", events.exists, stuck)


def processed(type_: str, object_id: str) -> Sign:
    """The worker has processed that event."""

    def event() -> InboxEvent | None:
        return InboxEvent.objects.filter(type=type_, object_id=object_id).first()

    def seen() -> bool:
        row = event()
        if row is not None and row.status in (Status.DEAD, Status.SET_ASIDE):
            raise not_processed(row, 0)
        return row is not None and row.status in THROUGH

    def stuck(waited: float) -> StuckError:
        row = event()
        if row is None:
            gone = f"The event {type_} about {object_id} is not in the inbox any more."
            return StuckError(gone, "Does somebody delete rows?", list_page(InboxEvent))
        return not_processed(row, waited)

    return Sign(f"the worker to process {type_}", seen, stuck)


def not_processed(row: InboxEvent, waited: float) -> StuckError:
    """Why an event of the inbox has no effect yet."""
    page = open_page(id=row.stripe_event_id)
    if row.status == Status.PENDING:
        return StuckError(
            f"The event {row.type} came, and is still pending after {waited:.0f} s.",
            "Start a worker: manage.py run_worker. If one runs, its log says what it is at.",
            page,
        )
    return StuckError(
        f"The event {row.type} is {row.status.replace('_', ' ')}. {row.reason}".strip(),
        "Its page says why. Once that is mended: manage.py replay_events"
        f" {row.stripe_event_id} --reason ...",
        page,
    )


def subscription_is(status: str, subscription_id: str) -> Sign:
    rows = BillingSubscription.objects.filter(stripe_subscription_id=subscription_id)
    return _status_is(status, "subscription", subscription_id, rows)


def invoice_is(status: str, invoice_id: str) -> Sign:
    rows = BillingInvoice.objects.filter(stripe_invoice_id=invoice_id)
    return _status_is(status, "invoice", invoice_id, rows)


def _status_is(status: str, what: str, stripe_id: str, rows: QuerySet[Any]) -> Sign:
    """The one row of an object of Stripe's has this status."""

    def stuck(waited: float) -> StuckError:
        row = rows.first()
        held = f"is {row.status}" if row else "is not here"
        return StuckError(
            f"The {what} {stripe_id} {held} after {waited:.0f} s, not {status}.",
            f"Compare it with Stripe: manage.py diagnose {stripe_id}.",
            open_page(id=stripe_id),
        )

    return Sign(f"the {what} to be {status}", rows.filter(status=status).exists, stuck)


def ledger_is(user_id: str, entries: Mapping[str, int]) -> Sign:
    """The user's ledger holds these entries (a prefix of the source, and credits) and no other.

    Each once: what stands there twice, or for more, does not go away by waiting.
    """
    total = sum(entries.values())

    def held() -> list[tuple[str, int]]:
        rows = CreditEntry.objects.filter(user_id=user_id).order_by("id")
        return [(str(source or ""), delta) for source, delta in rows.values_list("source", "delta")]

    def balance() -> int:
        row = LeadCredits.objects.filter(user_id=user_id).first()
        return row.balance - row.owed if row else 0

    def seen() -> bool:
        found = held()
        if len(found) > len(entries):
            raise wrong(f"holds {len(found)} entries, where {len(entries)} are right")
        return matches(found, entries) and balance() == total

    def wrong(how: str) -> StuckError:
        listed = ", ".join(f"{source} {delta:+,}" for source, delta in held()) or "nothing"
        return StuckError(
            f"The ledger of {user_id} {how}: {listed}. Their balance is {balance():,}.",
            f"Look at the customer: manage.py diagnose {user_id}.",
            open_page(user=user_id),
        )

    def stuck(waited: float) -> StuckError:
        return wrong(f"does not come to {total:,} credits after {waited:.0f} s")

    return Sign(f"a balance of {total:,} credits", seen, stuck)


def matches(found: list[tuple[str, int]], entries: Mapping[str, int]) -> bool:
    """Whether each entry is found once, by how its source begins."""
    return len(found) == len(entries) and all(
        [delta for source, delta in found if source.startswith(prefix)] == [credits_]
        for prefix, credits_ in entries.items()
    )

"""Do webhooks come in, and are they processed? Rules on the inbox and on what was refused."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q

from billing.alerts.firing import (
    Firing,
    Look,
    Severity,
    counted,
    list_page,
    outage_page,
)
from billing.diagnosis.webhooks import PING
from billing.formatting import format_age, format_time
from billing.ingress import retention
from billing.models import InboxEvent, WebhookRejection

Status = InboxEvent.Status

QUIET_AT_LEAST = timedelta(minutes=10)  # before which no silence is worth a word
HISTORY_DAYS = 28
ENOUGH_DAYS = 10  # of them with events in this hour of the day, for its usual gap to be known
TIMES_USUAL = 2

WINDOW = timedelta(minutes=15)
HOUR = timedelta(hours=1)
MIN_REFUSED = 10  # requests in the window
REFUSED_SHARE = 0.2
MIN_FAILED = 5  # events in the window
FAILED_SHARE = 0.1
# Stripe signs each of its deliveries: what has no signature is somebody else's.
NOT_STRIPES = "no signature"

BACKLOG = 1_000  # events
WAITING_LONG = timedelta(minutes=5)  # for a worker that is alive
FAILING_LONG = timedelta(hours=1)
KEPT_TOO_LONG = timedelta(days=7)  # beyond the day on which a payload is to be dropped

# For each of the past days: of the gaps between events that ended in this hour of the day, the
# longest. A gap that began before the hour counts as a whole.
USUAL_GAP = """
    SELECT count(longest), percentile_cont(0.9) WITHIN GROUP (ORDER BY longest)
    FROM generate_series(%(hour)s - make_interval(days => %(days)s),
                         %(hour)s - interval '1 day', interval '1 day') AS h(start),
    LATERAL (
        SELECT max(gap) AS longest
        FROM (
            SELECT received_at - coalesce(
                lag(received_at) OVER (ORDER BY received_at),
                (SELECT max(received_at) FROM billing_inbox
                 WHERE received_at < h.start AND source = 'webhook' AND type <> %(ping)s)) AS gap
            FROM billing_inbox
            WHERE received_at >= h.start AND received_at < h.start + interval '1 hour'
              AND source = 'webhook' AND type <> %(ping)s
        ) AS gaps
    ) AS of_the_day
"""


def quiet(look: Look) -> Iterator[Firing]:
    """No event for longer than the usual gap for this hour of the day (UTC).

    The usual gap is what nine of ten days had at most: of the past 28 days, each day's longest
    gap between two webhooks that ended in this hour, and of those the 90th percentile (so that
    two days of weekend a week count as usual, and an outage does not). It is too long from twice
    that on, and never before 10 minutes. With fewer than 10 days that had an event in this hour
    nobody can say what is usual: nothing fires. Pings of our own do not count as events.
    """
    last = newest_webhook()
    if last is None or look.now - last < QUIET_AT_LEAST:
        return
    days, usual = usual_gap(look.now)
    if days < ENOUGH_DAYS or usual is None or look.now - last <= TIMES_USUAL * usual:
        return
    yield Firing(
        "No event has come from Stripe for unusually long",
        f"The last one came at {format_time(last)}, {format_age(last, look.now)}. At this hour the"
        f" longest gap is usually {in_words(usual)}. Run manage.py check_webhooks: it says whether"
        " the endpoint is enabled and reached. Until it is, manage.py recover_outage --critical"
        " brings in what is critical; then, without it, all that was missed.",
        outage_page(last - WINDOW),
    )


def newest_webhook() -> datetime | None:
    """When Stripe's last delivery came."""
    webhooks = InboxEvent.objects.filter(source=InboxEvent.Source.WEBHOOK).exclude(type=PING)
    newest: datetime | None = (
        webhooks.order_by("-received_at").values_list("received_at", flat=True).first()
    )
    return newest


def usual_gap(now: datetime) -> tuple[int, timedelta | None]:
    """How many days say so, and the usual gap at this hour. It reads this hour of each day only."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(USUAL_GAP, {"hour": hour, "days": HISTORY_DAYS, "ping": PING})
        days, usual = cursor.fetchone()
    return days, usual


def refused(look: Look) -> Iterator[Firing]:
    """Many of the requests to the webhook in the past 15 minutes were refused."""
    reasons = {reason: n for reason, n in newly_refused(look).items() if n}
    total = sum(reasons.values())
    if total < MIN_REFUSED:
        return
    received = InboxEvent.objects.filter(
        received_at__gte=look.now - WINDOW, source=InboxEvent.Source.WEBHOOK
    ).count()
    if total < REFUSED_SHARE * (total + received):
        return
    most = sorted(reasons.items(), key=lambda each: -each[1])[:3]
    yield Firing(
        "Deliveries to the webhook are refused",
        f"{total:,} of {total + received:,} in the past 15 minutes:"
        f" {'; '.join(f'{n:,} × {reason}' for reason, n in most)}. After a wrong signature, set"
        " STRIPE_WEBHOOK_SECRET to the secret that Stripe's dashboard shows, and start the web"
        " server again. Stripe sends again what was refused; manage.py recover_outage brings it in"
        " at once.",
        outage_page(),
    )


def newly_refused(look: Look) -> dict[str, int]:
    """By reason, how many requests were refused in the past 15 minutes.

    They are counted by hour, so the rule remembers its own counts of the past minutes, and takes
    the difference to the newest that is 15 minutes old. In its first minutes it takes the hour's
    counts that went up within the 15.
    """
    this_hour = look.now.replace(minute=0, second=0, microsecond=0)
    rows = (
        WebhookRejection.objects.filter(hour__gte=this_hour - HOUR)
        .exclude(reason=NOT_STRIPES)
        .values_list("hour", "reason", "count", "last_at")
    )
    counts = {f"{hour.isoformat()} {reason}": count for hour, reason, count, _ in rows}
    since = look.now - WINDOW
    remembered: list[Any] = look.memory.get("counts", [])  # pairs of a time and its counts
    old = [each for each in remembered if each[0] <= since.timestamp()]
    new = [each for each in remembered if each[0] > since.timestamp()]
    look.memory["counts"] = [*old[-1:], *new, [look.now.timestamp(), counts]]
    before = old[-1][1] if old else {}
    found: dict[str, int] = {}
    for hour, reason, count, last_at in rows:
        if last_at > since:
            more = count - before.get(f"{hour.isoformat()} {reason}", 0)
            found[reason] = found.get(reason, 0) + more
    return found


def failing(look: Look) -> Iterator[Firing]:
    """Of the events that came in the past 15 minutes and were tried, many failed."""
    counts = InboxEvent.objects.filter(
        received_at__gte=look.now - WINDOW, attempts__gt=0
    ).aggregate(
        failed=Count("id", filter=Q(status__in=(Status.FAILED, Status.DEAD))),
        dead=Count("id", filter=Q(status=Status.DEAD)),
        tried=Count("id"),
    )
    failed, tried = counts["failed"], counts["tried"]
    if failed < MIN_FAILED or failed < FAILED_SHARE * tried:
        return
    status = Status.DEAD if counts["dead"] else Status.FAILED
    why = reasons_of(look.now - WINDOW)
    yield Firing(
        "Events fail to be processed",
        f"{failed:,} of the {tried:,} events of the past 15 minutes that were tried,"
        f" {counts['dead']:,} of them for good. The most frequent reason: {why} Those that failed"
        " are tried again by themselves; what is dead needs a replay once the reason is gone.",
        list_page(InboxEvent, status=status, since="hour"),
    )


def reasons_of(since: datetime) -> str:
    """The most frequent reason why events that came since then have failed."""
    rows = (
        InboxEvent.objects.filter(
            received_at__gte=since, attempts__gt=0, status__in=(Status.FAILED, Status.DEAD)
        )
        .order_by()
        .values_list("reason")
        .annotate(times=Count("id"))
        .order_by("-times", "reason")
    )
    reason = next((reason for reason, _ in rows[:1]), "")
    return f"{reason[:300].rstrip('. ')}."


def backlog(look: Look) -> Iterator[Firing]:
    """Too many events wait to be processed, or one for too long, or only a person can help it.

    The web process checks it, too: a worker that hangs looks at nothing itself.
    """
    waiting = InboxEvent.objects.filter(status__in=(*InboxEvent.OPEN, Status.DEAD)).aggregate(
        pending=Count("id", filter=Q(status=Status.PENDING)),
        pending_since=Min("received_at", filter=Q(status=Status.PENDING)),
        failed=Count("id", filter=Q(status=Status.FAILED)),
        failed_since=Min("received_at", filter=Q(status=Status.FAILED)),
        dead=Count("id", filter=Q(status=Status.DEAD)),
        dead_since=Min("received_at", filter=Q(status=Status.DEAD)),
    )
    since, count = waiting["pending_since"], waiting["pending"]
    if count >= BACKLOG or (since and look.now - since > WAITING_LONG):
        yield Firing(
            "Events wait too long to be processed",
            f"{counted(count, 'event waits', 'events wait')}, the oldest since"
            f" {format_time(since)}. Is a worker running, and is it fast enough? Start another:"
            " manage.py run_worker. Its log says what it is at.",
            list_page(InboxEvent, status=Status.PENDING),
            key="pending",
        )
    since = waiting["failed_since"]
    if since and look.now - since > FAILING_LONG:
        yield Firing(
            "Events have failed for more than an hour",
            f"{counted(waiting['failed'], 'event')}, the oldest since {format_time(since)}. They"
            " are tried again at growing intervals; each says why it failed.",
            list_page(InboxEvent, status=Status.FAILED),
            Severity.WARNING,
            key="failed",
        )
    if dead := waiting["dead"]:
        yield Firing(
            "Events are dead",
            f"{counted(dead, 'event has', 'events have')} failed for good, the oldest came at"
            f" {format_time(waiting['dead_since'])}: nothing happens until somebody acts. See why,"
            " put it right, and replay them.",
            list_page(InboxEvent, status=Status.DEAD),
            Severity.WARNING,
            key="dead",
        )


def in_words(span: timedelta) -> str:
    """A span of time, in minutes or hours."""
    minutes = max(1, round(span.total_seconds() / 60))
    if minutes < 120:
        return counted(minutes, "minute")
    return counted(round(minutes / 60), "hour")


def payloads(look: Look) -> Iterator[Firing]:
    """Raw payloads are here that were to be dropped a week ago: the nightly job does not run.

    One statement on a partial index.
    """
    limit = retention.before()
    if limit is None:
        return
    late = InboxEvent.objects.filter(
        retention.DONE, payload_dropped_at=None, received_at__lt=limit - KEPT_TOO_LONG
    )
    oldest = late.order_by("received_at").values_list("received_at", flat=True).first()
    if oldest is None:
        return
    yield Firing(
        "Raw payloads are kept for longer than they may be",
        f"The oldest was received {format_time(oldest)}, and RETAIN_PAYLOADS_DAYS says"
        f" {settings.RETAIN_PAYLOADS_DAYS}. See why the worker's nightly job does not drop them:"
        " manage.py drop_payloads does it now.",
        list_page(InboxEvent),
        Severity.WARNING,
    )

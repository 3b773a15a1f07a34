"""Telling people of alerts and of incidents, by email and by an incoming webhook in Slack's format.

A message is taken for the length of a lease, sent outside any transaction, and marked. One whose
sender is killed in between goes out again; two senders never take the same. A receiver that is
down is tried once a round, and again at growing intervals; the alert shows why it was in vain. The
webhook's address is a secret: it stands in no log, no error and on no page.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlsplit

import httpx
from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import connection

from billing.alerts.firing import row_page
from billing.formatting import format_span, format_time, in_reading_order
from billing.incidents.told import TEAM
from billing.models import Alert, AlertMessage

logger = logging.getLogger(__name__)

ANSWER_WITHIN = 3  # seconds, for each step of it
AT_ONCE = 30  # messages of one round
LEASE = timedelta(minutes=1)
# Seconds to the next try after each failure; after the last one it is given up.
BACKOFF = (60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600)

Occasion, Way = AlertMessage.Occasion, AlertMessage.Way


def tell(now: datetime) -> int:
    """Sends the messages that are due; how many went out."""
    broken: dict[str, str] = {}
    taken = take(now)
    for message in taken:
        error = broken.get(message.way) or send(message)
        if error:
            broken[message.way] = error
        note(message, error, now)
    if alerts := {message.alert_id for message in taken if message.alert_id}:
        show(alerts)
    return sum(message.sent_at is not None for message in taken)


def take(now: datetime) -> list[AlertMessage]:
    """The messages that are due, past other senders'; the end of an alert after its beginning."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_alert_messages SET next_attempt_at = %s, attempts = attempts + 1
            WHERE id IN (
                SELECT id FROM billing_alert_messages AS m
                WHERE sent_at IS NULL AND next_attempt_at <= %s AND NOT EXISTS (
                    SELECT FROM billing_alert_messages AS earlier
                    WHERE earlier.alert_id = m.alert_id AND earlier.way = m.way
                      AND earlier.id < m.id
                      AND earlier.sent_at IS NULL AND earlier.next_attempt_at IS NOT NULL)
                ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING id
            """,
            [now + LEASE, now, AT_ONCE],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    found = AlertMessage.objects.filter(pk__in=ids)
    return list(found.select_related("alert", "entry__incident")) if ids else []


def send(message: AlertMessage) -> str:
    """Why it did not go out, in words without any address; '' if it did."""
    said = Words.of(message)
    try:
        if message.way == Way.EMAIL:
            send_email(said, message)
            return ""
        return post(said)
    except Exception as error:
        return f"it could not be reached ({type(error).__name__})."


def send_email(said: "Words", message: AlertMessage) -> None:
    """One letter to everybody. A second one of the same message has the same id.

    The team does not see who else is told.
    """
    host = urlsplit(settings.PUBLIC_URL).hostname
    entry = message.entry
    others = [each for each in entry.told if each != TEAM] if entry else []
    is_team = entry is None or TEAM in entry.told
    name = f"incident-{entry.pk}" if entry else f"alert-{message.alert_id}"
    EmailMessage(
        said.title,
        f"{said.detail}\n\n{said.url}\n",
        to=settings.ALERT_EMAILS if is_team else others,
        bcc=others if is_team else [],
        headers={"Message-ID": f"<{name}-{message.occasion}@{host}>"},
        connection=get_connection(timeout=ANSWER_WITHIN),
    ).send()


def post(said: "Words") -> str:
    """What is wrong with the receiver's answer, '' for nothing. Its text is not even read."""
    text = f"*{escape(said.title)}*\n{escape(said.detail)}\n<{link(said.url)}|Open it>"
    with httpx.stream(
        "POST", settings.ALERT_WEBHOOK_URL, json={"text": text}, timeout=ANSWER_WITHIN
    ) as response:
        return "" if response.is_success else f"it answered {response.status_code}."


@dataclass(frozen=True, slots=True)
class Words:
    """What a message says: one line, more lines, and where it leads."""

    title: str
    detail: str
    url: str

    @classmethod
    def of(cls, message: AlertMessage) -> "Words":
        if message.alert:
            return cls.of_alert(message.alert, message.occasion)
        assert message.entry is not None  # noqa: S101  (a message without an alert is an entry's)
        incident = message.entry.incident
        title = in_reading_order(f"Incident: {' '.join(incident.title.split())}")
        detail = in_reading_order(message.entry.text)
        return cls(title, detail, f"{settings.PUBLIC_URL}{row_page(incident)}")

    @classmethod
    def of_alert(cls, alert: Alert, occasion: str) -> "Words":
        url = f"{settings.PUBLIC_URL}{alert.page}"
        title = in_reading_order(" ".join(alert.title.split()))
        if occasion == Occasion.OPENED:
            return cls(title, in_reading_order(alert.detail), url)
        return cls(f"Resolved: {title}", f"It is over. {lasted(alert)}", url)


def lasted(alert: Alert) -> str:
    """`It lasted 1 hour 20 minutes, from … to ….`"""
    until = alert.resolved_at or alert.last_seen_at
    minutes = max(1, round((until - alert.opened_at).total_seconds() / 60))
    span = f"from {format_time(alert.opened_at)} to {format_time(until)}"
    return f"It lasted {format_span(minutes)}, {span}."


def escape(text: str) -> str:
    """Text without Slack's control characters, so that none of it is a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str) -> str:
    """An address that cannot end Slack's link early."""
    return escape(quote(url, safe="%/:?&=#+@[],~"))


def note(message: AlertMessage, error: str, now: datetime) -> None:
    """Keeps that it went out, or when it is tried again."""
    if error:
        about = f"incident {message.entry.incident_id}" if message.entry else message.alert_id
        logger.warning("alert %s could not be told by %s: %s", about, message.way, error)
        again = message.attempts <= len(BACKOFF)
        pause = timedelta(seconds=BACKOFF[min(message.attempts, len(BACKOFF)) - 1])
        message.next_attempt_at = now + pause if again else None
    else:
        message.sent_at = now
    message.error = error
    message.save(update_fields=["next_attempt_at", "sent_at", "error"])


def show(alerts: set[int]) -> None:
    """Says on the alerts when they were told, by every way, and why they were not yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE billing_alerts AS a
            SET told_at = m.opened, over_told_at = m.resolved, delivery_error = m.error
            FROM (
                SELECT alert_id,
                    CASE WHEN bool_and(sent_at IS NOT NULL) FILTER (WHERE occasion = 'opened')
                         THEN max(sent_at) FILTER (WHERE occasion = 'opened') END AS opened,
                    CASE WHEN bool_and(sent_at IS NOT NULL) FILTER (WHERE occasion = 'resolved')
                         THEN max(sent_at) FILTER (WHERE occasion = 'resolved') END AS resolved,
                    coalesce(string_agg(DISTINCT way || ': ' || error, ' ') FILTER (
                        WHERE sent_at IS NULL AND error <> ''), '') AS error
                FROM billing_alert_messages WHERE alert_id = ANY(%s) GROUP BY alert_id
            ) AS m
            WHERE a.id = m.alert_id
            """,
            [list(alerts)],
        )

"""Alerts as rows: opened, kept and resolved by what the rules say, each change told once.

At most one alert is open of each rule and key; two processes that look at once share it. An
alert is over once its rule has not fired for `CALM`: what comes and goes within that time is one
alert with one message when it opens and one when it is over.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from billing.alerts.firing import Firing
from billing.alerts.rules import Outcome
from billing.database import as_json, cursor, recordset
from billing.models import Alert, AlertMessage
from billing.models.incidents import current_incident

CALM = timedelta(minutes=3)

FIRED = {
    "rule": "text",
    "key": "text",
    "severity": "text",
    "title": "text",
    "detail": "text",
    "page": "text",
}


def open_alerts() -> QuerySet[Alert]:
    """What is so at the moment, the dangers first, then the oldest."""
    return Alert.objects.filter(resolved_at=None).order_by("severity", "opened_at", "id")


def keep(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Opens, keeps and resolves alerts, with the messages that tell of it, in one transaction."""
    fired = {(o.rule.name, f.key): f for o in outcomes for f in o.firings}
    seen = [outcome.rule.name for outcome in outcomes if not outcome.unknown]
    with transaction.atomic():
        if fired:
            make_messages(open_or_keep(fired, now), AlertMessage.Occasion.OPENED, now)
        if seen:
            make_messages(resolve(seen, now), AlertMessage.Occasion.RESOLVED, now)


def open_or_keep(fired: dict[tuple[str, str], Firing], now: datetime) -> list[int]:
    """An open alert for each firing, as it is told now; the ids of those that are new.

    A new one belongs to the incident that is open.
    """
    rows = [
        {
            "rule": rule,
            "key": key,
            "severity": firing.severity,
            "title": firing.title,
            "detail": firing.detail.replace("\x00", "\ufffd"),
            "page": firing.page,
        }
        for (rule, key), firing in sorted(fired.items(), key=lambda each: each[0])
    ]
    incident = current_incident()
    with cursor() as bound:
        bound.execute(
            f"""
            INSERT INTO billing_alerts AS a
                (rule, key, severity, title, detail, page, opened_at, last_seen_at, incident_id)
            SELECT rule, key, severity, title, detail, page, %s, %s, %s FROM {recordset(FIRED)}
            ON CONFLICT (rule, key) WHERE resolved_at IS NULL DO UPDATE
            SET severity = excluded.severity, title = excluded.title, detail = excluded.detail,
                page = excluded.page,
                last_seen_at = greatest(a.last_seen_at, excluded.last_seen_at)
            RETURNING id, xmax = 0
            """,  # noqa: S608  (the columns are named above)
            [now, now, incident.pk if incident else None, as_json(rows)],
        )
        return sorted(pk for pk, is_new in bound.fetchall() if is_new)


def resolve(rules: Sequence[str], now: datetime) -> list[int]:
    """Ends those alerts of these rules that have been calm; their ids."""
    with cursor() as bound:
        bound.execute(
            """
            UPDATE billing_alerts SET resolved_at = %s
            WHERE resolved_at IS NULL AND last_seen_at < %s
              AND rule IN (SELECT json_array_elements_text(%s::json))
            RETURNING id
            """,
            [now, now - CALM, as_json(rules)],
        )
        return sorted(pk for (pk,) in bound.fetchall())


def make_messages(alerts: Sequence[int], occasion: AlertMessage.Occasion, now: datetime) -> None:
    """What is to be told of these alerts, by each configured way."""
    AlertMessage.objects.bulk_create(
        AlertMessage(alert_id=pk, occasion=occasion, way=way, next_attempt_at=now)
        for pk in alerts
        for way in ways()
    )


def ways() -> list[AlertMessage.Way]:
    """How people are told, as the settings say."""
    configured = {
        AlertMessage.Way.EMAIL: settings.ALERT_EMAILS,
        AlertMessage.Way.WEBHOOK: settings.ALERT_WEBHOOK_URL,
    }
    return [way for way, address in configured.items() if address]

"""How far an incident reaches: who is touched by it, the gravest first, and what is at stake.

It is told from two sides: the findings of its time, and the events that wait. An event that was
missed names its customer long before anything was compared.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from billing.database import rows, stream
from billing.diagnosis.kinds import Kind
from billing.models import FindingRecord, InboxEvent, Incident, MissedEvent

SHOWN = 50  # customers, on a page
WAITING = (InboxEvent.Status.PENDING, InboxEvent.Status.FAILED, InboxEvent.Status.DEAD)
MISSED = (MissedEvent.Status.WAITING, MissedEvent.Status.FAILED)
NO_ACCESS = (Kind.PAID_NOT_ACTIVE, Kind.ACTIVE_ONLY_AT_STRIPE)
NOT_GRANTED = (Kind.PACK_NOT_GRANTED, Kind.NO_CREDITS_THIS_PERIOD, Kind.PRICE_UNMAPPED)


def span(incident: Incident) -> tuple[datetime, datetime]:
    """From when to when the trouble lasted (UTC): until now, while it is open."""
    return incident.started_at, incident.ended_at or timezone.now()


def seen_in(incident: Incident) -> Q:
    """Findings that were first or last seen in the time of an incident."""
    return Q(first_seen_at__range=span(incident)) | Q(last_seen_at__range=span(incident))


def missed_events(incident: Incident) -> QuerySet[MissedEvent]:
    """What the recoveries that belong to it have listed; what one has recovered, once."""
    listed = MissedEvent.objects.filter(recovery__incident=incident).order_by()
    done = listed.filter(status=MissedEvent.Status.DONE)
    left = ~Q(stripe_event_id__in=done.values("stripe_event_id"))
    return listed.filter(Q(status=MissedEvent.Status.DONE) | left)


@dataclass(frozen=True, slots=True)
class Scope:
    """What an incident comes to. `amounts` is the money at stake by currency, in minor units.

    `access` is how many customers paid and have no access, `purchases` how many purchases were
    paid and not granted, `ungranted` their credits as far as they are known, `credits` all
    credits at stake. `waiting` is the number of events that came in its time and are not
    through, `missed` that of those that its recoveries have listed, both by status.
    """

    customers: int
    access: int
    purchases: int
    ungranted: int
    amounts: Mapping[str, int]
    credits: int
    findings: int
    waiting: Mapping[str, int]
    missed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Touched:
    """One customer, by our own id of the user, or by Stripe's id where the user is not known."""

    user_id: str
    customer_id: str
    email: str
    no_access: bool
    purchases: int
    ungranted: int
    amounts: Mapping[str, int]
    credits: int
    findings: int
    events: int

    @property
    def id(self) -> str:
        return self.user_id or self.customer_id


# Each line of `about` is one finding or one event, and what it says of its customer. An event
# that waits and one that a recovery listed may be the same: UNION takes it once.
ABOUT = """
    WITH events AS (
        SELECT stripe_event_id, type, object_id, customer_id, {grave}
        FROM billing_inbox WHERE id IN ({inbox})
        UNION
        SELECT stripe_event_id, type, object_id, customer_id, {grave}
        FROM billing_missed_events WHERE id IN ({missed})),
    about AS (
        SELECT user_id, stripe_customer_id AS customer_id, subject AS object,
            kind = ANY(%s) AS no_access, kind = ANY(%s) AS not_granted, rank,
            amount, currency, credits, 1 AS finding, 0 AS event
        FROM billing_findings WHERE id IN ({findings})
        UNION ALL
        SELECT '', customer_id, object_id,
            customer_id <> '' AND ((%s AND begins) OR (activates AND NOT EXISTS (
                SELECT FROM billing_subscriptions AS s
                WHERE s.stripe_customer_id = events.customer_id
                  AND s.status IN ('active', 'trialing')))),
            buys AND (%s OR NOT EXISTS (
                SELECT FROM billing_purchases AS p
                WHERE p.source = events.object_id AND p.status = 'granted')),
            NULL, NULL, '', NULL, 0, 1
        FROM events),
    known AS (
        SELECT customer_id, min(user_id) AS user_id FROM about
        WHERE customer_id <> '' AND user_id <> '' GROUP BY 1),
    named AS (
        SELECT coalesce(nullif(about.user_id, ''), c.user_id, k.user_id, '') AS owner, c.email,
            about.*
        FROM about
        LEFT JOIN billing_customers AS c
            ON c.stripe_customer_id = about.customer_id AND about.customer_id <> ''
        LEFT JOIN known AS k ON k.customer_id = about.customer_id),
    lines AS (SELECT *, CASE WHEN owner = '' THEN customer_id ELSE '' END AS nobody FROM named),
    money AS (
        SELECT owner, nobody, jsonb_object_agg(currency, amount) AS amounts, max(amount) AS most
        FROM (SELECT owner, nobody, currency, sum(amount)::bigint AS amount FROM lines
              WHERE amount IS NOT NULL GROUP BY 1, 2, 3) AS each GROUP BY 1, 2),
    touched AS (
        SELECT owner, nobody, coalesce(max(email), '') AS email, bool_or(no_access) AS no_access,
            count(DISTINCT object) FILTER (WHERE not_granted) AS purchases,
            coalesce(sum(credits) FILTER (WHERE not_granted), 0)::bigint AS ungranted,
            coalesce(sum(credits), 0)::bigint AS credits, min(rank) AS rank,
            sum(finding) AS findings, sum(event) AS events
        FROM lines GROUP BY 1, 2)
"""
# What an event's type and body say of it, without reading the body as JSON: it need not be any.
GRAVE = r"""
    type = 'customer.subscription.created'
        OR (type = 'invoice.paid'
            AND body ~ '"billing_reason"\s*:\s*"subscription_create') AS begins,
    type IN ('customer.subscription.created', 'customer.subscription.updated',
             'customer.subscription.resumed')
        OR (type = 'invoice.paid' AND body ~ '"billing_reason"\s*:\s*"subscription') AS activates,
    type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded')
        AND body ~ '"mode"\s*:\s*"payment"' AS buys
"""
TOTALS = """
    SELECT count(*) FILTER (WHERE owner <> '' OR nobody <> '') AS customers,
        count(*) FILTER (WHERE no_access) AS access,
        coalesce(sum(purchases), 0)::bigint AS purchases,
        coalesce(sum(ungranted), 0)::bigint AS ungranted,
        coalesce(sum(credits), 0)::bigint AS credits,
        coalesce(sum(findings), 0)::bigint AS findings,
        (SELECT coalesce(jsonb_object_agg(currency, amount), '{}') FROM (
            SELECT currency, sum(amount)::bigint AS amount FROM lines
            WHERE amount IS NOT NULL GROUP BY 1) AS each) AS amounts
    FROM touched
"""
RANKED = """
    SELECT owner AS user_id, nobody AS customer_id, email, no_access, purchases, ungranted,
        coalesce(amounts, '{}') AS amounts, credits, findings, events
    FROM touched LEFT JOIN money USING (owner, nobody)
    WHERE owner <> '' OR nobody <> ''
    ORDER BY no_access DESC, ungranted DESC, purchases DESC, rank NULLS LAST,
        most DESC NULLS LAST, credits DESC, findings + events DESC, owner, nobody
"""


def scope(incident: Incident, *, ever: bool = False) -> Scope:
    """What is at stake now; with `ever`, what was in all its time, though it be mended since.

    Three statements, whatever its size.
    """
    about, params = _about(incident, ever=ever)
    [totals] = rows(about + TOTALS, params)
    came = InboxEvent.objects.filter(_waiting(incident)).order_by().values_list("status")
    listed = missed_events(incident).values_list("status")
    return Scope(
        **{**totals, "amounts": _amounts(totals["amounts"])},
        waiting=dict(came.annotate(Count("id"))),
        missed=dict(listed.annotate(Count("stripe_event_id", distinct=True))),
    )


def touched(incident: Incident, most: int | None = None, *, ever: bool = False) -> list[Touched]:
    """The customers, the gravest first: no access, credits not granted, money, and the rest."""
    about, params = _about(incident, ever=ever)
    limit = f"LIMIT {most:d}" if most is not None else ""
    return [_touched(row) for row in rows(f"{about}{RANKED}{limit}", params)]


def all_touched(incident: Incident) -> Iterator[Touched]:
    """All of them, read as they are needed."""
    about, params = _about(incident, ever=False)
    return (_touched(row) for row in stream(about + RANKED, params))


def _touched(row: Mapping[str, Any]) -> Touched:
    return Touched(**{**row, "amounts": _amounts(row["amounts"])})


def _amounts(kept: Any) -> dict[str, int]:
    """Amounts by currency, in the order of their codes."""
    read = json.loads(kept) if isinstance(kept, str) else kept
    return {code: int(amount) for code, amount in sorted(read.items())}


def _waiting(incident: Incident) -> Q:
    return Q(received_at__range=span(incident), status__in=WAITING)


def _about(incident: Incident, *, ever: bool) -> tuple[str, list[Any]]:
    """The beginning of a statement on its findings and events, and what it is given."""
    found = FindingRecord.objects.filter(seen_in(incident))
    listed = missed_events(incident)
    if not ever:
        found, listed = found.filter(FindingRecord.OPEN), listed.filter(status__in=MISSED)
    inbox, of_inbox = _ids(InboxEvent.objects.filter(_waiting(incident)))
    missed, of_missed = _ids(listed)
    findings, of_findings = _ids(found)
    sql = ABOUT.format(grave=GRAVE, inbox=inbox, missed=missed, findings=findings)
    kinds = [[kind.value for kind in kinds] for kinds in (NO_ACCESS, NOT_GRANTED)]
    return sql, [*of_inbox, *of_missed, *kinds, *of_findings, ever, ever]


def _ids(found: QuerySet[Any]) -> tuple[str, tuple[Any, ...]]:
    """The rows' ids as a part of a statement, and what it is given."""
    sql, params = found.order_by().values("pk").query.sql_with_params()
    return sql, params

"""What our own books say against themselves: set-based, one query a question.

Each names whom or what the checks should look at, and may name too many: the checks decide
(billing.diagnosis.checks). Questions about the past ask for the run's window; what may wait for
long, such as a payment of nobody, is asked for over all time.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from billing.diagnosis.facts import AT_ABOUT, SQL_SINCE
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingSubscription,
    CreditEntry,
    FindingRecord,
    InboxEvent,
    LeadClaim,
    Purchase,
    ReconciliationRun,
    ReconciliationSuspect,
    StatusOverride,
)
from billing.projection.purchases import GRANTING_REASONS
from billing.reconciliation import measures
from billing.reconciliation.lists import has_many_idle_customers, idle_customers
from billing.reconciliation.reading import name_owners
from billing.reconciliation.subjects import suspects_of

Question = Callable[[datetime | None, datetime], Iterator[ReconciliationSuspect]]
Suspect = ReconciliationSuspect
Status = InboxEvent.Status
LIVE = ("active", "trialing", "past_due")
SET_ASIDE_FOR = timedelta(days=7)  # as on the home page
BATCH = 1_000


def collect(run: ReconciliationRun) -> None:
    """Keeps everything that the questions name as suspects of the run."""
    batch: list[Suspect] = []
    for question in QUESTIONS:
        for each in question(run.since, run.until):
            each.run = run
            batch.append(each)
            if len(batch) >= BATCH:
                _keep(batch)
    _keep(batch)


def _keep(batch: list[Suspect]) -> None:
    name_owners(batch)
    Suspect.objects.bulk_create(batch)
    batch.clear()


def balances(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Balances that their ledger does not add up to, or below 0."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(c.user_id, s.user_id)
            FROM lead_credits c
            FULL JOIN (SELECT user_id, sum(delta) AS balance, sum(owed_delta) AS owed
                       FROM credit_entries GROUP BY user_id) s ON s.user_id = c.user_id
            WHERE (coalesce(c.balance, 0), coalesce(c.owed, 0))
                  IS DISTINCT FROM (coalesce(s.balance, 0), coalesce(s.owed, 0))
               OR c.balance < 0
            """
        )
        for (user,) in cursor.fetchall():
            yield Suspect(user_id=user)


def failed_claims(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Users whose claims failed and cost credits."""
    failed = LeadClaim.objects.filter(status=LeadClaim.Status.FAILED, credits_spent__gt=0)
    for user in _made(failed, "claimed_at", since, until).values_list("user_id").distinct():
        yield Suspect(user_id=user[0])


def waiting_events(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Events in the inbox without their effect."""
    aside = Q(status=Status.SET_ASIDE, received_at__gte=until - SET_ASIDE_FOR)
    waiting = Q(status__in=(Status.PENDING, Status.FAILED, Status.DEAD)) | aside
    rows = InboxEvent.objects.filter(waiting).order_by()
    for customer, about in rows.values_list("customer_id", "object_id").iterator():
        yield Suspect(stripe_customer_id=customer, object_id=about, event={"charge": about})


def open_purchases(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """What was paid and not granted: by nobody, for no mapped price, or by mistake."""
    rows = Purchase.objects.exclude(status=Purchase.Status.GRANTED).order_by()
    for source, customer, user in rows.values_list(
        "source", "stripe_customer_id", "user_id"
    ).iterator():
        yield Suspect(object_id=source, stripe_customer_id=customer, user_id=user or "")


def lost_grants(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Purchases that say that they were granted, and no entry of the ledger does.

    LIMIT makes each source be looked up by the index, whatever is known of the tables' sizes: a
    join may compare each purchase with all entries.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT p.source, p.stripe_customer_id, coalesce(p.user_id, '')
            FROM billing_purchases p
            WHERE p.status = 'granted' AND p.credits > 0 AND p.created_at < %(until)s
              AND (%(since)s::timestamptz IS NULL OR p.created_at >= %(since)s)
              AND NOT EXISTS (
                  SELECT FROM unnest(ARRAY['', ':undone'] || ARRAY(
                      SELECT ':' || (line->>'id') FROM jsonb_array_elements(p.lines) AS line)
                  ) AS part
                  WHERE (SELECT e.id FROM credit_entries e
                         WHERE e.source = CASE p.kind WHEN 'pack' THEN 'checkout:'
                                          ELSE 'invoice:' END || p.source || part
                         LIMIT 1) IS NOT NULL)
            """,
            {"since": since, "until": until},
        )
        for source, customer, user in cursor.fetchall():
            yield Suspect(object_id=source, stripe_customer_id=customer, user_id=user)


def paid_periods(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Paid invoices of periods that are worth credits and of which no purchase is known."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.stripe_invoice_id, i.stripe_customer_id, coalesce(i.user_id, '')
            FROM billing_invoices i
            JOIN billing_subscriptions s USING (stripe_subscription_id)
            JOIN billing_credit_prices p ON p.price_id = s.price_id AND p.credits > 0
            WHERE i.status = 'paid' AND i.billing_reason = ANY(%s) AND s.status = ANY(%s)
              AND NOT EXISTS (SELECT FROM billing_purchases b WHERE b.source = i.stripe_invoice_id)
            """,
            [list(GRANTING_REASONS), list(LIVE)],
        )
        for invoice, customer, user in cursor.fetchall():
            yield Suspect(object_id=invoice, stripe_customer_id=customer, user_id=user)


def unbought_grants(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Grants that name a purchase which is not here."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT e.user_id FROM credit_entries e
            WHERE e.source ~ '^(checkout|invoice):' AND e.created_at < %(until)s
              AND (%(since)s::timestamptz IS NULL OR e.created_at >= %(since)s)
              AND NOT EXISTS (SELECT FROM billing_purchases b
                              WHERE b.source = split_part(e.source, ':', 2))
            """,
            {"since": since, "until": until},
        )
        for (user,) in cursor.fetchall():
            yield Suspect(user_id=user)


def granted_by_hand(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Users who were given credits by hand or by raw SQL."""
    given = CreditEntry.objects.filter(
        Q(kind=CreditEntry.Kind.GRANT) | Q(kind=CreditEntry.Kind.SQL, delta__gt=0)
    )
    for user in _made(given, "created_at", since, until).values_list("user_id").distinct():
        yield Suspect(user_id=user[0])


def taken_by_sql(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Users from whom raw SQL took credits that no claim explains."""
    about = (OuterRef("created_at") - AT_ABOUT, OuterRef("created_at") + AT_ABOUT)
    claimed = LeadClaim.objects.filter(
        user_id=OuterRef("user_id"), credits_spent=-1 * OuterRef("delta"), claimed_at__range=about
    )
    taken = CreditEntry.objects.filter(~Exists(claimed), kind=CreditEntry.Kind.SQL, delta__lt=0)
    for user in _made(taken, "created_at", since, until).values_list("user_id").distinct():
        yield Suspect(user_id=user[0])


def kept_reversals(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Refunds and disputes that took no credits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT r.stripe_id, r.charge_id, r.payment_intent_id FROM billing_payment_reversals r
            WHERE r.active AND r.created_at < %(until)s
              AND (%(since)s::timestamptz IS NULL OR r.created_at >= %(since)s)
              AND NOT EXISTS (SELECT FROM credit_entries e
                              WHERE e.source = r.kind || ':' || r.stripe_id)
              AND (EXISTS (SELECT FROM billing_purchases p
                           WHERE p.payment_intent_id = r.payment_intent_id
                             AND p.payment_intent_id <> '' AND p.status = 'granted')
                   OR EXISTS (SELECT FROM billing_invoice_payments i
                              JOIN billing_purchases p ON p.source = i.stripe_invoice_id
                              WHERE i.payment_intent_id = r.payment_intent_id
                                AND p.status = 'granted'))
            """,
            {"since": since, "until": until},
        )
        for stripe_id, charge, intent in cursor.fetchall():
            yield Suspect(object_id=stripe_id, event={"charge": charge, "payment_intent": intent})


def overrides(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Statuses that a person set and Stripe has not confirmed."""
    for subscription in StatusOverride.objects.filter(ended_at=None).values_list(
        "stripe_subscription_id", flat=True
    ):
        yield from _of_subscription(subscription)


def raw_sql(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Whose rows were changed by raw SQL, as far back as the checks show it."""
    start = max(filter(None, (since, until - SQL_SINCE)))
    events = BillingEvent.objects.filter(type__startswith="sql.", created_at__gte=start)
    for payload in events.order_by().values_list("payload", flat=True).iterator():
        user, customer = str(payload.get("user_id") or ""), str(payload.get("customer") or "")
        if user or customer:
            yield Suspect(user_id=user, stripe_customer_id=customer)
        elif subscription := str(payload.get("subscription") or ""):
            yield from _of_subscription(subscription)


def _of_subscription(subscription_id: str) -> Iterator[Suspect]:
    row = BillingSubscription.objects.filter(stripe_subscription_id=subscription_id).first()
    yield Suspect(
        kind="subscription",
        object_id=subscription_id,
        stripe_customer_id=row.stripe_customer_id if row else "",
        user_id=(row.user_id or "") if row else "",
    )


def nobodys_subscriptions(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Live subscriptions of no user that we know."""
    rows = BillingSubscription.objects.filter(status__in=LIVE, user_id=None).order_by()
    for subscription, customer in rows.values_list("stripe_subscription_id", "stripe_customer_id"):
        yield Suspect(object_id=subscription, stripe_customer_id=customer)


def deleted_customers(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Deleted customers with something that still runs here, or an invoice that is open."""
    theirs = OuterRef("stripe_customer_id")
    lives = BillingSubscription.objects.filter(stripe_customer_id=theirs, status__in=LIVE)
    rows = BillingCustomer.objects.filter(Exists(lives), deleted=True).order_by()
    for customer in rows.values_list("stripe_customer_id", flat=True):
        yield Suspect(stripe_customer_id=customer)


def unexplained_payments(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Payments that no invoice, purchase, refund or dispute explains."""
    rows = _made(measures.unexplained_payments(), "created_at", since, until)
    names = ("stripe_charge_id", "stripe_customer_id", "payment_intent_id")
    for charge, customer, paid_with in rows.values_list(*names):
        yield Suspect(
            kind="charge",
            object_id=charge,
            stripe_customer_id=customer,
            event={"payment_intent": paid_with},
        )


def without_anything(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """Over all time, customers who never subscribed, where they are few enough to be asked for.

    Where they are many, the run has listed all customers (billing.reconciliation.lists).
    """
    if since is not None or has_many_idle_customers():
        return
    for customer in idle_customers().values_list("stripe_customer_id", flat=True):
        yield Suspect(kind="customer", object_id=customer, stripe_customer_id=customer)


def earlier_findings(since: datetime | None, until: datetime) -> Iterator[Suspect]:
    """What was found before and is not mended: is it still so?"""
    open_ = FindingRecord.objects.exclude(state=FindingRecord.State.RESOLVED)
    for record in open_.iterator():
        yield from suspects_of(record)


def _made(
    rows: QuerySet[Any], column: str, since: datetime | None, until: datetime
) -> QuerySet[Any]:
    """The rows of a window."""
    narrowed = {f"{column}__lt": until}
    if since is not None:
        narrowed[f"{column}__gte"] = since
    return rows.filter(**narrowed).order_by()


QUESTIONS: tuple[Question, ...] = (
    balances,
    failed_claims,
    waiting_events,
    open_purchases,
    lost_grants,
    paid_periods,
    unbought_grants,
    granted_by_hand,
    taken_by_sql,
    kept_reversals,
    overrides,
    raw_sql,
    nobodys_subscriptions,
    deleted_customers,
    unexplained_payments,
    without_anything,
    earlier_findings,
)

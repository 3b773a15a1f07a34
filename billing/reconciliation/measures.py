"""Two measures of a run's window: how soon it was here, and whether every payment has cleared."""

from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Sum,
    Value,
    When,
)
from djstripe.models import Charge

from billing.database import cursor
from billing.formatting import iso_time
from billing.models import (
    BillingInvoice,
    BillingPayment,
    InvoicePayment,
    PaymentReversal,
    Purchase,
)

BEFORE_STRIPE = datetime(2000, 1, 1, tzinfo=UTC)  # when a window begins that has no beginning
MOST_IDS = 20  # payments that clearing names
MOST = 0.95  # of the events, or of the money, that the longer delay stands for

# When an event was here first: a replay marks it as processed anew, and logs it no second time.
_HERE = "coalesce(log.recorded_at, i.processed_at)"
_DELAY = f"greatest(extract(epoch FROM {_HERE} - i.stripe_created_at), 0)::float8"
_EVENTS = """
    FROM billing_inbox i LEFT JOIN billing_events log USING (stripe_event_id)
    WHERE i.stripe_created_at >= %(since)s AND i.stripe_created_at < %(until)s
      AND i.processed_at IS NOT NULL
"""
_BY_COUNT = f"""
    SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY delay),
           percentile_cont(%(most)s) WITHIN GROUP (ORDER BY delay)
    FROM (SELECT {_DELAY} AS delay {_EVENTS}) told
"""  # noqa: S608  (the texts stand above)
_WORST = f"""
    SELECT {_DELAY} AS delay, i.stripe_event_id, i.type {_EVENTS} ORDER BY 1 DESC, 2 LIMIT 1
"""
_BY_MONEY = f"""
    WITH told AS (
        SELECT {_DELAY} AS delay, log.payload AS o,
               CASE i.type WHEN 'charge.succeeded' THEN log.payload->'amount'
                           WHEN 'invoice.paid' THEN log.payload->'amount_paid'
                           ELSE log.payload->'amount_total' END AS amount
        {_EVENTS}
          AND (i.type IN ('charge.succeeded', 'invoice.paid') OR i.type IN (
                   'checkout.session.completed', 'checkout.session.async_payment_succeeded')
               AND log.payload->>'mode' = 'payment'
               AND log.payload->>'payment_status' <> 'unpaid')
    ), paid AS (
        SELECT o->>'currency' AS currency, max(amount::bigint) AS amount, max(delay) AS delay
        FROM told LEFT JOIN LATERAL (
            SELECT payment_intent_id FROM billing_invoice_payments
            WHERE stripe_invoice_id = o->>'id' ORDER BY id LIMIT 1
        ) link ON true
        WHERE jsonb_typeof(amount) = 'number'
        GROUP BY 1, coalesce(o->>'payment_intent', link.payment_intent_id, o->>'id')
    ), arriving AS (
        SELECT *, sum(amount) OVER (PARTITION BY currency ORDER BY delay) AS so_far,
               sum(amount) OVER (PARTITION BY currency) AS whole
        FROM paid WHERE amount > 0
    )
    SELECT currency, count(*), max(whole)::bigint,
           min(delay) FILTER (WHERE so_far >= whole * 0.5),
           min(delay) FILTER (WHERE so_far >= whole * %(most)s::numeric)
    FROM arriving GROUP BY currency ORDER BY currency
"""  # noqa: S608
_WAITING = """
    SELECT status, count(*), min(stripe_created_at) FROM billing_inbox
    WHERE stripe_created_at >= %(since)s AND stripe_created_at < %(until)s
      AND processed_at IS NULL
    GROUP BY status ORDER BY status
"""


def timeliness(since: datetime | None, until: datetime) -> dict[str, Any]:
    """How long after Stripe's own time its events were here, in seconds; ready for JSON.

    Of the events that Stripe made from `since` up to `until`, by count: median, 95th percentile,
    and the worst with its id. By money, for each currency: the delay after which half and 95 % of
    what was paid was here. A payment is here once all that told of it is: its charge, its paid
    invoice, its checkout session. Events that wait are counted apart, by the inbox's status.
    """
    window: dict[str, Any] = {"since": since or BEFORE_STRIPE, "until": until}
    share = window | {"most": MOST}
    with cursor() as bound:
        bound.execute(_BY_COUNT, share)
        count, median, most = bound.fetchone()
        bound.execute(_WORST, window)
        worst = bound.fetchone()
        bound.execute(_BY_MONEY, share)
        money = bound.fetchall()
        bound.execute(_WAITING, window)
        waiting = bound.fetchall()
    return {
        "events": count,
        "median": median,
        "p95": most,
        "worst": dict(zip(("seconds", "event", "type"), worst, strict=True)) if worst else None,
        "money": {
            currency: {"payments": paid, "amount": amount, "half": half, "p95": nearly}
            for currency, paid, amount, half, nearly in money
        },
        "waiting": {
            "events": sum(number for _, number, _ in waiting),
            "by_status": {status: number for status, number, _ in waiting},
            "oldest": iso_time(min(oldest for *_, oldest in waiting)) if waiting else None,
        },
    }


def clearing(since: datetime | None, until: datetime) -> dict[str, Any]:
    """Whether the payments from `since` up to `until` have ended in what explains them.

    Count, and money by currency in minor units, by explanation; up to 20 ids of payments that
    nothing explains.
    """
    payments = explained_payments().filter(
        created_at__gte=since or BEFORE_STRIPE, created_at__lt=until
    )
    sums = (
        payments.order_by()
        .values("explained_by", "currency")
        .annotate(number=Count("pk"), money=Sum("amount"))
    )
    count: dict[str, int] = dict.fromkeys(EXPLANATIONS, 0)
    money: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(EXPLANATIONS, 0))
    for row in sums:
        count[row["explained_by"]] += row["number"]
        money[row["currency"]][row["explained_by"]] += row["money"]
    named = payments.filter(explained_by=NOTHING).order_by("-created_at", "-id")
    return {
        "count": _shares(count),
        "money": {currency: _shares(sums) for currency, sums in sorted(money.items())},
        "unexplained": list(named.values_list("stripe_charge_id", flat=True)[:MOST_IDS]),
    }


NOTHING = "nothing"
EXPLANATIONS = ("invoice", "purchase", "refund", "dispute", NOTHING)


def explained_payments() -> QuerySet[Any]:
    """Payments that went through, with what explains each (`explained_by`, of EXPLANATIONS).

    An invoice that it paid, or paid a part of; a purchase; a refund of all of it; a dispute that
    has withdrawn the money. What is only authorised is no payment yet.
    """
    intent = OuterRef("payment_intent_id")
    invoices = BillingInvoice.objects.filter(
        Q(status="paid") | Q(amount_paid__gt=0), stripe_invoice_id=OuterRef("stripe_invoice_id")
    )
    links = InvoicePayment.objects.filter(Exists(invoices), payment_intent_id=intent)
    # As their index has it: without this, each payment would read all purchases.
    purchases = Purchase.objects.filter(payment_intent_id=intent).exclude(payment_intent_id="")
    disputes = PaymentReversal.objects.filter(
        payment_intent_id=intent, kind=PaymentReversal.Kind.DISPUTE, active=True
    )
    authorised = Charge.objects.filter(id=OuterRef("stripe_charge_id"), stripe_data__captured=False)
    has_intent = ~Q(payment_intent_id="")
    return (
        BillingPayment.objects.filter(status="succeeded", amount__gt=0)
        .filter(~Exists(authorised))
        .annotate(
            explained_by=Case(
                When(has_intent & Exists(links), then=Value("invoice")),
                When(has_intent & Exists(purchases), then=Value("purchase")),
                When(amount_refunded__gte=F("amount"), then=Value("refund")),
                When(has_intent & Exists(disputes), then=Value("dispute")),
                default=Value(NOTHING),
                output_field=CharField(),
            )
        )
    )


def unexplained_payments() -> QuerySet[BillingPayment]:
    """Payments that went through and that nothing explains: suspects of a run."""
    return explained_payments().filter(explained_by=NOTHING)


def _shares(sums: dict[str, int]) -> dict[str, Any]:
    """The sums, all of them together, and the share of it that something explains."""
    whole = sum(sums.values())
    share = (whole - sums[NOTHING]) / whole if whole else 1.0
    return {"all": whole, **sums, "share": share}

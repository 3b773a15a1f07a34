"""Subscriptions: what Stripe has otherwise, whose they are, which are too many, what is unpaid."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from billing.diagnosis import differences
from billing.diagnosis.causes import open_cause, open_events, replay_of
from billing.diagnosis.differences import Difference
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_money, format_time
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import dig, id_of
from billing.models import BillingInvoice, BillingPayment, BillingSubscription
from billing.projection.accounts import subscription_row

LIVE = ("active", "trialing", "past_due")
GOOD = ("active", "trialing")
OWING = ("past_due", "unpaid")
PAYABLE = ("open", "uncollectible")  # statuses of invoices
SKEW = timedelta(minutes=1)  # an invoice and its first payment may be made at once
UNPAID = ("past_due", "unpaid", "incomplete", "incomplete_expired")
OVER = ("canceled", "incomplete_expired")
CANCELLATION = frozenset(
    {"cancel_at_period_end", "cancel_at", "canceled_at", "ended_at", "cancellation_reason"}
)
PRICE = frozenset({"price_id", "quantity", "amount", "currency"})
PERIOD = frozenset({"current_period_start", "current_period_end", "latest_invoice_id"})
WE_UPDATE = "We are updating your account now; you do not have to do anything."


def differs_from_stripe(facts: Facts) -> Iterator[Finding]:
    """One finding for each subscription that is not here as Stripe has it."""
    if facts.stripe is None:
        return
    rows = {row.stripe_subscription_id: row for row in facts.subscriptions}
    by_hand = {override.stripe_subscription_id for override in facts.overrides}
    for subscription_id, data in facts.stripe.of("subscription").items():
        row = rows.get(subscription_id)
        found = differences.of_subscription(row, data) if row else []
        if subscription_id in by_hand:  # the override's own finding says what Stripe has
            found = [each for each in found if each.field not in ("status", *CANCELLATION)]
        if row is None or found:
            yield _differing(facts, subscription_id, row, data, found)


def _differing(
    facts: Facts,
    subscription_id: str,
    row: BillingSubscription | None,
    data: StripeDict,
    found: Sequence[Difference],
) -> Finding:
    theirs, ours = str(data.get("status")), row.status if row else ""
    here = f"{ours} here" if ours else "not here"
    kind = kind_of(theirs, ours, {each.field for each in found}, is_paid=_is_paid(facts, data))
    cause = open_cause(facts, subscription_id)
    wanted = subscription_row(data)
    evidence = [
        Evidence("Subscription", f"{theirs} at Stripe, {here}", subscription_id),
        *(each.as_evidence() for each in found),
        *([cause.as_evidence()] if cause else []),
    ]
    return Finding(
        kind,
        SEVERITIES[kind],
        subscription_id,
        f"{VERDICTS[kind].format(theirs=theirs, ours=ours or 'not here')}"
        + (f" {cause.type} {cause.in_words}." if cause else ""),
        tuple(evidence),
        replay_of(facts, subscription_id)
        or Fix("sync_from_stripe", {"kind": "subscription", "id": subscription_id}),
        open_events(facts, subscription_id),
        for_customer=_to_customer(kind, theirs),
        amount=wanted["amount"],
        currency=wanted["currency"],
    )


def kind_of(theirs: str, ours: str, fields: set[str], *, is_paid: bool) -> Kind:
    """The gravest kind that fits: Stripe's status and ours ('' where it is not here at all)."""
    if theirs in GOOD and (not ours or (ours in UNPAID and is_paid)):
        return Kind.PAID_NOT_ACTIVE
    if theirs in LIVE and ours in OVER:
        return Kind.ACTIVE_ONLY_AT_STRIPE
    if theirs not in LIVE and ours in LIVE:
        return Kind.ACTIVE_ONLY_HERE
    if theirs != ours:
        return Kind.STATUS_DIFFERS if ours else Kind.SUBSCRIPTION_DIFFERS
    for kind, group in (
        (Kind.CANCELLATION_DIFFERS, CANCELLATION),
        (Kind.PRICE_DIFFERS, PRICE),
        (Kind.PERIOD_DIFFERS, PERIOD),
    ):
        if fields & group:
            return kind
    return Kind.SUBSCRIPTION_DIFFERS


SEVERITIES = {
    Kind.PAID_NOT_ACTIVE: Severity.ACCESS,
    Kind.ACTIVE_ONLY_AT_STRIPE: Severity.ACCESS,
    Kind.ACTIVE_ONLY_HERE: Severity.ACCESS,
    Kind.STATUS_DIFFERS: Severity.ACCESS,
    Kind.PRICE_DIFFERS: Severity.MONEY,
    Kind.PERIOD_DIFFERS: Severity.ACCESS,
    Kind.CANCELLATION_DIFFERS: Severity.WARNING,
    Kind.SUBSCRIPTION_DIFFERS: Severity.WARNING,
}
VERDICTS = {
    Kind.PAID_NOT_ACTIVE: "They paid, Stripe says {theirs}, and here the subscription is {ours}.",
    Kind.ACTIVE_ONLY_AT_STRIPE: "Stripe says {theirs}, and here the subscription is {ours}.",
    Kind.ACTIVE_ONLY_HERE: "Here the subscription is {ours}, and Stripe says {theirs}.",
    Kind.STATUS_DIFFERS: "Stripe says {theirs}, and here the subscription is {ours}.",
    Kind.PRICE_DIFFERS: "The subscription has another price at Stripe than here.",
    Kind.PERIOD_DIFFERS: "The current period is another one at Stripe than here.",
    Kind.CANCELLATION_DIFFERS: "What Stripe has of the cancellation is not known here.",
    Kind.SUBSCRIPTION_DIFFERS: "Stripe has the subscription otherwise than we do.",
}
FOR_CUSTOMERS = {
    Kind.PAID_NOT_ACTIVE: "Your payment arrived, but our system missed the notice that your"
    f" subscription is active. {WE_UPDATE}",
    Kind.ACTIVE_ONLY_AT_STRIPE: "Your subscription is paid and running, but our system showed it"
    f" as cancelled. {WE_UPDATE}",
    Kind.ACTIVE_ONLY_HERE: "Your subscription has ended; our system still showed it as running.",
    Kind.STATUS_DIFFERS: f"Our system showed an old state of your subscription. {WE_UPDATE}",
    Kind.PRICE_DIFFERS: f"Our system showed your previous plan. {WE_UPDATE}",
    Kind.PERIOD_DIFFERS: f"Our system missed the latest renewal of your subscription. {WE_UPDATE}",
    Kind.CANCELLATION_DIFFERS: "Our system did not show the latest change to your"
    f" subscription's end. {WE_UPDATE}",
}


def _to_customer(kind: Kind, theirs: str) -> str:
    """What the customer is told. One that is unpaid or paused at Stripe has not ended."""
    if kind == Kind.ACTIVE_ONLY_HERE and theirs not in OVER:
        kind = Kind.STATUS_DIFFERS
    return FOR_CUSTOMERS.get(kind, "")


def _is_paid(facts: Facts, data: StripeDict) -> bool:
    """Whether the latest invoice of Stripe's subscription is paid, as far as anybody knows."""
    assert facts.stripe is not None  # noqa: S101  (narrows the type)
    invoice_id = id_of(data.get("latest_invoice"))
    if invoice := facts.stripe.of("invoice").get(invoice_id):
        return invoice.get("status") == "paid"
    return any(
        row.stripe_invoice_id == invoice_id and row.status == "paid" for row in facts.invoices
    )


def paid_but_not_active_here(facts: Facts) -> Iterator[Finding]:
    """What our own rows prove without Stripe: the latest invoice is paid, the status says not."""
    if facts.stripe is not None:  # then its word counts, and the check above has it
        return
    by_hand = {override.stripe_subscription_id for override in facts.overrides}
    for row in facts.subscriptions:
        invoice = latest_invoice(facts, row)
        if row.status not in UNPAID[:3] or invoice is None or invoice.status != "paid":
            continue
        if row.stripe_subscription_id in by_hand:
            continue
        cause = open_cause(facts, row.stripe_subscription_id)
        yield Finding(
            Kind.PAID_NOT_ACTIVE,
            Severity.ACCESS,
            row.stripe_subscription_id,
            f"The latest invoice is paid, and the subscription is still {row.status} here.",
            (
                Evidence("Subscription", row.status, row.stripe_subscription_id, row.updated_at),
                Evidence("Invoice", "paid", invoice.stripe_invoice_id, invoice.paid_at),
                *([cause.as_evidence()] if cause else []),
            ),
            replay_of(facts, row.stripe_subscription_id)
            or Fix("sync_from_stripe", {"kind": "subscription", "id": row.stripe_subscription_id}),
            open_events(facts, row.stripe_subscription_id),
            for_customer=FOR_CUSTOMERS[Kind.PAID_NOT_ACTIVE],
            amount=row.amount,
            currency=row.currency,
        )


def nobodys(facts: Facts) -> Iterator[Finding]:
    """A live subscription of no user we know: it unlocks nothing."""
    for row in facts.subscriptions:
        if row.status not in LIVE or row.user_id:
            continue
        invoice = next(
            (
                each
                for each in facts.invoices
                if each.stripe_subscription_id == row.stripe_subscription_id
                and each.status == "paid"
            ),
            None,
        )
        hint = facts.hinted_user
        yield Finding(
            Kind.SUBSCRIPTION_UNATTRIBUTED,
            Severity.ACCESS,
            row.stripe_subscription_id,
            "They pay for a subscription, and nobody knows which user of ours they are: it"
            " unlocks nothing."
            + (
                f" The email belongs to user {hint}: make sure that it is the same person."
                if hint
                else " Ask them for the account that they use here, then attribute the payment."
            ),
            (
                Evidence("Subscription", row.status, row.stripe_subscription_id, row.created_at),
                *([Evidence("Same email", f"user {hint}")] if hint else []),
            ),
            Fix(
                "attribute_payment",
                {"purchase_id": invoice.stripe_invoice_id, "user_id": hint},
            )
            if invoice and hint
            else None,
            for_customer="We received your payment, but could not match it with your account yet.",
            amount=row.amount,
            currency=row.currency,
        )


def too_many(facts: Facts) -> Iterator[Finding]:
    """More than one live subscription that is not ending: people pay twice and do not know."""
    running = [
        row
        for row in facts.subscriptions
        if facts.status_of(row) in LIVE and not row.cancel_at_period_end and row.cancel_at is None
    ]
    if len(running) < 2:
        return
    newest = max(running, key=lambda row: (row.created_at, row.pk))
    yield Finding(
        Kind.SEVERAL_SUBSCRIPTIONS,
        Severity.MONEY,
        newest.stripe_subscription_id,
        f"They have {len(running)} live subscriptions and pay for each. Ask which one to keep:"
        " the newest is proposed to be cancelled at the end of its period.",
        tuple(
            Evidence(
                "Subscription",
                f"{row.status}, {_price(row)}",
                row.stripe_subscription_id,
                row.created_at,
            )
            for row in running
        ),
        Fix("cancel_at_period_end", {"subscription_id": newest.stripe_subscription_id}),
        for_customer=f"You have {len(running)} subscriptions running at the same time. Tell us"
        " which one you would like to keep.",
        amount=newest.amount,
        currency=newest.currency,
    )


def past_due(facts: Facts) -> Iterator[Finding]:
    """A renewal that was not paid: why the bank declined, and when Stripe tries again."""
    for row in facts.subscriptions:
        invoice = owed_invoice(facts, row)
        if row.status not in OWING or facts.status_of(row) not in OWING or invoice is None:
            continue
        payment = failed_payment(facts, invoice)
        reason = decline(payment)
        next_try = (
            f"Stripe tries again at {format_time(invoice.next_payment_attempt)}."
            if invoice.next_payment_attempt
            else "Stripe does not try again by itself."
        )
        due = format_money(invoice.amount_remaining, invoice.currency)
        yield Finding(
            Kind.PAST_DUE,
            Severity.ACCESS,
            row.stripe_subscription_id,
            f"{due} of the renewal is not paid after {attempts(invoice)}: {reason}. {next_try}",
            (
                Evidence("Subscription", row.status, row.stripe_subscription_id, row.updated_at),
                Evidence("Invoice", f"{due} due", invoice.stripe_invoice_id, invoice.created_at),
                *(
                    [Evidence("Declined", reason, payment.stripe_charge_id, payment.created_at)]
                    if payment
                    else []
                ),
            ),
            retry(facts, row.stripe_customer_id, invoice, payment),
            for_customer=f"Your last payment of {due} did not go through"
            f"{told_to_customer(payment)}. Please update your payment method under Manage Billing,"
            " or ask your bank.",
            amount=invoice.amount_remaining,
            currency=invoice.currency,
        )


def retry(
    facts: Facts, customer_id: str, invoice: BillingInvoice, payment: BillingPayment | None
) -> Fix:
    """Try again where the card is another one than that which failed; else the portal's link."""
    if payment is not None and has_another_card(facts, customer_id, payment):
        return Fix("pay_invoice", {"invoice_id": invoice.stripe_invoice_id})
    return Fix("create_portal_link", {"customer": customer_id})


def has_another_card(facts: Facts, customer_id: str, payment: BillingPayment) -> bool:
    """Whether the customer's default method was replaced since this payment failed with it."""
    if facts.stripe is None:
        return False
    customer = facts.stripe.of("customer").get(customer_id, {})
    default = id_of(dig(customer, "invoice_settings", "default_payment_method"))
    charge = facts.stripe.of("charge").get(payment.stripe_charge_id, {})
    failed_with = id_of(charge.get("payment_method"))
    return bool(default and failed_with and default != failed_with)


def failed_payment(facts: Facts, invoice: BillingInvoice) -> BillingPayment | None:
    """The newest attempt at an invoice that failed.

    Stripe says which payment paid an invoice, and not which tried to: of those, it is one of
    the same customer over the same amount, made since.
    """
    return next(
        (
            payment
            for payment in facts.payments
            if payment.status == "failed"
            and facts.invoice_of.get(payment.payment_intent_id, invoice.stripe_invoice_id)
            == invoice.stripe_invoice_id
            and payment.stripe_customer_id == invoice.stripe_customer_id
            and payment.amount == invoice.amount_due
            and payment.created_at >= invoice.created_at - SKEW
        ),
        None,
    )


def decline(payment: BillingPayment | None) -> str:
    """Why a payment failed, in the bank's words as far as they are known; no full stop."""
    if payment is None:
        return "no payment was tried"
    words = (payment.decline_reason or payment.failure_code).replace("_", " ")
    said = payment.failure_message.strip().rstrip(".")
    if said and words and words not in said.lower():
        return f"{said}, {words}"
    return said or words or "no reason given"


def told_to_customer(payment: BillingPayment | None) -> str:
    """What Stripe wrote for the customer about a failure, in brackets; '' for nothing.

    The bank's own reason is not for them: it may be that the card was reported as stolen.
    """
    said = payment.failure_message.strip().rstrip(".") if payment else ""
    return f" ({said})" if said else ""


def attempts(invoice: BillingInvoice) -> str:
    """How often an invoice was tried, in words."""
    return f"{invoice.attempt_count} attempt{'' if invoice.attempt_count == 1 else 's'}"


def latest_invoice(facts: Facts, row: BillingSubscription) -> BillingInvoice | None:
    """The invoice that the subscription names as its latest; None where that is not here."""
    theirs = _invoices_of(facts, row)
    named = (each for each in theirs if each.stripe_invoice_id == row.latest_invoice_id)
    return next(named, None) if row.latest_invoice_id else next(iter(theirs), None)


def owed_invoice(facts: Facts, row: BillingSubscription) -> BillingInvoice | None:
    """The newest invoice of a subscription that is finalised and not paid.

    Drafts, which Stripe goes on making for an unpaid subscription, come after those.
    """
    owed = [i for i in _invoices_of(facts, row) if facts.status_of(i) in (*PAYABLE, "draft")]
    return min(owed, key=lambda invoice: invoice.status == "draft", default=None)


def _invoices_of(facts: Facts, row: BillingSubscription) -> list[BillingInvoice]:
    subscription_id = row.stripe_subscription_id
    return [i for i in facts.invoices if i.stripe_subscription_id == subscription_id]


def _price(row: BillingSubscription) -> str:
    return format_money(row.amount or 0, row.currency)


CHECKS: tuple[Check, ...] = (
    differs_from_stripe,
    paid_but_not_active_here,
    nobodys,
    too_many,
    past_due,
)

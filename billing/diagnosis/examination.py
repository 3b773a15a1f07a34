"""Examining a person: the facts, Stripe's word where it can be had, and every check's findings."""

from collections.abc import Sequence

from billing.diagnosis import at_stripe, differences
from billing.diagnosis.checks import ALL
from billing.diagnosis.facts import Facts, Person, gather, read_about, read_received
from billing.diagnosis.findings import Check, Finding, Report
from billing.gateway.client import GatewayError, giving_up_on_silence, only_looking
from billing.gateway.observation import StripeDict
from billing.projection.purchases import is_paid_pack


def examine(person: Person, *, ask_stripe: bool, about: Sequence[str] = ()) -> tuple[Facts, Report]:
    """What is known of a person and what is wrong with it.

    `about` are Stripe ids of more that is looked at: what belongs to nobody we know.

    Where Stripe is asked and does not answer, the report says so (`silence`) and has what our
    own rows tell.
    """
    facts = gather(person, about=about)
    report = Report()
    if ask_stripe and (person.customer_ids or facts.emails):
        try:
            with giving_up_on_silence(), only_looking():
                consult(facts)
        except GatewayError as error:
            report.silence = str(error)
        if facts.stripe is not None:
            report.asked_at, report.api_calls = facts.stripe.asked_at, facts.stripe.api_calls
    report.findings = findings(facts)
    return facts, report


def consult(facts: Facts) -> None:
    """Adds what Stripe says. Raises a GatewayError; what was read before it stays."""
    person = facts.person
    facts.stripe = at_stripe.ask(
        person.customer_ids,
        emails=facts.emails,
        user_id=person.user_id,
        guest_payments=[
            bought.payment_intent_id
            for bought in facts.purchases
            if bought.payment_intent_id and not bought.stripe_customer_id
        ],
    )
    suspects = list(differing(facts))
    read_about(facts, [object_id for _, object_id in suspects])
    last = {object_id: events[0].stripe_created_at for object_id, events in facts.about.items()}
    at_stripe.look_for_events(facts.stripe, suspects, last)
    read_received(facts)


def differing(facts: Facts) -> list[tuple[str, str]]:
    """Kinds and ids of Stripe's objects that our rows do not show as they are, gravest first."""
    assert facts.stripe is not None  # noqa: S101  (narrows the type)
    stripe = facts.stripe
    subscriptions = {row.stripe_subscription_id: row for row in facts.subscriptions}
    invoices = {row.stripe_invoice_id: row for row in facts.invoices}
    granted = {row.source for row in facts.purchases if row.status == row.Status.GRANTED}
    payments = {row.stripe_charge_id: row for row in facts.payments}

    def is_other(kind: str, object_id: str, data: StripeDict) -> bool:
        match kind:
            case "subscription":
                row = subscriptions.get(object_id)
                return row is None or bool(differences.of_subscription(row, data))
            case "checkout.session":
                return is_paid_pack(data) and object_id not in granted
            case "invoice":
                invoice = invoices.get(object_id)
                return invoice is None or bool(differences.of_invoice(invoice, data))
            case "charge":
                payment = payments.get(object_id)
                refunded, disputed = data.get("amount_refunded") or 0, data.get("disputed") is True
                if payment is None:
                    return bool(refunded or disputed)
                return (payment.amount_refunded, payment.disputed) != (refunded, disputed)
        return False

    return [
        (kind, object_id)
        for kind in ("subscription", "checkout.session", "charge", "invoice")
        for object_id, data in stripe.of(kind).items()
        if is_other(kind, object_id, data)
    ]


def findings(facts: Facts, checks: Sequence[Check] = ALL) -> list[Finding]:
    """What every check finds, the gravest first; an event that explains another finding is left
    to that one."""
    found = [finding for check in checks for finding in check(facts)]
    explained = {event for finding in found for event in finding.events}
    kept = [f for f in found if not (f.kind.startswith("event_") and f.subject in explained)]
    return sorted(kept, key=lambda f: (f.severity.rank, -(f.amount or f.credits or 0)))

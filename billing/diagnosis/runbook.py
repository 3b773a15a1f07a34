"""The three customer support scripts of the runbook, in its own words and order (P1 to P3)."""

from collections.abc import Iterable, Iterator, Sequence

from billing.diagnosis.checks.purchases import is_granted
from billing.diagnosis.checks.subscriptions import LIVE
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Evidence, Finding
from billing.diagnosis.kinds import Kind
from billing.diagnosis.scripts import Case, Outcome, Script, State
from billing.diagnosis.standing import WITH_ACCESS, current_subscription
from billing.formatting import format_money, format_time
from billing.gateway.observation import StripeDict, from_timestamp
from billing.gateway.shapes import dig, id_of
from billing.models import BillingSubscription
from billing.projection.purchases import is_paid_pack

SHOWN = 5  # pieces of evidence that a step shows where nothing is wrong
MOST = 12  # and where something is
SILENT = "Stripe could not be asked: this step has to wait until it answers."

# What findings are about.
PEOPLE = (Kind.CUSTOMER_DELETED, Kind.CUSTOMER_UNKNOWN, Kind.CUSTOMER_DIFFERS)
MISMATCHES = (
    Kind.PAID_NOT_ACTIVE,
    Kind.ACTIVE_ONLY_AT_STRIPE,
    Kind.ACTIVE_ONLY_HERE,
    Kind.STATUS_DIFFERS,
    Kind.PERIOD_DIFFERS,
    Kind.CANCELLATION_DIFFERS,
    Kind.PRICE_DIFFERS,
    Kind.SUBSCRIPTION_DIFFERS,
    Kind.INVOICE_DIFFERS,
)
UNPAID = (Kind.PAST_DUE, Kind.CANCELED_FOR_NONPAYMENT, Kind.INVOICE_UNPAID)
OVER = (Kind.CANCELED_FOR_NONPAYMENT, Kind.CANCELED_BY_CUSTOMER, Kind.CANCELED_BY_US)
HERE = (Kind.SUBSCRIPTION_UNATTRIBUTED, Kind.OVERRIDE_IN_FORCE, Kind.RAW_SQL)
EVENTS = (
    Kind.EVENT_NOT_RECEIVED,
    Kind.EVENT_FAILED,
    Kind.EVENT_WAITING,
    Kind.EVENT_SET_ASIDE,
)
NOBODYS = (Kind.PAYMENT_UNATTRIBUTED, Kind.SUBSCRIPTION_UNATTRIBUTED)
MISSING = (Kind.PACK_NOT_GRANTED, Kind.NO_CREDITS_THIS_PERIOD, Kind.PRICE_UNMAPPED)
CREDITS = (
    Kind.BALANCE_NEGATIVE,
    Kind.BALANCE_DIFFERS,
    Kind.CLAIM_DEBITED,
    Kind.REFUND_NOT_TAKEN_BACK,
    Kind.DISPUTE_NOT_TAKEN_BACK,
    Kind.CREDITS_OWED,
    Kind.CLAIM_REFUSED,
)


def found(findings: Sequence[Finding]) -> Outcome:
    """That something was found: every verdict, with the evidence for all of them."""
    said = " ".join(dict.fromkeys(finding.verdict for finding in findings))
    evidence = [item for finding in findings for item in finding.evidence]
    return Outcome(State.FOUND, said, tuple(dict.fromkeys(evidence))[:MOST])


def fine(case: Case, said: str, evidence: Iterable[Evidence] = ()) -> Outcome:
    """That nothing is wrong, as far as Stripe was there to be asked."""
    if case.is_silent:
        return Outcome(State.UNKNOWN, SILENT)
    return Outcome(State.FINE, said, tuple(evidence)[:SHOWN])


def replayed(case: Case) -> list[Finding]:
    """Findings that a replay of an event mends, and events without effect."""
    return [f for f in case.fitting if f.kind in EVENTS or is_mended_by(f, "replay_events")]


def is_mended_by(finding: Finding, *operations: str) -> bool:
    return finding.fix is not None and finding.fix.operation in operations


# Evidence from Stripe and from our own rows.


def people(case: Case) -> Iterator[Evidence]:
    for data in case.at_stripe("customer"):
        words = ", ".join(str(data[name]) for name in ("email", "name") if data.get(name))
        yield at_stripe(data, "Customer", words or "no email")


def at_stripe(data: StripeDict, label: str, value: str) -> Evidence:
    return Evidence(label, value, id_of(data.get("id")), from_timestamp(data.get("created")))


def amount(data: StripeDict, *names: str) -> str:
    """The first of these amounts that Stripe's object has, as money."""
    known = next((data[name] for name in names if isinstance(data.get(name), int)), 0)
    return format_money(known, str(data.get("currency") or ""))


def subscriptions(case: Case) -> Iterator[Evidence]:
    for data in case.at_stripe("subscription"):
        yield at_stripe(data, "Subscription", str(data.get("status")))


def invoices(case: Case) -> Iterator[Evidence]:
    for data in case.at_stripe("invoice")[:SHOWN]:
        yield at_stripe(data, "Invoice", f"{data.get('status')}, {amount(data, 'amount_due')}")


def payments(case: Case) -> Iterator[Evidence]:
    """What was paid at Stripe: packs by their sessions, and charges."""
    for data in filter(is_paid_pack, case.at_stripe("checkout.session")):
        yield at_stripe(data, "Pack", f"paid, {amount(data, 'amount_total')}")
    for data in case.at_stripe("charge"):
        if data.get("status") == "succeeded":
            yield at_stripe(data, "Payment", f"succeeded, {amount(data, 'amount')}")


def rows(facts: Facts) -> Iterator[Evidence]:
    for row in facts.subscriptions:
        ends = f", until {format_time(row.current_period_end)}" if row.current_period_end else ""
        value = f"{row.status}{ends}"
        yield Evidence("Subscription here", value, row.stripe_subscription_id, row.updated_at)


def bought(facts: Facts) -> Iterator[Evidence]:
    for row in facts.purchases:
        paid = format_money(row.amount, row.currency)
        yield Evidence("Purchase here", f"{paid}, {row.status}", row.source, row.created_at)


def grants(facts: Facts) -> Iterator[Evidence]:
    for row in facts.purchases:
        if is_granted(facts, row):
            yield Evidence("Granted", f"{row.credits or 0:,} credits", row.source, row.granted_at)


# P1: "My payment went through but I don't have access".


def look_up_customer(case: Case) -> Outcome:
    if wrong := case.of(PEOPLE):
        return found(wrong)
    if not case.is_silent and not case.at_stripe("customer"):
        return Outcome(State.FOUND, "They have no customer at Stripe.")
    return fine(case, "They are at Stripe.", people(case))


def check_at_stripe(case: Case) -> Outcome:
    if wrong := case.of((*UNPAID, *OVER, Kind.CANCELLATION_SCHEDULED)):
        return found(wrong)
    evidence = [*list(subscriptions(case))[:SHOWN], *invoices(case)]
    if not case.is_silent and not case.at_stripe("subscription"):
        said = "Stripe has no subscription of theirs: perhaps they paid under another email."
        return Outcome(State.FOUND, said, tuple(evidence))
    outcome = fine(case, "Nothing is unpaid, and nothing ended.")
    return Outcome(outcome.state, outcome.said, () if case.is_silent else tuple(evidence))


def check_here(case: Case) -> Outcome:
    if wrong := case.of((Kind.PAID_NOT_ACTIVE, *HERE)):
        return found(wrong)
    evidence = tuple(rows(case.facts))[:SHOWN]
    if not evidence:
        return Outcome(State.FOUND, "There is no record of a subscription here.")
    current = current_subscription(case.facts)
    if current is None or current.status not in WITH_ACCESS:
        return Outcome(State.FOUND, "No subscription gives access here.", evidence)
    return Outcome(State.FINE, "The subscription gives access here.", evidence)


def sync_mismatch(case: Case) -> Outcome:
    if wrong := case.of(MISMATCHES):
        return found(wrong)
    return fine(case, "There is no mismatch: here is what Stripe has.")


def replay_event(case: Case) -> Outcome:
    if wrong := replayed(case):
        return found(wrong)
    return fine(case, "It is no webhook issue: no event waits, failed or got lost.")


def has_access(case: Case) -> str:
    current = current_subscription(case.facts)
    if current is None:
        return (
            "There is no subscription, here or at Stripe. Perhaps they paid under another email:"
            " ask for the card's last four digits and the amount, and search for those."
        )
    if current.status not in WITH_ACCESS:
        return f"Here and at Stripe the subscription is {current.status}: nothing was paid for it."
    who = f"user {case.facts.user_id}" if case.facts.user_id else "this user"
    return (
        f"The subscription is {current.status}, here and at Stripe. If they do not see it, they"
        f" may be logged in as somebody else than {who}, or have to log out and in again."
    )


# P2: "I was charged but my credits weren't added".


def find_payment(case: Case) -> Outcome:
    if wrong := case.of(NOBODYS):
        return found(wrong)
    evidence = tuple(payments(case))[:SHOWN]
    if not case.is_silent and not evidence:
        said = "Stripe has no payment of theirs: ask for the card's last four digits and search."
        return Outcome(State.FOUND, said)
    return fine(case, "The payments are at Stripe.", evidence)


def check_event(case: Case) -> Outcome:
    if wrong := case.of((*MISSING, *EVENTS)):
        return found(wrong)
    return fine(case, "The event of every payment arrived and was processed.", bought(case.facts))


def replay_missing(case: Case) -> Outcome:
    if wrong := replayed(case):
        return found(wrong)
    return fine(case, "No event is missing: there is nothing to replay.")


def grant_credits(case: Case) -> Outcome:
    by_hand = ("grant_purchase", "attribute_payment", "grant_credits")
    wrong = [f for f in case.fitting if f.kind in CREDITS or is_mended_by(f, *by_hand)]
    if wrong := [*wrong, *case.of((Kind.PRICE_UNMAPPED,))]:
        return found(wrong)
    if case.of(MISSING):
        return Outcome(State.FINE, "Not by hand: what is recommended grants them by itself.")
    return fine(case, "All that was paid has brought its credits.", grants(case.facts))


def audit(case: Case) -> Outcome:
    return Outcome(
        State.FINE, "Nothing to do: each operation writes its own audit entry, with its reason."
    )


def has_credits(case: Case) -> str:
    credits_ = case.facts.credits
    balance = credits_.balance if credits_ else 0
    last = next((row for row in case.facts.purchases if is_granted(case.facts, row)), None)
    if last is None:
        return (
            f"They have {balance:,} credits, and paid for none under this account. Perhaps it was"
            " another email: search for the card's last four digits with the amount."
        )
    at = format_time(last.granted_at or last.updated_at)
    spent = -sum(entry.delta for entry in case.facts.entries if entry.delta < 0)
    gone = f" {spent:,} were taken back or corrected." if spent else ""
    return (
        f"The last purchase brought {last.credits or 0:,} credits at {at}, and the balance is"
        f" {balance:,}: what is missing was spent on leads.{gone} The ledger on the customer's"
        " page shows each of them."
    )


# P3: "My subscription was cancelled but I didn't cancel it".


def check_failed_payment(case: Case) -> Outcome:
    if wrong := case.of(UNPAID):
        return found(wrong)
    return fine(case, "No payment failed that is still open.", invoices(case))


def guide_to_portal(case: Case) -> Outcome:
    if case.of(UNPAID):
        said = "Send them a link to their billing page or the Customer Portal, to change the card."
        return Outcome(State.FOUND, said, tuple(methods(case))[:SHOWN])
    return fine(case, "Not needed: nothing is owed.", methods(case))


def methods(case: Case) -> Iterator[Evidence]:
    """What each customer pays with."""
    for data in case.at_stripe("customer"):
        method = id_of(dig(data, "invoice_settings", "default_payment_method"))
        value = "their default" if method else "none by default"
        yield Evidence("Payment method", value, method)


def check_webhook(case: Case) -> Outcome:
    if wrong := [*replayed(case), *case.of((*MISMATCHES, *HERE, *PEOPLE))]:
        return found(list({id(each): each for each in wrong}.values()))
    return fine(case, "It is no webhook issue: Stripe has the subscription as it is here.")


def reactivate(case: Case) -> Outcome:
    if wrong := case.of((*OVER, Kind.CANCELLATION_SCHEDULED)):
        outcome = found(wrong)
        scheduled = case.of((Kind.CANCELLATION_SCHEDULED,))
        how = (
            "It still runs: reactivating it keeps it."
            if scheduled
            else "It is over for good: only a new subscription will do, with a checkout link."
        )
        return Outcome(State.FOUND, f"{outcome.said} {how}", outcome.evidence)
    if case.of(MISMATCHES):
        return Outcome(State.FINE, "First bring in what Stripe has: see what was recommended.")
    return fine(case, "Not needed: nothing was cancelled.", rows(case.facts))


def is_running(case: Case) -> str:
    running = _first_live(case.facts)
    if running is None:
        return "They have no subscription that runs or that ended lately, here or at Stripe."
    return (
        f"The subscription is {running.status} and nothing is set to end it. Ask what made them"
        " think so: it may be a message about another account, or an older subscription."
    )


def _first_live(facts: Facts) -> BillingSubscription | None:
    return next((row for row in facts.subscriptions if row.status in LIVE), None)


NO_ACCESS = Script(
    "no-access",
    "My payment went through but I don't have access",
    (*MISMATCHES, *HERE, *UNPAID, *PEOPLE, *EVENTS, *OVER[1:], Kind.CANCELLATION_SCHEDULED),
    (
        ("Look up customer by email in Stripe Dashboard", look_up_customer),
        ("Check subscription status and recent invoices", check_at_stripe),
        ("Check database subscription record", check_here),
        ("If mismatch, sync from Stripe or manually update", sync_mismatch),
        ("If webhook issue, replay the event", replay_event),
    ),
    has_access,
)
NO_CREDITS = Script(
    "no-credits",
    "I was charged but my credits weren't added",
    (*MISSING, *NOBODYS, *EVENTS, *CREDITS),
    (
        ("Find the payment in Stripe Dashboard", find_payment),
        ("Check for corresponding webhook event in billing_events", check_event),
        ("If event missing, manually replay webhook", replay_missing),
        ("If event present, manually grant credits", grant_credits),
        ("Add audit log entry", audit),
    ),
    has_credits,
)
CANCELLED = Script(
    "cancelled",
    "My subscription was cancelled but I didn't cancel it",
    (
        Kind.CANCELED_FOR_NONPAYMENT,
        Kind.PAST_DUE,
        *MISMATCHES,
        *HERE,
        Kind.CANCELED_BY_US,
        Kind.CANCELED_BY_CUSTOMER,
        Kind.CANCELLATION_SCHEDULED,
        Kind.INVOICE_UNPAID,
        *PEOPLE,
        *EVENTS,
    ),
    (
        ("Check for failed payment in Stripe", check_failed_payment),
        ("Guide user to Customer Portal to update payment method", guide_to_portal),
        ("If payment method valid, check for webhook issues", check_webhook),
        ("Manually reactivate subscription if appropriate", reactivate),
    ),
    is_running,
)
SCRIPTS = (NO_ACCESS, NO_CREDITS, CANCELLED)
BY_SLUG = {script.slug: script for script in SCRIPTS}

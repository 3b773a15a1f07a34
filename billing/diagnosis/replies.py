"""The reply to a customer: plain sentences to paste, free of ids and of anything about others."""

import re
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from billing.diagnosis.checks.purchases import is_granted
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Finding
from billing.diagnosis.runbook import NO_CREDITS
from billing.diagnosis.scripts import Followed
from billing.diagnosis.standing import WITH_ACCESS, current_subscription
from billing.formatting import format_money
from billing.models import InboxEvent, OperationRecord

MOST = 3  # findings that a reply tells of
MENDED_SINCE = timedelta(days=7)  # for how long a reply says that something was put right
LATE = timedelta(minutes=5)  # after a payment, from which on its credits came late
MENDING = (
    "sync_from_stripe",
    "replay_events",
    "grant_purchase",
    "attribute_payment",
    "record_subscription",
    "reactivate_subscription",
    "refund_claim",
    "tie_out_balance",
)

GREETING = "Hello,\n\nthank you for getting in touch."
ENDING = "Please write to us again if anything still looks wrong to you."
LOOKING = "We are looking into this, and will write to you again as soon as we know more."
NO_SUBSCRIPTION = (
    "We could not find a subscription under your account. Could you tell us the date and the amount"
    " of the payment, and the last four digits of the card?"
)
NO_PAYMENT = (
    "We could not find a payment for credits under your account. Could you tell us its date and"
    " amount, and the last four digits of the card?"
)
MISSED = (
    "Our system missed a notice about your account. We are putting that right now; you do not have"
    " to do anything."
)
# What is done next, by the operation that does it.
NEXT = {
    "create_portal_link": "We are sending you a link with which you can update it.",
    "pay_invoice": "You have a new payment method, so we are trying the payment again.",
    "resend_invoice": "We are sending you the invoice again.",
    "attribute_payment": "We are matching it now.",
    "reactivate_subscription": "Tell us if you would like to keep it, and we will do the rest.",
}

UNSAFE = re.compile(r"\S*[_@]\S*")  # ids, codes and email addresses, wherever they came from
BRACKETS = re.compile(r"\s*\([^()]*\)")


def reply(followed: Followed, *, mended: bool) -> str:
    """What the customer is told, as it is now. `mended` is whether something was put right."""
    facts = followed.case.facts
    paragraphs = [GREETING, " ".join(_body(followed, mended=mended)), ENDING]
    return "\n\n".join(safe(paragraph, facts.user_id or "") for paragraph in paragraphs)


def _body(followed: Followed, *, mended: bool) -> list[str]:
    recommended = followed.recommended
    if recommended is not None:
        said = list(dict.fromkeys(f.for_customer for f in followed.case.fitting if f.for_customer))
        return [
            *(said[:MOST] or [MISSED if _is_ours(recommended) else LOOKING]),
            *_next(recommended),
        ]
    if followed.case.is_silent:
        return [LOOKING]
    if followed.script is NO_CREDITS:
        return credits_now(followed.case.facts, mended=mended)
    return subscription_now(followed.case.facts, mended=mended)


def _is_ours(finding: Finding) -> bool:
    """Whether it is put right here, without the customer."""
    return finding.fix is not None and finding.fix.operation in MENDING


def _next(finding: Finding) -> list[str]:
    said = NEXT.get(finding.fix.operation) if finding.fix else None
    return [said] if said else []


def subscription_now(facts: Facts, *, mended: bool) -> list[str]:
    """How the subscription stands, where nothing is wrong with it."""
    current = current_subscription(facts)
    if current is None:
        return [NO_SUBSCRIPTION]
    if current.status not in WITH_ACCESS:
        return ["Your subscription is not running at the moment. Would you like to start it again?"]
    until = f" until {_day(current.current_period_end)}" if current.current_period_end else ""
    runs = "Your trial runs" if current.status == "trialing" else "Your subscription is active"
    how = f"{runs}{until}, and you have full access."
    if mended:
        return [f"Our system had missed a notice about your account. This is put right now. {how}"]
    return [how, "If you do not see it, please log out, and log in again with the same email."]


def credits_now(facts: Facts, *, mended: bool) -> list[str]:
    """What was paid, what it brought, and the balance, where nothing is missing."""
    balance = f"Your balance is {facts.credits.balance if facts.credits else 0:,} credits now."
    last = next((row for row in facts.purchases if is_granted(facts, row)), None)
    if last is None:
        return [NO_PAYMENT, balance]
    granted = last.granted_at or last.updated_at
    paid = format_money(last.amount, last.currency)
    brought = (
        f"Your payment of {paid} on {_day(last.created_at)} arrived, and its {last.credits or 0:,}"
        f" credits were added on {_day(granted)}."
    )
    late = "We are sorry that they came late." if mended or granted - last.created_at > LATE else ""
    return [part for part in (brought, late, balance) if part]


def was_mended(facts: Facts) -> bool:
    """Whether somebody here has changed something of theirs lately that had been wrong."""
    subjects = facts.object_ids | ({facts.user_id} if facts.user_id else set())
    events = InboxEvent.objects.filter(
        Q(customer_id__in=facts.person.customer_ids) | Q(object_id__in=facts.object_ids)
    )
    done = OperationRecord.objects.filter(
        Q(subject__in=subjects) | Q(subject__in=events.values("stripe_event_id")),
        name__in=MENDING,
        status=OperationRecord.Status.APPLIED,
        created_at__gte=facts.now - MENDED_SINCE,
    )
    return any(_changed(plan, result) for plan, result in done.values_list("plan", "result")[:50])


def _changed(plan: dict[str, Any], result: dict[str, Any]) -> bool:
    """Whether something is otherwise since. What a replay changed stands in its plan alone."""
    changes = result.get("changes") or (plan.get("changes") if not result.get("warnings") else [])
    return any(
        change["before"] != change["after"] and not str(change["before"]).startswith("processed")
        for change in changes or []
    )


def safe(text: str, user_id: str) -> str:
    """The text without ids, codes and addresses; what stood in brackets with one goes with it.

    What Stripe wrote about a declined card is the only part of a reply that is not ours.
    """
    text = BRACKETS.sub(lambda found: "" if _is_unsafe(found[0], user_id) else found[0], text)
    text = UNSAFE.sub("…", text)
    return _as_word(user_id).sub("…", text) if _is_telling(user_id) else text


def _is_unsafe(text: str, user_id: str) -> bool:
    named = _is_telling(user_id) and _as_word(user_id).search(text)
    return bool(UNSAFE.search(text) or named)


def _is_telling(user_id: str) -> bool:
    """Whether it can only be an id: a short number may as well be an amount or a day."""
    return len(user_id) > 3 and not (user_id.isdigit() and len(user_id) < 7)


def _as_word(user_id: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(user_id)}(?!\w)")


def _day(moment: datetime) -> str:
    return f"{moment:%-d %B %Y}"

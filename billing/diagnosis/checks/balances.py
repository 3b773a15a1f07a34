"""Balances: against the ledger, below zero, owed; claims that took credits or were refused."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from billing.diagnosis.checks.purchases import missing
from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Check, Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import Kind
from billing.formatting import format_time
from billing.models import CreditEntry, LeadCredits, Purchase

REFUSED_SINCE = timedelta(days=14)
EntryKind = CreditEntry.Kind


def against_ledger(facts: Facts) -> Iterator[Finding]:
    """A balance that its entries do not add up to, or below 0: both should be impossible."""
    credits_ = facts.credits or LeadCredits(user_id=facts.user_id or "", balance=0, owed=0)
    held, ledger = (credits_.balance, credits_.owed), facts.ledger
    evidence = (
        Evidence("Balance", f"{held[0]:,} credits, {held[1]:,} owed", time=credits_.updated_at),
        Evidence("Sum of the ledger", f"{ledger[0]:,} credits, {ledger[1]:,} owed"),
    )
    user = facts.user_id or ""
    if held != ledger:
        yield Finding(
            Kind.BALANCE_NEGATIVE if held[0] < 0 else Kind.BALANCE_DIFFERS,
            Severity.MONEY,
            user,
            f"The balance is {held[0]:,}, and the ledger adds up to {ledger[0]:,}: something wrote"
            " past the triggers, such as a restore. The ledger is what was recorded.",
            evidence,
            Fix("tie_out_balance", {"user_id": user}),
            credits=abs(held[0] - ledger[0]) or abs(held[1] - ledger[1]),
        )
    elif held[0] < 0:
        yield Finding(
            Kind.BALANCE_NEGATIVE,
            Severity.MONEY,
            user,
            f"The balance is {held[0]:,}, which the database should refuse: a constraint is gone.",
            evidence,
            Fix("correct_balance", {"user_id": user, "balance": 0}),
            credits=-held[0],
        )


def owed(facts: Facts) -> Iterator[Finding]:
    """Credits that a refund or dispute took back after they were spent."""
    if facts.credits is None or facts.credits.owed <= 0:
        return
    taken = [
        entry
        for entry in facts.entries
        if entry.owed_delta > 0 and entry.kind in (EntryKind.REFUND, EntryKind.DISPUTE)
    ]
    why = f": {taken[0].reason}" if taken else ""
    yield Finding(
        Kind.CREDITS_OWED,
        Severity.MONEY,
        facts.user_id or "",
        f"They owe {facts.credits.owed:,} credits that were taken back after they were spent{why}."
        " Their next purchase pays them first.",
        tuple(
            Evidence(
                "Owed since",
                f"{entry.owed_delta:+,} owed, {entry.reason}",
                (entry.source or "").partition(":")[2],
                entry.created_at,
            )
            for entry in taken[:5]
        ),
        _checkout(facts),
        for_customer=f"After a refund, {facts.credits.owed:,} credits that you had used already are"
        " still to be made up for: your next purchase covers them first.",
        credits=facts.credits.owed,
    )


def debited_for_nothing(facts: Facts) -> Iterator[Finding]:
    """Claims that failed and took their credits all the same."""
    for claim in facts.debited_claims:
        yield Finding(
            Kind.CLAIM_DEBITED,
            Severity.MONEY,
            f"claim:{claim.pk}",
            f"The claim of lead {claim.lead_id or 'unknown'} failed"
            f" ({claim.failure_reason or 'no reason given'}), and took {claim.credits_spent:,}"
            " credits that were not given back.",
            (
                Evidence(
                    "Claim",
                    f"failed, {claim.credits_spent:,} credits",
                    f"claim:{claim.pk}",
                    claim.claimed_at,
                ),
            ),
            Fix("refund_claim", {"claim_id": claim.pk}),
            for_customer="A lead that you tried to claim was not delivered, but its credits were"
            " taken. We are giving them back.",
            credits=claim.credits_spent,
        )


def refused(facts: Facts) -> Iterator[Finding]:
    """A claim that was refused for want of credits, while there are still too few: why."""
    claim = next(iter(facts.refused_claims), None)
    balance = facts.credits.balance if facts.credits else 0
    if claim is None or claim.claimed_at < facts.now - REFUSED_SINCE:
        return
    if balance >= max(claim.credits_spent, 1):
        return
    lacking = list(missing(facts))
    yield Finding(
        Kind.CLAIM_REFUSED,
        Severity.WARNING if lacking else Severity.INFO,
        f"claim:{claim.pk}",
        f"A claim was refused at {format_time(claim.claimed_at)} (“{claim.failure_reason}”), and"
        f" they have {balance:,} credits: {_why_so_few(facts, lacking)}.",
        (
            Evidence("Claim", claim.failure_reason, f"claim:{claim.pk}", claim.claimed_at),
            *(
                Evidence(
                    str(EntryKind(entry.kind).label), f"{entry.delta:+,}", time=entry.created_at
                )
                for entry in facts.entries[:3]
            ),
        ),
        lacking[0].fix if lacking else _checkout(facts),
        for_customer=lacking[0].for_customer
        if lacking
        else f"You have {balance:,} credits at the moment, which is too few for this lead."
        " You can buy more at any time.",
    )


def _why_so_few(facts: Facts, lacking: Sequence[Finding]) -> str:
    credits_ = facts.credits
    if lacking:
        return f"what they paid for was not granted ({lacking[0].subject})"
    if credits_ is not None and credits_.owed:
        return f"{credits_.owed:,} more are owed after a refund or dispute"
    came = [entry for entry in facts.entries if entry.delta > 0]
    if not came:
        return "none were ever bought or granted"
    last = came[0]
    gone = facts.entries[0]
    if gone.delta < 0 and gone.kind in (EntryKind.REFUND, EntryKind.DISPUTE):
        return f"{-gone.delta:,} were taken back at {format_time(gone.created_at)} ({gone.reason})"
    if any(row.status in ("past_due", "unpaid") for row in facts.subscriptions):
        return "the renewal that would bring more is not paid"
    return f"what came last ({last.delta:+,} at {format_time(last.created_at)}) is spent"


def _checkout(facts: Facts) -> Fix | None:
    """A link to buy the pack that they bought last; the user's, where no customer is left."""
    packs = (p for p in facts.purchases if p.kind == Purchase.Kind.PACK)
    prices = (line["price"] for pack in packs for line in pack.lines if line.get("price"))
    gone = {customer.stripe_customer_id for customer in facts.customers if customer.deleted}
    living = [each for each in facts.person.customer_ids if each not in gone]
    customer, price = living[-1] if living else facts.user_id, next(prices, "")
    if not customer or not price:
        return None
    return Fix("create_checkout_link", {"customer": customer, "price": price})


def stray_debits(facts: Facts) -> Iterator[Finding]:
    """Credits that raw SQL took, and that no claim of a lead explains."""
    for entry in facts.stray_debits:
        if any(
            later.pk > entry.pk
            and later.kind == EntryKind.CORRECTION
            and later.delta >= -entry.delta
            for later in facts.entries
        ):
            continue
        balance = facts.credits.balance if facts.credits else 0
        yield Finding(
            Kind.RAW_SQL,
            Severity.WARNING,
            f"entry:{entry.pk}",
            f"{-entry.delta:,} credits were taken by raw SQL ({entry.actor.removeprefix('sql:')}),"
            " and no claim of a lead explains them.",
            (Evidence("Ledger", f"{entry.delta:+,} by {entry.actor}", time=entry.created_at),),
            Fix("correct_balance", {"user_id": entry.user_id, "balance": balance - entry.delta}),
            credits=-entry.delta,
        )


def changed_claims(facts: Facts) -> Iterator[Finding]:
    """Claims that raw SQL took away, or over other credits or for another user than before.

    The application writes its claims by raw SQL itself: a new one, and one that failed, are
    in order.
    """
    seen: set[str] = set()
    for event in facts.sql_events:
        before, after = event.payload.get("before"), event.payload.get("after")
        if not event.type.startswith("sql.lead_claims.") or not isinstance(before, dict):
            continue
        told = [
            f"{name.replace('_', ' ')}: {before.get(name)} → {after.get(name)}"
            for name in ("user_id", "credits_spent")
            if isinstance(after, dict) and before.get(name) != after.get(name)
        ]
        subject = f"claim:{before.get('id')}"
        if subject in seen or (isinstance(after, dict) and not told):
            continue
        seen.add(subject)
        what = "changed" if told else "deleted"
        yield Finding(
            Kind.RAW_SQL,
            Severity.WARNING,
            subject,
            f"A claim of {before.get('credits_spent')} credits was {what} by raw SQL"
            f" ({event.payload.get('database_user')}) at {format_time(event.created_at)}. Ask who"
            " did it whether the balance is right, and correct it if it is not.",
            (Evidence("Raw SQL", "; ".join(told) or what, subject, event.created_at),),
        )


CHECKS: tuple[Check, ...] = (
    against_ledger,
    owed,
    debited_for_nothing,
    refused,
    stray_debits,
    changed_claims,
)

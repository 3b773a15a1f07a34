"""The one way in for Stripe's objects (DESIGN, rule 4).

Webhook, sync, backfill, replay and operations all end here: which observation counts,
the mirror's rows, the billing tables, the credits. Whatever else must be asked of
Stripe for that is asked before the transaction, never inside it.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from psycopg.errors import DeadlockDetected

from billing.gateway.client import (
    PATHS,
    Gateway,
    StripeNotFoundError,
    StripeUnavailableError,
    gateway,
)
from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import event_customer_id, list_data
from billing.mirror import account, store, versions
from billing.mirror.objects import Batch
from billing.models import PaymentReversal, acting_as
from billing.projection import accounts, balance, overrides, prices, purchases, settlement
from billing.projection.ledger import Posted
from billing.projection.purchases import Lines

_turn = threading.RLock()
ROUNDS = 5  # how often what is missing is asked for before we give up for now


class StillChangingError(StripeUnavailableError):
    """The objects changed faster than they could be read: worth another try later."""


@dataclass(slots=True)
class Needs:
    """What must be asked of Stripe before a batch can be written."""

    objects: set[tuple[str, str]] = field(default_factory=set)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    payments: set[str] = field(default_factory=set)
    unlinked: set[str] = field(default_factory=set)
    account: bool = False

    def __bool__(self) -> bool:
        return bool(self.objects or self.lines or self.payments or self.unlinked or self.account)


@dataclass(slots=True)
class Knowledge:
    """What was asked of Stripe for a batch so far."""

    account: StripeDict | None = None
    fetched: dict[str, Observation] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    lines: dict[str, Lines] = field(default_factory=dict)
    asked_payments: set[str] = field(default_factory=set)
    asked_invoices: set[str] = field(default_factory=set)
    invoice_payments: list[Observation] = field(default_factory=list)

    def set_lines_apart(self, item: Observation) -> Observation:
        """The session as its events show it, its lines noted: the mirror's row must not
        depend on whether they were asked for along with it."""
        if item.kind != "checkout.session" or "line_items" not in item.data:
            return item
        lines = item.data["line_items"]
        if isinstance(lines, dict) and not lines.get("has_more"):
            self.lines[item.id] = list_data(lines)
        bare = {key: value for key, value in item.data.items() if key != "line_items"}
        return replace(item, data=bare)


@dataclass(slots=True)
class Intake:
    """What came of a batch: what was written, what was too old, what moved credits.

    `changed` are the Stripe ids of customers, subscriptions and invoices whose rows in the
    billing tables differ now from before.
    """

    written: list[Observation] = field(default_factory=list)
    old: list[Observation] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)


class _MissingError(Exception):
    """Ends the transaction: something has to be asked of Stripe first."""

    def __init__(self, needs: Needs) -> None:
        super().__init__()
        self.needs = needs


def bring_in(
    observations: Sequence[Observation],
    *,
    actor: str,
    within: Callable[[Intake], None] | None = None,
    doubted: Iterable[str] = (),
) -> Intake:
    """Stores and projects these observations in one transaction, as `actor`.

    `within` runs at the end of the same transaction. `doubted` are ids of objects of
    which the observation given must not be trusted where it would be newer (another API
    version): they are fetched. Raises a GatewayError where Stripe does not tell what
    else is needed; nothing is written then.
    """
    knowledge = Knowledge()
    observations = [knowledge.set_lines_apart(item) for item in observations]
    for _ in range(ROUNDS):
        try:
            with one_at_a_time(), transaction.atomic(), acting_as(actor):
                intake = _write(observations, knowledge, set(doubted))
                if within is not None:
                    within(intake)
                return intake
        except _MissingError as missing:
            _ask(missing.needs, knowledge, gateway())
        except OperationalError as error:
            # PostgreSQL ended this one of several that waited for each other: the others go on.
            if not isinstance(error.__cause__, DeadlockDetected) or connection.in_atomic_block:
                raise
    raise StillChangingError("Stripe's objects kept changing while they were read.")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Within it, no other thread of this process writes Stripe's objects.

    Several would take turns at Python anyway, and each would hold the rows of its objects all the
    while, for which others wait. A transaction that goes on already holds rows itself: it does not
    wait here, since who is within may be waiting for these.
    """
    if connection.in_atomic_block:
        yield
        return
    with _turn:
        yield


def fetch(kind: str, object_id: str, *, stripe: Gateway | None = None) -> Observation:
    """One object with what its projection needs. Raises a GatewayError."""
    expand = {"checkout.session": ("line_items",)}
    return (stripe or gateway()).retrieve(kind, object_id, expand=expand.get(kind, ()))


def _write(observations: Sequence[Observation], knowledge: Knowledge, doubted: set[str]) -> Intake:
    """The whole way of a batch, inside the transaction. Raises _MissingError early."""
    items = [*observations, *knowledge.fetched.values(), *knowledge.invoice_payments]
    locked = versions.lock(items)
    verdict = versions.judge(items, locked.held)
    _accept_what_cannot_be_fetched(verdict, knowledge.absent)
    found = purchases.read(verdict.write, knowledge.lines)
    account_id = _own_account(knowledge)
    batch = store.prepare(verdict.write)
    needs = _needs(verdict, batch, found, knowledge, doubted)
    needs.account = bool(verdict.write) and account_id is None
    if needs:
        raise _MissingError(needs)
    if verdict.write:
        # The mirror needs no lock of a customer's; others may work on theirs meanwhile.
        store.write(batch, account_id=account_id, livemode=settings.STRIPE_LIVE_MODE)
        purchases.lock(found, {event_customer_id(item.data) for item in verdict.write} - {""})
        changed, sources, known = _project(verdict.write, found)
        versions.record(item for item in verdict.write if item.id not in locked.recorded)
    else:
        changed, sources, known = set(), set(), set()
    # What is old is settled too: a replay grants what could not be granted at first.
    posted = settlement.settle(sources | purchases.sources_of(verdict.old), known)
    # Last, since its audit event takes the lock on the log's chain, as all others do.
    if written := [item.id for item in verdict.write if item.kind == "subscription"]:
        overrides.end(written, overrides.STRIPE)
    return Intake(verdict.write, verdict.old, posted, changed)


def _project(
    items: Sequence[Observation], found: purchases.Found
) -> tuple[set[str], set[str], set[str]]:
    """Writes the billing tables; changed ids, sources to settle, customers now known."""
    projected = accounts.project(items)
    projected.changed |= balance.project(items)
    mapped = prices.seed(item.data for item in items if item.kind == "price")
    sources = purchases.store(found) | purchases.unpriced_with(mapped)
    return projected.changed, sources, projected.attributed


def _needs(
    verdict: versions.Verdict,
    batch: Batch,
    found: purchases.Found,
    knowledge: Knowledge,
    doubted: set[str],
) -> Needs:
    """What is still to be asked of Stripe before these observations can be written."""
    unsure = [
        item
        for item in verdict.write
        if item.id in doubted
        and item.fetched_at is None
        and not item.deleted
        and item.id not in knowledge.absent
    ]
    needs = Needs(objects={(item.kind, item.id) for item in (*verdict.doubtful, *unsure)})
    needs.objects |= {
        (kind, object_id)
        for kind, object_id in store.missing_parents(batch)
        if object_id not in knowledge.absent
    }
    # A refund that fails and a dispute change their charge, which no event then shows.
    needs.objects |= {
        ("charge", reversal.charge_id)
        for reversal in found.reversals
        if reversal.kind == PaymentReversal.Kind.DISPUTE or not reversal.active
        if reversal.charge_id not in {"", *knowledge.fetched, *knowledge.absent}
    }
    needs.objects |= {
        ("price", price_id)
        for price_id in prices.unknown(
            {line["price"] for bought in found.purchases for line in bought.lines}
            - {item.id for item in verdict.write}
        )
        if price_id not in knowledge.absent
    }
    needs.lines = purchases.lines_wanted(verdict.write, knowledge.lines)
    placed = {intent for intent, _ in found.payments}
    placed |= {purchase.payment_intent_id for purchase in found.purchases}
    placed |= knowledge.asked_payments
    needs.payments = purchases.unplaced_payments(found.reversals) - placed
    tried = purchases.tried_in_vain((*verdict.write, *verdict.old))
    needs.unlinked = purchases.without_payments(
        tried - {invoice for _, invoice in found.payments} - knowledge.asked_invoices
    )
    return needs


def _accept_what_cannot_be_fetched(verdict: versions.Verdict, absent: set[str]) -> None:
    """Doubts that Stripe cannot settle: an object that is gone, or a kind without a path.

    What is gone stays as we hold it; its deletion has an event of its own.
    """
    open_doubts = []
    for item in verdict.doubtful:
        if item.id in absent:
            verdict.old.append(item)
        elif item.kind not in PATHS:
            verdict.write.append(item)
        else:
            open_doubts.append(item)
    verdict.doubtful = open_doubts


def _own_account(knowledge: Knowledge) -> str | None:
    """The account that owns the rows, mirrored now if it was asked for just before."""
    if knowledge.account is not None:
        store.ensure_account(knowledge.account)
    return account.own_account_id()


def _ask(needs: Needs, knowledge: Knowledge, stripe: Gateway) -> None:
    """Asks Stripe for what is missing. Objects that it does not know are noted as absent."""
    if needs.account:
        knowledge.account = account.ask(stripe)
    for kind, object_id in sorted(needs.objects):
        try:
            item = fetch(kind, object_id, stripe=stripe)
            knowledge.fetched[object_id] = knowledge.set_lines_apart(item)
        except StripeNotFoundError:
            if object_id in knowledge.absent:
                raise
            knowledge.absent.add(object_id)
    knowledge.lines |= lines_of(needs.lines, stripe)
    for payment_intent in sorted(needs.payments):
        knowledge.asked_payments.add(payment_intent)
        payment = {"type": "payment_intent", "payment_intent": payment_intent}
        knowledge.invoice_payments += _invoice_payments({"payment": payment}, stripe)
    for invoice in sorted(needs.unlinked):
        knowledge.asked_invoices.add(invoice)
        try:
            knowledge.invoice_payments += _invoice_payments({"invoice": invoice}, stripe)
        except StripeNotFoundError:
            continue


def lines_of(wanted: Mapping[tuple[str, str], int], stripe: Gateway) -> dict[str, Lines]:
    """The lines of paid sessions and invoices, whole, by the object's id.

    `wanted` as `purchases.lines_wanted` gives it.
    """
    sessions = {i: created for (kind, i), created in wanted.items() if kind == "checkout.session"}
    found = _lines_of_many(sessions, stripe) if len(sessions) > 1 else {}
    for kind, object_id in sorted(wanted):
        if object_id in found:
            continue
        path = {
            "checkout.session": f"/v1/checkout/sessions/{object_id}/line_items",
            "invoice": f"/v1/invoices/{object_id}/lines",
        }[kind]
        found[object_id] = [line for page in stripe.pages(path) for line in page.data]
    return found


def _lines_of_many(sessions: Mapping[str, int], stripe: Gateway) -> dict[str, Lines]:
    """Lines of sessions made at about the same time, in one request instead of many.

    A page of the list between the first and the last of them; what is not on it, or has
    more lines than it shows, is left to be asked for by itself.
    """
    page = stripe.page(
        "/v1/checkout/sessions",
        {
            "created": {"gte": min(sessions.values()), "lte": max(sessions.values())},
            "expand": ["data.line_items"],
        },
    )
    found = {}
    for session in page.data:
        lines = session.get("line_items")
        if session["id"] in sessions and isinstance(lines, dict) and not lines.get("has_more"):
            found[str(session["id"])] = list_data(lines)
    return found


def _invoice_payments(params: Mapping[str, Any], stripe: Gateway) -> list[Observation]:
    """Which payment intents pay which invoices, of one of either."""
    return [
        item
        for page in stripe.pages("/v1/invoice_payments", params)
        for item in page.observations()
    ]

"""Everything that Stripe has, page by page, into the mirror and the billing tables.

Each page is one transaction of set-based statements; memory holds one page. The order
puts what is referred to before what refers to it.
"""

import gc
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from billing.gateway.client import Gateway, gateway
from billing.gateway.observation import Observation
from billing.projection.intake import Intake, bring_in

# Kind, path and parameters of each list, parents first. `subscriptions` leaves out the
# canceled ones unless asked for all (STRIPE.md, API limits).
LISTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("product", "/v1/products", {}),
    ("price", "/v1/prices", {}),
    ("customer", "/v1/customers", {}),
    ("subscription", "/v1/subscriptions", {"status": "all"}),
    # Before the invoices: of those that were tried in vain, their payments would be asked for.
    ("invoice_payment", "/v1/invoice_payments", {}),
    ("invoice", "/v1/invoices", {}),
    ("payment_intent", "/v1/payment_intents", {}),
    ("charge", "/v1/charges", {}),
    ("checkout.session", "/v1/checkout/sessions", {"expand": ["data.line_items"]}),
    ("refund", "/v1/refunds", {}),
    ("dispute", "/v1/disputes", {}),
    ("balance_transaction", "/v1/balance_transactions", {}),
)
# What is listed by customer. Their refunds and disputes are found by their charges.
OF_CUSTOMER = ("subscription", "invoice", "payment_intent", "charge", "checkout.session")

WRITERS = 2
PAGES_AT_ONCE = 5  # written together: fewer transactions for the same statements


@dataclass(slots=True)
class SyncReport:
    """Counts by kind: objects read, billing rows that differed; credits that moved."""

    read: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    credits: list[str] = field(default_factory=list)
    entries: int = 0
    api_calls: int = 0

    def add(self, kind: str, read: int, intake: Intake) -> None:
        self.read[kind] = self.read.get(kind, 0) + read
        self.changed[kind] = self.changed.get(kind, 0) + len(intake.changed)
        self.entries += len(intake.posted)
        room = 100 - len(self.credits)  # examples enough; the ledger has them all
        self.credits += [
            f"{p.entry.amount:+d} for user {p.entry.user_id} ({p.entry.source})"
            for p in intake.posted[: max(room, 0)]
        ]


def sync_everything(
    *,
    actor: str,
    kinds: Callable[[str], bool] = lambda kind: True,
    on_progress: Callable[[str, int], None] | None = None,
) -> SyncReport:
    """Brings in all objects of all kinds, whole lists or an error.

    Safe beside the webhooks: what changed here while a page was on its way stays.
    Raises a GatewayError where a list breaks off; what came before it is kept.
    """
    stripe = gateway()
    report = SyncReport()
    before = stripe.calls
    for kind, path, params in LISTS:
        if kinds(kind):
            _sync_list(kind, path, params, stripe, actor, report, on_progress)
    report.api_calls = stripe.calls - before
    return report


def _sync_list(
    kind: str,
    path: str,
    params: dict[str, Any],
    stripe: Gateway,
    actor: str,
    report: SyncReport,
    on_progress: Callable[[str, int], None] | None,
) -> None:
    chunks = _chunks(path, params, stripe)
    for read, intake in _written(chunks, actor):
        report.add(kind, read, intake)
        if on_progress:
            on_progress(kind, report.read[kind])


def _written(chunks: Iterator[list[Observation]], actor: str) -> Iterator[tuple[int, Intake]]:
    """Each chunk's size and what came of it, two chunks at a time.

    One is prepared here while the database works on the other. Inside a transaction of
    the caller's there is one connection only, so one chunk after the other.
    """
    if connection.in_atomic_block:
        for chunk in chunks:
            yield len(chunk), bring_in(chunk, actor=actor)
        return
    opened: set[BaseDatabaseWrapper] = set()

    def write(chunk: list[Observation]) -> Intake:
        own = connections[DEFAULT_DB_ALIAS]  # its thread keeps it for the next chunk
        if own not in opened:
            own.inc_thread_sharing()
            opened.add(own)
        return bring_in(chunk, actor=actor)

    try:
        with _without_collecting(), ThreadPoolExecutor(WRITERS) as pool:
            under_way: deque[tuple[int, Future[Intake]]] = deque()
            for chunk in chunks:
                under_way.append((len(chunk), pool.submit(write, chunk)))
                if len(under_way) > WRITERS:
                    size, coming = under_way.popleft()
                    yield size, coming.result()
            for size, coming in under_way:
                yield size, coming.result()
    finally:
        for used in opened:
            used.close()


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Pages are many small dictionaries without a cycle: Python's collector, woken by their
    number, would look through all that was loaded before them, again and again."""
    usual = gc.get_threshold()
    gc.set_threshold(50_000, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _chunks(path: str, params: dict[str, Any], stripe: Gateway) -> Iterator[list[Observation]]:
    """The list's objects, a few pages at a time."""
    chunk: list[Observation] = []
    for number, page in enumerate(stripe.pages(path, params), start=1):
        chunk += page.observations()
        if number % PAGES_AT_ONCE == 0:
            yield chunk
            chunk = []
    if chunk:
        yield chunk

"""The back office's books beside what they must be, by Stripe's objects and what only we know."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from backoffice.drill import books
from backoffice.drill.books import Books, Stripe
from backoffice.drill.model import Model
from backoffice.drill.sandbox import SandboxClient
from billing.ingress.handled import HANDLED

CREDITS = ("lead_credits", "credit_entries")


@dataclass
class Compared:
    """How the books differ from what they must be. Each line is for people, and names an id."""

    differences: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.lines()

    def lines(self) -> list[str]:
        named = (("lost", self.lost), ("doubled", self.doubled), ("differs", self.differences))
        return [f"{name}: {line}" for name, lines in named for line in lines]

    def add(self, table: str, mine: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> None:
        """The rows of one table: `mine`, and what they must be."""
        for key in sorted(mine.keys() | theirs.keys(), key=str):
            if key not in mine:
                self.lost.append(f"{table} {key}: {theirs[key]}")
            elif mine[key] != theirs.get(key):
                self.differences.append(
                    f"{table} {key}: {mine[key]}, and {theirs.get(key)} would be right"
                )


def compare(url: str, sandbox: SandboxClient, model: Model) -> Compared:
    """Every row of the billing tables and of the mirror, every balance, the ledger, the events,
    claims, notes and the audit log of the database at `url`."""
    compared = Compared()
    stripe = Stripe(sandbox, model, is_still=True)
    compare_books(compared, books.found(url) | books.mirrored(url), stripe, model)
    compared.differences += [
        f"lead_credits {user}: the ledger does not add up" for user in books.off_the_ledger(url)
    ]
    with psycopg.connect(url) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode()).fetchall()

        compare_events(compared, rows, sandbox)
        compare_ours(compared, rows, model)
    return compared


def compare_books(compared: Compared, mine: Books, stripe: Stripe, model: Model) -> None:
    """What follows from Stripe's objects. Entries that were forged stay where they are."""
    theirs = stripe.books() | stripe.mirrored()
    for forged in model.forged:
        mine["credit_entries"].pop(forged, None)
    for table, expected in theirs.items():
        only = expected.keys() - mine[table].keys()
        compared.lost += [f"{table} {key}: {expected.pop(key)}" for key in sorted(only)]
    compared.differences += books.differences(mine, theirs)
    for table in CREDITS:
        compared.doubled += doubled(table, mine[table], theirs[table])


def doubled(table: str, mine: dict[str, Any], theirs: dict[str, Any]) -> Iterable[str]:
    """Purchases that were granted more than they are worth, users who hold more than is theirs."""
    for key, held in mine.items():
        if held > theirs.get(key, 0):
            yield f"{table} {key}: {held} credits, and {theirs.get(key, 0)} would be right"


Rows = Callable[[str], list[tuple[Any, ...]]]


def compare_events(compared: Compared, rows: Rows, sandbox: SandboxClient) -> None:
    """Every event of a type that we handle is here, logged once, and had its effect."""
    status: dict[str, str] = dict(rows("SELECT stripe_event_id, status FROM billing_inbox"))
    logged = Counter(
        event
        for (event,) in rows(
            "SELECT stripe_event_id FROM billing_events WHERE stripe_event_id IS NOT NULL"
        )
    )
    made = sandbox.ask("SELECT id, type FROM objects WHERE kind = 'event' ORDER BY seq")
    for event, kind in made:
        if kind not in HANDLED:
            continue
        if event not in status or not logged[event]:
            compared.lost.append(f"billing_inbox {event}: {kind}")
        elif status[event] not in ("processed", "ignored"):
            compared.differences.append(f"billing_inbox {event}: {kind} is {status[event]}")
    compared.differences += [
        f"billing_events {event}: logged {count} times"
        for event, count in logged.items()
        if count > 1
    ]


def compare_ours(compared: Compared, rows: Rows, model: Model) -> None:
    """What only we know: claims, notes, operations and their audit events."""
    claims = {
        lead: (user, credits_, status == "failed")
        for lead, user, credits_, status in rows(
            "SELECT lead_id, user_id, credits_spent, status FROM lead_claims"
        )
    }
    wanted = {
        lead: (claim.user_id, claim.credits, claim.has_failed)
        for lead, claim in model.claims.items()
    }
    compared.add("lead_claims", claims, wanted)
    notes = Counter(rows("SELECT user_id, text FROM billing_notes"))
    compared.add("billing_notes", notes, Counter(model.notes))
    audited = Counter(
        key
        for (key,) in rows(
            "SELECT payload->>'operation' FROM billing_events WHERE type LIKE 'manual.%'"
        )
    )
    counted = {key: audited[key] for key in model.operations if audited[key]}
    compared.add("audit event of operation", counted, dict.fromkeys(model.operations, 1))

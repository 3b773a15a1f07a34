"""A year of a marketplace, with a back office that is told of it by webhooks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from backoffice.drill.books import Stripe, differences, found, off_the_ledger
from tests.durability.drill import ask
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.back_office import BackOffice, run_back_office
from tests.support.waiting import wait_until
from tests.year.comparing import finance_differences
from tests.year.marketplace import Marketplace

MONTHS = 12
SETTLING = 45  # days, in which banks answer, retries end and disputes are decided

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What a year came to."""

    events: int
    rows: int
    subscriptions: int
    invoices: int
    entries: int


def run_year(
    database_url: str,
    folder: Path,
    *,
    customers: int,
    seed: int = 1,
    patience: float = 600,
    say: Say = lambda text: None,
) -> Outcome:
    """The whole year on a migrated database. Raises AssertionError where a row is not right.

    `patience` is how many seconds the back office may take for what is left in the end.
    """
    with (
        run_sandbox(
            folder / "stripe.sqlite3",
            extra_args=["--retry-schedule", "1,5,5,5,10,10,30", "--payouts", "daily"],
        ) as sandbox,
        run_back_office(database_url, sandbox, folder / "logs") as back_office,
    ):
        back_office.start_worker()
        marketplace = Marketplace(sandbox, customers, seed)
        say(f"{customers} customers have come")
        for month in range(1, MONTHS + 1):
            marketplace.live()
            say(f"month {month} is over: {waiting(sandbox)} deliveries wait")
        sandbox.advance(days=SETTLING, patience=patience)
        events = sandbox.control("state", http="GET")["objects"]["event"]
        say(f"the year is over: {events} events, {waiting(sandbox)} deliveries wait")
        wait_until(lambda: waiting(sandbox) == 0, seconds=patience, pause=0.5)
        say("everything is delivered")
        wait_until(lambda: open_events(database_url) == 0, seconds=patience, pause=0.5)
        say("everything is processed")
        check_health(database_url, sandbox, back_office)
        ours, stripes = found(database_url), Stripe(sandbox).books()
        # Webhooks tell which payment paid an invoice, and not of all that were tried in vain.
        for books in (ours, stripes):
            del books["billing_invoice_payments"]
        differing = differences(ours, stripes)
        assert not differing, "\n".join([f"{len(differing)} rows differ:", *differing[:20]])
        assert not off_the_ledger(database_url)
        wrong = finance_differences(back_office, sandbox)
        assert not wrong, "\n".join([f"{len(wrong)} figures of finance differ:", *wrong[:20]])
        say("finance's figures are those of the sandbox")
        sizes = {table: len(rows) for table, rows in stripes.items()}
        return Outcome(
            events,
            sum(sizes.values()),
            sizes["billing_subscriptions"],
            sizes["billing_invoices"],
            sizes["credit_entries"],
        )


def waiting(sandbox: SandboxProcess) -> int:
    """How many deliveries are still to be made."""
    return int(ask(sandbox, "SELECT count(*) FROM outbox WHERE state = 'pending'")[0])


def open_events(url: str) -> int:
    """How many events the back office has still to process."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM billing_inbox WHERE status IN ('pending', 'failed')"
        ).fetchone()
    assert row is not None
    return int(row[0])


def check_health(url: str, sandbox: SandboxProcess, back_office: BackOffice) -> None:
    """No delivery was given up, no event is dead, and nothing ended by itself."""
    outbox = sandbox.control("state", http="GET")["outbox"]
    assert set(outbox) == {"succeeded"}, outbox
    with psycopg.connect(url) as connection:
        dead = connection.execute(
            "SELECT type, reason FROM billing_inbox WHERE status NOT IN ('processed', 'ignored')"
        ).fetchall()
    assert not dead, dead[:5]
    for child in (back_office.web, *back_office.workers):
        assert child.is_alive, child.output

"""`python -m tests.bench.reconcile`: what a reconciliation of a large world costs.

A sandbox and a database with the same world, in which some rows are changed. At the full size it
has 100,000 customers with a subscription each, and just under 300,000 invoices; it has no packs,
and events of three days, and nothing happens in it by itself. Then a daily and a full run, each in
a process of its own: seconds, requests to Stripe by path, memory, and whether each changed row was
found, and nothing else. Example:

    python -m tests.bench.reconcile --customers 3000 --differences 50 --json
"""

import argparse
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import django

from backoffice.sandbox.world import build_world
from backoffice.sandbox.world.settings import Shape
from tests.bench.__main__ import database_server

FULL = 100_000  # customers
SHAPE = Shape(months=5.75, most_months=14, all_subscribe=True, event_days=3)
SEED = 2
DAYS = 2  # of a daily run's window
MOST_CALLS = 4_000  # for 100,000 customers and subscriptions, and 300,000 invoices
MOST_MEGABYTES = 250
ASKED_FOR = ("subscriptions", "customers", "invoices")
ACTOR = "benchmark"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark; exit code 0 whatever the figures: they depend on the machine."""
    options = parsed(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with database_server() as address:
        report = measure(address, options.customers, options.differences)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(report)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.reconcile", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--customers", type=int, default=FULL, help="in the sandbox's world")
    parser.add_argument("--differences", type=int, default=200, help="rows that are changed")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args(arguments)


def measure(address: str, customers: int, changed: int) -> dict[str, Any]:
    """A world, its books, the changes, and both runs."""
    from tests.bench.lab import Lab
    from tests.bench.rounds import progress
    from tests.sandbox.server import run_sandbox
    from tests.support.databases import Databases

    databases = Databases(address)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        progress(f"a world of {customers:,} customers")
        build(folder / "world.sqlite3", customers)
        with run_sandbox(folder / "world.sqlite3") as sandbox:
            lab = Lab(sandbox, databases, folder)
            with lab.fresh_database() as database:
                progress("its books")
                lab.run("reconcile", "fill", database)
                report = {
                    "customers": customers,
                    "changed": lab.run("reconcile", "change", database, rows=changed),
                }
                for kind in ("daily", "full"):
                    progress(f"a {kind} run")
                    report[kind] = lab.run("reconcile", "run", database, kind=kind, days=DAYS)
    databases.close()
    return report


def build(file: Path, customers: int) -> None:
    """A world that stands still: what differs later is what was changed here."""
    build_world(
        file, customers, SEED, now=int(time.time()), base_url="http://127.0.0.1", shape=SHAPE
    )
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE objects SET due = NULL WHERE due IS NOT NULL")


def fill() -> None:
    """Brings everything in, and takes note of all events that Stripe still lists as received."""
    from billing.gateway.client import gateway
    from billing.ingress import inbox
    from billing.models import InboxEvent
    from billing.projection.bulk import sync_everything

    sync_everything(actor=ACTOR)
    for page in gateway().pages("/v1/events"):
        events = [inbox.from_event(event, text="") for event in page.data]
        InboxEvent.objects.bulk_create(
            InboxEvent(
                stripe_event_id=event.stripe_event_id,
                type=event.type,
                object_id=event.object_id,
                customer_id=event.customer_id,
                stripe_created_at=event.created_at,
                status=InboxEvent.Status.IGNORED,
            )
            for event in events
        )


def change(rows: int) -> int:
    """Lets the status of so many subscriptions and invoices be another than at Stripe."""
    from django.db import connection, transaction

    from billing.models import acting_as

    with transaction.atomic(), acting_as(ACTOR), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_subscriptions SET status = 'incomplete' WHERE id IN"
            " (SELECT id FROM billing_subscriptions WHERE status IN ('active', 'canceled')"
            "  ORDER BY md5(stripe_subscription_id) LIMIT %s)",
            [rows],
        )
        return int(cursor.rowcount)


def run(kind: str, days: int) -> dict[str, Any]:
    """One run, and what it found."""
    from billing.diagnosis.kinds import Kind
    from billing.reconciliation import runs
    from tests.bench.measure import measured, requests_by_path

    # The world's own oddities, such as charges that failed, are no differences of ours.
    ours = {Kind.STATUS_DIFFERS, Kind.PAID_NOT_ACTIVE, Kind.ACTIVE_ONLY_AT_STRIPE}
    before = requests_by_path()
    since = datetime.now(UTC) - timedelta(days=days) if kind == "daily" else None
    with measured() as work:
        done = runs.reconcile(kind, actor=ACTOR, since=since, grace=timedelta(seconds=-2))
    objects = {name: held["stripe"] for name, held in done.counts.items()}
    return {
        **asdict(work),
        "objects": objects,
        "requests": dict(requests_by_path() - before),
        "found": sum(count for name, count in done.differences.items() if name in ours),
        "differences": done.differences,
        "megabytes": round(work.peak_memory / 1e6),
    }


def asked_for(requests: dict[str, int]) -> int:
    """The requests for what the most is said of, by list and by id."""
    return sum(count for path, count in requests.items() if path.split("/")[2] in ASKED_FOR)


def show(report: dict[str, Any]) -> None:
    """Prints the figures as a table, beside what they are meant to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Reconciliation, {report['changed']} rows changed")
    for heading in ("what", "daily", "full", "to reach"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    daily, full = report["daily"], report["full"]
    for name in full["objects"]:
        table.add_row(
            f"{name}s compared",
            f"{daily['objects'].get(name, 0):,}",
            f"{full['objects'].get(name, 0):,}",
        )
    for path in sorted(daily["requests"] | full["requests"]):
        table.add_row(path, *(f"{side['requests'].get(path, 0):,}" for side in (daily, full)))
    table.add_row(
        "subscriptions, customers, invoices",
        *(f"{asked_for(side['requests']):,}" for side in (daily, full)),
        f"{MOST_CALLS:,} and one a difference",
    )
    table.add_row("requests in all", f"{daily['api_calls']:,}", f"{full['api_calls']:,}")
    differences = [sum(side["differences"].values()) for side in (daily, full)]
    table.add_row("differences in all", *(f"{count:,}" for count in differences))
    table.add_row(
        "changed rows found", *(f"{s['found']:,}" for s in (daily, full)), str(report["changed"])
    )
    table.add_row("seconds", f"{daily['seconds']:.0f}", f"{full['seconds']:.0f}")
    megabytes = [str(side["megabytes"]) for side in (daily, full)]
    table.add_row("megabytes at most", *megabytes, f"under {MOST_MEGABYTES}")
    table.add_row("SQL statements", f"{daily['statements']:,}", f"{full['statements']:,}")
    Console().print(table)


if __name__ == "__main__":
    main()

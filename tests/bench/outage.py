"""`python -m tests.bench.outage`: what it costs to recover an outage of a day, with kill -9.

A sandbox and a database with the same world. Then a day passes at Stripe in which people buy,
subscribe, renew and are refunded, and no webhook comes. At last it is recovered: killed so many
times at random moments, and to its end. Requests to Stripe by path beside what paging needs,
seconds, memory, and whether anything was lost or doubled. Example:

    python -m tests.bench.outage --customers 500 --events 2000 --kills 3 --json
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import django

from backoffice.postgres import BASE_DIR
from tests.bench.__main__ import database_server

FULL, CUSTOMERS = 20_000, 2_000
KILLS = 5
SEED = 3
HOURS = 24
LONGEST = 20.0  # seconds after which a kill comes at the latest
MOST_MEGABYTES = 250
NAMED = {"customer", "subscription", "invoice", "payment_intent", "charge"}  # what is listed of one


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark; exit code 1 where anything was lost or doubled."""
    options = parsed(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with database_server() as address:
        report = measure(address, options)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(report)
    sys.exit(0 if report["is_whole"] else 1)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.outage", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--customers", type=int, default=CUSTOMERS, help="before the outage")
    parser.add_argument("--events", type=int, default=FULL, help="that are missed, at least")
    parser.add_argument("--kills", type=int, default=KILLS, help="SIGKILLs at random moments")
    parser.add_argument("--seed", type=int, default=SEED, help="of who does what, and of the kills")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args(arguments)


def measure(address: str, options: argparse.Namespace) -> dict[str, Any]:
    """A world, its books, a day without webhooks, and the recovery."""
    from tests.bench.lab import Lab
    from tests.bench.rounds import progress
    from tests.sandbox.server import run_sandbox
    from tests.support.databases import Databases

    databases = Databases(address)
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        progress(f"a world of {options.customers:,} customers, a day ago")
        build(folder / "world.sqlite3", options.customers)
        with run_sandbox(folder / "world.sqlite3") as sandbox:
            lab = Lab(sandbox, databases, folder)
            with lab.fresh_database() as database:
                progress("its books")
                lab.run("reconcile", "fill", database)
                progress(f"a day without webhooks, of {options.events:,} events")
                at_stripe = sandbox.control("clock", http="GET")["now"]
                since = datetime.fromtimestamp(at_stripe, UTC)
                live(sandbox, options.events, dice)
                before = requests_since(sandbox, 0)[-1]["seq"]
                sandbox.control("counters/reset")
                progress(f"the recovery, killed {options.kills} times")
                begun = time.perf_counter()
                stages = kill(lab, database, since, options.kills, dice)
                report = lab.run("outage", "recover", database, since=since.isoformat())
                report["seconds_in_all"] = round(time.perf_counter() - begun, 1)
                report["requests"] = sandbox.control("counters", http="GET")["routes"]
                report["fetched"] = fetched(requests_since(sandbox, before))
                report["killed_in"] = stages
    databases.close()
    return report


def requests_since(sandbox: Any, number: int) -> list[dict[str, Any]]:
    """What the sandbox was asked after its request of that number."""
    found: list[dict[str, Any]] = sandbox.control(f"requests?since={number}", http="GET")[
        "requests"
    ]
    return found


def fetched(requests: list[dict[str, Any]]) -> dict[str, int]:
    """Requests for one object, or for what hangs on one, and how many of them were for the same
    again. What a kill cut off is asked for once more."""
    asked = Counter[tuple[Any, ...]]()
    for request in requests:
        whose = sorted(pair for pair in parse_qsl(request["query"]) if pair[0] in NAMED)
        if request["status"] == 200 and (whose or "{" in request["route"]):
            asked[request["path"], *whose] += 1
    return {"objects": len(asked), "again": asked.total() - len(asked)}


def build(file: Path, customers: int) -> None:
    """A world that ends a day ago, on whose clock it is a day ago."""
    from backoffice.sandbox.world import build_world
    from tests.bench.reconcile import SHAPE
    from tests.reconciliation.world import stand_still

    now = int(time.time()) - HOURS * 3600
    build_world(file, customers, SEED, now=now, base_url="http://127.0.0.1", shape=SHAPE)
    stand_still(file, now)


def live(sandbox: Any, events: int, dice: random.Random) -> None:
    """A day of life that makes so many events, spread over its hours."""
    made = 0
    for hour in range(1, HOURS + 1):
        while made < events * hour / HOURS:
            made += happen(sandbox, dice)
        sandbox.advance(hours=1 if hour < HOURS else 0)


def happen(sandbox: Any, dice: random.Random) -> int:
    """Somebody does something; how many events it makes."""
    number = dice.randrange(10**9)
    user = {"user_id": f"u_{number}", "email": f"user{number}@example.com"}
    story = dice.choices(("buy_pack", "subscribe", "renew", "refund"), (6, 3, 2, 1))[0]
    if story in ("buy_pack", "subscribe"):
        return len(sandbox.story(story, **user)["events"])
    if story == "renew":
        told = sandbox.story("subscribe", **user)
        again = sandbox.story("renew", subscription=told["subscription"])
    else:
        told = sandbox.story("buy_pack", **user)
        again = sandbox.story("refund", charge=told["charge"])
    return len(told["events"]) + len(again["events"])


def kill(lab: Any, database: Any, since: datetime, kills: int, dice: random.Random) -> list[str]:
    """Starts the recovery and kills it, so many times; at what it was each time."""
    stages = []
    for _ in range(kills):
        killed = subprocess.Popen(
            [sys.executable, "manage.py", "recover_outage", "--since", since.isoformat()],
            cwd=BASE_DIR,
            env=lab.environment("ours", database),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            killed.wait(timeout=dice.uniform(2, LONGEST))
        except subprocess.TimeoutExpired:
            killed.kill()
            killed.wait()
        stages.append(lab.run("outage", "stage", database))
    return stages


def stage() -> str:
    """What the recovery is at; waits until PostgreSQL has noticed that nobody works on it."""
    from billing.models import Recovery
    from billing.recovery import outage

    while True:
        try:
            with outage.alone():
                row = Recovery.objects.first()
                return f"{row.status}, {row.stage}".rstrip(", ") if row else "not begun"
        except outage.AlreadyRunningError:
            time.sleep(0.1)


def recover(since: str) -> dict[str, Any]:
    """The recovery to its end, and what came of it."""
    from billing.models import CreditEntry, InboxEvent, MissedEvent, Purchase, Recovery
    from billing.recovery import outage
    from tests.bench.measure import measured

    with measured() as work:
        row = outage.recover("outage", since=datetime.fromisoformat(since), actor="cli:benchmark")
    work.items = row.events.count()
    sources = Counter(
        CreditEntry.objects.filter(kind="grant").exclude(source=None)
        .values_list("source", flat=True)
    )  # fmt: skip
    lost = MissedEvent.objects.exclude(status="done").count()
    lost += InboxEvent.objects.exclude(status__in=("processed", "ignored")).count()
    doubled = sum(count - 1 for count in sources.values())
    left = row.report["left"]["count"]
    return {
        **asdict(work),
        "recoveries": Recovery.objects.count(),
        "listed": row.counts["listed"],
        "missed": row.report["missed"],
        "missed_as": row.report["missed_as"],
        "failed": row.report["failed"]["count"],
        "calls": row.counts["calls"],
        "paging": -(-row.counts["listed"] // 100),
        "purchases": Purchase.objects.filter(status="granted").count(),
        "differed": row.report["differed"],
        "left": left,
        "left_as": dict(Counter(each["kind"] for each in row.report["left"]["findings"])),
        "compared": {
            kind: {n: c[n] for n in ("stripe", "missing", "only_here", "differs")}
            for kind, c in row.run.counts.items()
        },
        "lost": lost,
        "doubled": doubled,
        "is_whole": not (lost or doubled or left or row.report["failed"]["count"]),
        "seconds_worked": round(row.seconds, 1),
        "megabytes": round(work.peak_memory / 1e6),
    }


def show(report: dict[str, Any]) -> None:
    """Prints the figures as a table, beside what they are meant to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"An outage of a day: {report['missed']:,} events missed")
    for heading in ("what", "", "to reach"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, count in report["calls"].items():
        reach = f"{report['paging']:,}" if name == "listing" else ""
        table.add_row(f"requests, {name}", f"{count:,}", reach)
    for path, count in sorted(report["requests"].items()):
        table.add_row(path, f"{count:,}", "")
    table.add_row("objects fetched", f"{report['fetched']['objects']:,}", "")
    table.add_row("fetched again", f"{report['fetched']['again']:,}", "0, unless killed")
    for name in ("failed", "lost", "doubled", "left"):
        table.add_row(name, f"{report[name]:,}", "0")
    table.add_row("killed in", "\n".join(report["killed_in"]), "")
    table.add_row("recoveries", str(report["recoveries"]), "1")
    table.add_row("seconds, worked on", f"{report['seconds_worked']:.0f}", "")
    table.add_row("seconds, in all", f"{report['seconds_in_all']:.0f}", "")
    table.add_row("megabytes at most", str(report["megabytes"]), f"under {MOST_MEGABYTES}")
    table.add_row("SQL statements of the last process", f"{report['statements']:,}", "")
    Console().print(table)


if __name__ == "__main__":
    main()

"""What is measured, round by round, and what comes out of the rounds."""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from tests.bench.lab import SIDES, Lab
from tests.bench.lists import listed
from tests.bench.load import Deliveries, Source, deliver
from tests.sandbox.server import run_sandbox
from tests.support.databases import Database, Databases
from tests.support.environment import WEBHOOK_SECRET
from tests.support.events import events_of

KINDS = ("customer", "subscription", "invoice")
SLOW = 1.0  # seconds by which every answer of Stripe's is late in the slow rounds
MEGABYTE = 1024 * 1024

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `large` is the number of customers of the world for the memory."""

    customers: int
    rounds: int
    seconds: float
    events: int
    their_events: int
    their_objects: int
    large: int = 0


def measure(address: str, sizes: Sizes) -> Figures:
    """Everything, on the database server at `address`; figures by what is measured and side."""
    with ExitStack() as stack:
        databases = Databases(address)
        stack.callback(databases.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        sandbox = stack.enter_context(
            run_sandbox(folder / "world.sqlite3", customers=sizes.customers, seed=1)
        )
        lab = Lab(sandbox, databases, folder)
        events = [orjson.dumps(event) for event in events_of(sandbox)]
        progress(f"{sizes.customers} customers, {len(events)} events of the last 30 days")
        report: Figures = {
            "sizes": asdict(sizes),
            "world": {"customers": sizes.customers, "events": len(events)},
            "lists": median([listed(sandbox, sizes.seconds) for _ in range(sizes.rounds)]),
            "acknowledge": acknowledge(lab, events, sizes),
            "process": process(lab, events, sizes),
            "sync": sync(lab, sizes),
        }
        if sizes.large:
            report["large"] = large(databases, folder, sizes.large)
    return report


def acknowledge(lab: Lab, events: Sequence[bytes], sizes: Sizes) -> Figures:
    """Deliveries that each side takes through gunicorn, Stripe being quick or slow.

    dj-stripe processes in its webhook; ours is also measured while its worker processes.
    """
    mixed = random.Random(1).sample(events, len(events))
    with ExitStack() as stack:
        webhooks: dict[str, tuple[str, Source]] = {}
        kept: dict[str, Database] = {}
        for side in SIDES:
            kept[side] = stack.enter_context(lab.fresh_database())
            path = lab.run(side, "register_webhook", kept[side], secret=WEBHOOK_SECRET)["path"]
            url = stack.enter_context(lab.web_server(side, kept[side])) + path
            webhooks[side] = url, Source(unique(mixed))

        def delivered(side: str) -> Figures:
            url, source = webhooks[side]
            return told(deliver(url, WEBHOOK_SECRET, source, sizes.seconds))

        for side in SIDES:
            delivered(side)  # its processes start with this
        report: Figures = {}
        for name, late in (("quick", 0.0), ("slow", SLOW)):
            progress(f"deliveries, Stripe being {name}")
            with lab.slow_stripe(late) if late else nullcontext():
                report[name] = in_turns(sizes.rounds, delivered)
                with lab.worker(kept["ours"]):
                    report[f"{name}_working"] = in_turns(sizes.rounds, delivered, ("ours",))
    return report


def process(lab: Lab, events: Sequence[bytes], sizes: Sizes) -> Figures:
    """The world's events in order, and what each of them takes."""
    most = {"ours": sizes.events, "djstripes": sizes.their_events}

    def processed(side: str) -> Figures:
        progress(f"{side}: {min(most[side], len(events))} events")
        file = lab.folder / f"{side}.jsonl"
        file.write_bytes(b"\n".join(events[: most[side]]))
        with lab.fresh_database() as database:
            return rates(lab.run(side, "process", database, events=str(file)))

    return in_turns(sizes.rounds, processed)


def sync(lab: Lab, sizes: Sizes) -> Figures:
    """Objects brought in from Stripe's lists, by kind; of dj-stripe's the first ones only."""
    limits = {"ours": {}, "djstripes": {"most": sizes.their_objects}}

    def synced(side: str) -> Figures:
        progress(f"{side}: sync of {', '.join(KINDS)}")
        with lab.fresh_database() as database:
            work = lab.run(side, "sync", database, kinds=KINDS, **limits[side])
        return {kind: rates(work[kind]) for kind in KINDS}

    return in_turns(sizes.rounds, synced)


def large(databases: Databases, folder: Path, customers: int) -> Figures:
    """A large world: how long it takes to make, and our sync of its customers and subscriptions."""
    progress(f"a world of {customers} customers")
    started = time.perf_counter()
    with run_sandbox(folder / "large.sqlite3", customers=customers, seed=2) as sandbox:
        made = {"customers": customers, "seconds": time.perf_counter() - started}
        lab = Lab(sandbox, databases, folder)
        progress("ours: sync of all of them")
        with lab.fresh_database() as database:
            work = lab.run("ours", "sync", database, kinds=KINDS[:2])
    return {"made": made, **{kind: rates(figures) for kind, figures in work.items()}}


def in_turns(
    rounds: int, run: Callable[[str], Figures], sides: Sequence[str] = SIDES
) -> dict[str, Figures]:
    """The medians of each side's figures over some rounds, in which the sides alternate."""
    results: dict[str, list[Figures]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            results[side].append(run(side))
    return {side: median(figures) for side, figures in results.items()}


def median(rounds: Sequence[Any]) -> Any:
    """The median of numbers; of dictionaries, that of each value."""
    if isinstance(rounds[0], dict):
        return {name: median([figures[name] for figures in rounds]) for name in rounds[0]}
    return statistics.median(rounds)


def told(result: Deliveries) -> Figures:
    """A round of deliveries."""
    return {
        "rate": result.rate,
        "median_seconds": result.latency(0.5),
        "p95_seconds": result.latency(0.95),
        "refused": len(result.refused),
    }


def rates(work: Figures) -> Figures:
    """What was counted, by item."""
    items = work["items"] or 1
    return {
        "items": work["items"],
        "failures": work["failures"],
        "rate": work["items"] / work["seconds"],
        "statements": work["statements"] / items,
        "api_calls": work["api_calls"] / items,
        "peak_megabytes": work["peak_memory"] / MEGABYTE,
    }


def unique(events: Sequence[bytes]) -> Iterator[bytes]:
    """The events again and again, each time with ids of their own."""
    parsed = [orjson.loads(event) for event in events]
    for number in count():
        for event in parsed:
            yield orjson.dumps({**event, "id": f"{event['id']}x{number}"})


def progress(what: str) -> None:
    """Says on stderr what is being measured."""
    sys.stderr.write(f"{what} ...\n")

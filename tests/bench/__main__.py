"""`python -m tests.bench`: ours beside dj-stripe's own path, on the same data in one run.

Every figure is the median of some rounds, in which both sides take turns. Times differ from
machine to machine and with whatever else it does: compare the ratios. Example:

    python -m tests.bench --customers 3000 --rounds 5 --json
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import django

FULL = 115_000  # customers, of whom 100,000 have a subscription


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark; exit code 0 whatever the figures: they depend on the machine."""
    options = parsed(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.bench.report import show
    from tests.bench.rounds import Sizes, measure

    sizes = Sizes(
        customers=options.customers,
        rounds=options.rounds,
        seconds=options.seconds,
        events=options.events,
        their_events=options.their_events,
        their_objects=options.their_objects,
        large=FULL if options.full else 0,
    )
    with database_server() as address:
        report = measure(address, sizes)
    if options.json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(report)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--customers", type=int, default=2000, help="in the sandbox's world")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--seconds", type=float, default=4.0, help="of deliveries in a round")
    parser.add_argument("--events", type=int, default=4000, help="to process in a round")
    parser.add_argument("--their-events", type=int, default=250, help="the same for dj-stripe")
    parser.add_argument(
        "--their-objects", type=int, default=300, help="of each kind for dj-stripe's sync"
    )
    parser.add_argument(
        "--full", action="store_true", help="also sync 100,000 subscriptions; takes minutes more"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser.parse_args(arguments)


@contextmanager
def database_server() -> Iterator[str]:
    """DATABASE_URL's server, or else an embedded one that is as durable as in production."""
    if address := os.environ.get("DATABASE_URL"):
        yield address
        return
    from backoffice.postgres import LOCAL_DIR, EmbeddedServer

    server = EmbeddedServer(LOCAL_DIR / "bench")
    server.ensure_running()
    try:
        yield server.url()
    finally:
        server.stop()


if __name__ == "__main__":
    main()

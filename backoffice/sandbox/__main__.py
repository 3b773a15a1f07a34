"""`python -m backoffice.sandbox --port P --data FILE [--customers N --seed S]`."""

import argparse
import asyncio
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from backoffice.sandbox.app import Sandbox, by_mode, create_app
from backoffice.sandbox.connections import Protocol
from backoffice.sandbox.control import control_routes
from backoffice.sandbox.delivery import RETRY_SCHEDULES, Delivery, Terms
from backoffice.sandbox.lifecycle import settings
from backoffice.sandbox.pages import page_routes
from backoffice.sandbox.store import Store
from backoffice.sandbox.world import build_world

HOST = "127.0.0.1"
RETRY_SCHEDULE = "5,30,120"


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        prog="python -m backoffice.sandbox",
        description="A stateful stand-in for Stripe's API, on loopback only.",
    )
    parser.add_argument("--port", type=_port, required=True, help="0 picks a free one")
    parser.add_argument("--data", type=Path, required=True, help="its SQLite file")
    parser.add_argument(
        "--unix-socket",
        type=Path,
        help="listens on it, too: Stripe's CLI uses what STRIPE_CLI_UNIX_SOCKET names",
    )
    parser.add_argument(
        "--customers", type=_count, default=0, help="make a world with so many, in a new file"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same world")
    parser.add_argument(
        "--now", type=_count, default=None, help="when the world ends (epoch seconds; the present)"
    )
    parser.add_argument(
        "--retry-schedule",
        type=_schedule,
        default=_schedule(RETRY_SCHEDULE),
        metavar="SECONDS,...",
        help="pauses before a delivery is tried again, or Stripe's own: live (over 3 days),"
        f" test (3 times over 4 hours) ({RETRY_SCHEDULE})",
    )
    parser.add_argument(
        "--delivery-timeout", type=float, default=10.0, help="seconds a webhook may take"
    )
    parser.add_argument(
        "--payouts",
        choices=settings.CHOICES["payouts"],
        help="when the balance is paid out; otherwise as it was, manual at first",
    )
    parser.add_argument(
        "--rate-limits", action="store_true", help="answer 429 above Stripe's own rates"
    )
    return parser.parse_args(argv)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return port


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _schedule(text: str) -> Sequence[float]:
    if text in RETRY_SCHEDULES:
        return RETRY_SCHEDULES[text]
    try:
        seconds = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no list of seconds") from None
    if any(pause < 0 for pause in seconds):
        raise argparse.ArgumentTypeError("a pause must not be negative")
    return seconds


class Server(uvicorn.Server):
    """Says when it is ready, and stops cleanly on SIGTERM and SIGINT."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends `serve` on a signal, so that the process exits with 0."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.handle_exit, name, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then prints the address."""
        await super().startup(sockets)
        if self.started and sockets:
            print(f"listening on http://{HOST}:{sockets[0].getsockname()[1]}", flush=True)  # noqa: T201


def _listeners(port: int, unix_socket: Path | None) -> list[socket.socket]:
    """The sockets to listen on, the one on loopback first; an OSError names what is not free."""
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named.
    loopback = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    loopback.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    wanted: list[tuple[socket.socket, tuple[str, int] | str, str]] = [
        (loopback, (HOST, port), f"port {port}")
    ]
    if unix_socket:
        if unix_socket.is_socket():  # of a sandbox that was killed
            unix_socket.unlink()
        local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        wanted.append((local, str(unix_socket), str(unix_socket)))
    for listener, address, name in wanted:
        try:
            listener.bind(address)
        except OSError as error:
            raise OSError(f"{name}: {error}") from error
    return [listener for listener, _, _ in wanted]


def main(argv: list[str] | None = None) -> int:
    """Runs the sandbox until it is told to stop; returns the exit code."""
    options = arguments(argv)
    try:
        listeners = _listeners(options.port, options.unix_socket)
    except OSError as error:
        print(f"cannot listen on {error}", file=sys.stderr)  # noqa: T201
        return 1
    base_url = f"http://{HOST}:{listeners[0].getsockname()[1]}"
    if options.customers and not options.data.exists():
        base = options.now or int(time.time())
        build_world(
            options.data,
            options.customers,
            options.seed,
            now=base,
            base_url=base_url,
            payouts=options.payouts == "daily",
        )
    try:
        store = Store(options.data)
        live_store = Store(options.data.with_name(f"{options.data.name}.live"), livemode=True)
    except sqlite3.DatabaseError as error:
        print(f"cannot use {options.data}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    sandbox, live = Sandbox(store, base_url), Sandbox(live_store, base_url)
    sandbox.other, live.other = live, sandbox
    for mode in (sandbox, live):
        mode.limits.switch(on=options.rate_limits)
        if options.payouts:
            mode.change_settings({"payouts": options.payouts})
    terms = Terms(options.retry_schedule, options.delivery_timeout)
    delivery = Delivery(store, sandbox.faults, terms)
    live_delivery = Delivery(live_store, live.faults, terms)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        running = (delivery, live_delivery, sandbox.clockwork, live.clockwork)
        tasks = [asyncio.create_task(one.run()) for one in running]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    control = by_mode(control_routes(sandbox, delivery), control_routes(live, live_delivery))
    app = create_app(sandbox, [*control, *page_routes(sandbox, delivery)], lifespan)
    config = uvicorn.Config(
        app,
        http=Protocol,
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    Server(config).run(sockets=listeners)
    store.close()
    live_store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

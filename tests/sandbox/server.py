"""A running sandbox for tests: its own process, driven over loopback."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import stripe

API_KEY = "sk_test_" + "sandbox0" * 4
ROOT = Path(__file__).resolve().parents[2]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["backoffice.sandbox.__main__", "tests.sandbox.server"])


@dataclass
class SandboxProcess:
    """A sandbox that listens on `url`; `data` is its file."""

    process: BaseProcess
    url: str
    data: Path
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=120, trust_env=False, verify=False)  # noqa: S501
    )

    @property
    def stripe(self) -> stripe.StripeClient:
        """A client of the official package for this sandbox; it does not retry."""
        return stripe.StripeClient(API_KEY, base_addresses={"api": self.url}, max_network_retries=0)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """`GET path` of Stripe's API with a valid key."""
        return self.request("GET", path, params=params or None)

    def post(self, path: str, data: Any = None, **options: Any) -> httpx.Response:
        """`POST path` of Stripe's API with a valid key and a form body."""
        return self.request("POST", path, data=data, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request of Stripe's API, authorised unless `auth` or a header says otherwise."""
        headers = {"Authorization": f"Bearer {API_KEY}"} | options.pop("headers", {})
        return self.http.request(method, self.url + path, headers=headers, **options)

    def control(self, path: str, /, http: str = "POST", **body: Any) -> Any:
        """The sandbox's own API: `control("faults", path=..., status=500)`; fails on errors."""
        response = self.http.request(
            http, f"{self.url}/_sandbox/{path}", json=body if http == "POST" else None
        )
        if response.is_error:
            raise AssertionError(f"/_sandbox/{path}: {response.status_code} {response.text}")
        return response.json()

    def story(self, name: str, **params: Any) -> Any:
        """Tells a story; a parameter called `async` is given as `async_`."""
        return self.control(
            f"stories/{name}", **{key.rstrip("_"): value for key, value in params.items()}
        )

    def advance(self, *, patience: float = 120, **span: float) -> None:
        """Lets a span of time (`days=3, hours=1`) pass there, and waits for what then happens.

        Fails if that takes longer than `patience`, in real seconds.
        """
        self.control("clock", advance_seconds=int(timedelta(**span).total_seconds()))
        deadline, pause = time.monotonic() + patience, 0.01
        while not self.control("clock", http="GET")["ready"]:
            if time.monotonic() > deadline:
                raise AssertionError(f"the time did not pass within {patience} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL, as in a crash."""
        return self._end(signal.SIGKILL)

    def _end(self, by: signal.Signals) -> int:
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, by)
        self.process.join(timeout=20)
        self.http.close()
        if self.process.exitcode is None:
            raise AssertionError(f"the sandbox did not end within 20 s of {by.name}")
        return self.process.exitcode


def serve(argv: list[str], said: Connection) -> None:
    """The sandbox's own program, in a child process; what it prints goes to `said`."""
    from backoffice.sandbox.__main__ import main

    os.dup2(said.fileno(), sys.stdout.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.exit(main(argv))


def start_sandbox(
    data: Path, *, customers: int = 0, seed: int = 1, extra_args: Sequence[str] = ()
) -> SandboxProcess:
    """Starts a sandbox on a free port and waits until it listens.

    It is forked off a process that has imported it already: there are hundreds of them in a
    run of the tests.
    """
    argv = ["--port", "0", "--data", str(data), "--customers", str(customers), "--seed", str(seed)]
    heard, said = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=serve, args=([*argv, *extra_args], said))
    process.start()
    said.close()
    with os.fdopen(os.dup(heard.fileno())) as output:
        line = output.readline()
    heard.close()
    if not line.startswith("listening on "):
        process.kill()
        process.join()
        raise AssertionError(f"the sandbox did not start: {line!r}")
    return SandboxProcess(process, line.removeprefix("listening on ").strip(), data)


@contextmanager
def run_sandbox(
    data: Path, *, customers: int = 0, seed: int = 1, extra_args: Sequence[str] = ()
) -> Iterator[SandboxProcess]:
    """A sandbox with the file `data`, stopped on leaving."""
    running = start_sandbox(data, customers=customers, seed=seed, extra_args=extra_args)
    try:
        yield running
    finally:
        running.stop()

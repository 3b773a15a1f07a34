"""A running sandbox for tests: its own process, driven over loopback."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import stripe

from backoffice.drill.sandbox import SandboxClient

API_KEY = "sk_test_" + "sandbox0" * 4
ROOT = Path(__file__).resolve().parents[2]

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.sandbox.preloaded"])


class SandboxProcess(SandboxClient):
    """A sandbox that listens on `url`; `data` is its file."""

    def __init__(self, process: BaseProcess, url: str, data: Path) -> None:
        super().__init__(url, data, API_KEY)
        self.process = process

    @cached_property
    def stripe(self) -> stripe.StripeClient:
        """A client of the official package for this sandbox; it does not retry."""
        return stripe.StripeClient(API_KEY, base_addresses={"api": self.url}, max_network_retries=0)

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
    """A sandbox with the file `data`, killed on leaving: nobody is to see what it would tidy."""
    running = start_sandbox(data, customers=customers, seed=seed, extra_args=extra_args)
    try:
        yield running
    finally:
        running.kill()

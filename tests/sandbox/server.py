"""A running sandbox for tests: its own process, driven over loopback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import stripe

API_KEY = "sk_test_" + "sandbox0" * 4
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class SandboxProcess:
    """A sandbox that listens on `url`; `data` is its file."""

    process: subprocess.Popen[str]
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
        if self.process.poll() is None:
            self.process.send_signal(by)
        code = self.process.wait(timeout=20)
        self.http.close()
        if self.process.stdout:
            self.process.stdout.close()
        return code


def start_sandbox(
    data: Path, *, customers: int = 0, seed: int = 1, extra_args: Sequence[str] = ()
) -> SandboxProcess:
    """Starts a sandbox on a free port and waits until it listens."""
    command = [
        sys.executable,
        "-m",
        "backoffice.sandbox",
        "--port",
        "0",
        "--data",
        str(data),
        "--customers",
        str(customers),
        "--seed",
        str(seed),
        *extra_args,
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    line = process.stdout.readline() if process.stdout else ""
    if not line.startswith("listening on "):
        process.kill()
        process.wait()
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

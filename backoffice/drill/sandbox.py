"""A client of the Stripe sandbox: its copy of Stripe's API, and the strings to pull."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx


class SandboxError(AssertionError):
    """The sandbox did not do what it was asked for. The text has its answer."""


def _client() -> httpx.Client:
    return httpx.Client(timeout=120, trust_env=False, verify=False)  # noqa: S501  # nosec B501 (on loopback)


@dataclass
class SandboxClient:
    """The sandbox at `url`, whose file is `data`; `key` is a secret key that it takes."""

    url: str
    data: Path
    key: str
    http: httpx.Client = field(default_factory=_client, kw_only=True, repr=False)

    def get(self, path: str, **params: Any) -> httpx.Response:
        """`GET path` of Stripe's API with a valid key."""
        return self.request("GET", path, params=params or None)

    def post(self, path: str, data: Any = None, **options: Any) -> httpx.Response:
        """`POST path` of Stripe's API with a valid key and a form body."""
        return self.request("POST", path, data=data, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request of Stripe's API, authorised unless `auth` or a header says otherwise."""
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        return self.http.request(method, self.url + path, headers=headers, **options)

    def make(self, path: str, **form: Any) -> Any:
        """What `POST path` answers. Raises SandboxError for an error."""
        answer = self.post(f"/v1/{path}", form)
        if answer.is_error:
            raise SandboxError(f"{path} {form}: {answer.status_code} {answer.text}")
        return answer.json()

    def control(self, path: str, /, http: str = "POST", **body: Any) -> Any:
        """The sandbox's own API: `control("faults", path=..., status=500)`; fails on errors."""
        response = self.http.request(
            http, f"{self.url}/_sandbox/{path}", json=body if http == "POST" else None
        )
        if response.is_error:
            raise SandboxError(f"/_sandbox/{path}: {response.status_code} {response.text}")
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
                raise SandboxError(f"the time did not pass within {patience} seconds")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    @contextmanager
    def fault(self, **spec: Any) -> Iterator[dict[str, Any]]:
        """Lets something go wrong meanwhile; what it hit is in what it yields afterwards."""
        made: dict[str, Any] = self.control("faults", **spec)
        try:
            yield made
        finally:
            made |= self.control(f"faults/{made['id']}", http="DELETE")

    def ask(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Rows of the sandbox's own file."""
        with closing(sqlite3.connect(self.data)) as stripe:
            return stripe.execute(query, values).fetchall()

    def waiting(self) -> int:
        """How many deliveries are still to be made."""
        return int(self.ask("SELECT count(*) FROM outbox WHERE state = 'pending'")[0][0])

"""Webhook delivery: signed, retried with backoff, over restarts."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import httpx

from backoffice.sandbox.store import Endpoint, Store
from backoffice.sandbox.work import Work

LOGGER = logging.getLogger(__name__)
AT_ONCE = 8
LONGEST_SLEEP = 3600.0
USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"


def signature(secret: str, body: bytes, at: int) -> str:
    """The `Stripe-Signature` of `body`, signed with `secret` at epoch second `at`."""
    digest = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass
class Delivery:
    """Sends what is due in the outbox, a few at once."""

    store: Store
    retry_schedule: Sequence[float]
    timeout: float = 10.0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(
            timeout=self.timeout,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=2 * AT_ONCE, max_keepalive_connections=AT_ONCE),
        )

    async def run(self) -> None:
        """Delivers until it is cancelled."""
        self.store.new_deliveries = self._wake.set
        running: set[asyncio.Task[None]] = set()
        async with self._client:
            try:
                await self._loop(running)
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)

    async def _loop(self, running: set[asyncio.Task[None]]) -> None:
        while True:
            self._wake.clear()
            for row in self._due(AT_ONCE - len(running), time.time()):
                running.add(asyncio.create_task(self._attempt(*row)))
            pause = self._pause() if len(running) < AT_ONCE else None
            wake = asyncio.create_task(self._wake.wait())
            done, _ = await asyncio.wait(
                {wake, *running}, timeout=pause, return_when=asyncio.FIRST_COMPLETED
            )
            wake.cancel()
            running -= done
            for task in done - {wake}:
                if failure := task.exception():
                    LOGGER.error("a delivery failed unexpectedly", exc_info=failure)

    async def flush(self) -> int:
        """Attempts everything that waits, whatever its backoff; how many attempts were made."""
        attempts = 0
        tried: set[int] = set()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(row: tuple[int, str, str, int]) -> None:
            async with gate:
                await self._attempt(*row)

        while rows := self._due(1000, float("inf"), skip=tried):
            tried |= {row[0] for row in rows}
            attempts += len(rows)
            await asyncio.gather(*(one(row) for row in rows))
        while self._busy:  # attempts that the background loop had begun
            await asyncio.sleep(0.01)
        return attempts

    def _due(
        self, count: int, until: float, *, skip: Set[int] = frozenset()
    ) -> list[tuple[int, str, str, int]]:
        """Up to `count` pending deliveries that nobody attempts now; marks them as taken."""
        rows = self.store.rows(
            "SELECT id, event, endpoint, attempts FROM outbox WHERE state = 'pending'"
            " AND due <= ? ORDER BY due, id LIMIT ?",
            [until, max(count, 0) + len(self._busy) + len(skip)],
        )
        untouched = self._busy | skip
        free = [row for row in rows if row[0] not in untouched][: max(count, 0)]
        self._busy |= {row[0] for row in free}
        return [(row[0], row[1], row[2], row[3]) for row in free]

    def _pause(self) -> float:
        """Seconds until the next delivery is due."""
        rows = self.store.rows(
            "SELECT id, due FROM outbox WHERE state = 'pending' ORDER BY due LIMIT ?",
            [len(self._busy) + 1],
        )
        waits = [due - time.time() for id_, due in rows if id_ not in self._busy]
        return min(max(waits[0], 0.0), LONGEST_SLEEP) if waits else LONGEST_SLEEP

    async def _attempt(
        self,
        delivery: int,
        event: str,
        endpoint: str,
        before: int,
    ) -> None:
        """One attempt, and what follows from it."""
        try:
            target = next((e for e in self.store.endpoints() if e.id == endpoint), None)
            outcome: tuple[int | None, str | None] = (None, "the endpoint is disabled or deleted")
            if target is not None:
                outcome = await self._post(target, event)
            self._record(delivery, event, endpoint, before + 1, *outcome)
        finally:
            self._busy.discard(delivery)

    async def _post(self, endpoint: Endpoint, event: str) -> tuple[int | None, str | None]:
        """(status code, error) of one POST; an error means that it counts as not delivered."""
        body = self.store.rows("SELECT json FROM objects WHERE id = ?", [event])[0][0].encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(endpoint.secret, body, int(time.time())),
            "User-Agent": USER_AGENT,
        }
        try:
            async with asyncio.timeout(self.timeout):
                response = await self._client.post(endpoint.url, content=body, headers=headers)
        except TimeoutError:
            return None, "timed out"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
            return None, f"{type(failure).__name__}: {failure}"
        if response.is_success:
            return response.status_code, None
        return response.status_code, f"answered {response.status_code}"

    def _record(
        self,
        delivery: int,
        event: str,
        endpoint: str,
        attempt: int,
        code: int | None,
        error: str | None,
    ) -> None:
        """Notes an attempt; plans the next one, or closes the delivery."""
        now = time.time()
        if error is None:
            state, due = "succeeded", now
        elif attempt <= len(self.retry_schedule):
            state, due = "pending", now + self.retry_schedule[attempt - 1]
        else:
            state, due = "failed", now
        with self.store.transaction():
            self.store.db.execute(
                "INSERT INTO deliveries (event, endpoint, attempt, status_code, error, at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (event, endpoint, attempt, code, error, now),
            )
            self.store.db.execute(
                "UPDATE outbox SET state = ?, due = ?, attempts = ? WHERE id = ?",
                (state, due, attempt, delivery),
            )
            if state == "succeeded":
                self._count_pending(event)

    def _count_pending(self, event: str) -> None:
        """Sets the event's `pending_webhooks` to the endpoints that did not take it yet."""
        waiting = self.store.rows(
            "SELECT count(*) FROM outbox WHERE event = ? AND state <> 'succeeded'", [event]
        )[0][0]
        work = Work(self.store, int(time.time()))
        if (found := work.get("event", event)) is not None:
            work.change(found, pending_webhooks=waiting)
            work.flush()

"""Webhook delivery: signed, retried with backoff, over restarts."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

import httpx

from backoffice.sandbox import versions
from backoffice.sandbox.errors import invalid
from backoffice.sandbox.faults import DeliveryFault, Faults
from backoffice.sandbox.store import Endpoint, Store
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

LOGGER = logging.getLogger(__name__)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
LONGEST_SLEEP = HOUR
MOST_AT_ONCE = 100
DISABLED = (
    "{failures} attempts in a row to deliver events to {url} have failed since {since}. We send no"
    " more events to it until you enable it again. What it missed can be resent."
)
TRUSTED = httpx.create_ssl_context(trust_env=False)  # read once: it takes 15 ms
USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
WRONG_SECRET = "whsec_thatNobodyWasGiven"  # noqa: S105
RETRY_SCHEDULES: dict[str, tuple[float, ...]] = {
    "live": (5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, *(4 * (12 * HOUR,))),
    "test": (10 * MINUTE, 50 * MINUTE, 3 * HOUR),
}
"""Stripe's: up to 3 days in live mode, 3 times over a few hours in test mode."""


def signature(secrets: Iterable[str], body: bytes, at: int) -> str:
    """The `Stripe-Signature` of `body` at epoch second `at`, with one `v1` for each secret."""
    signed = b"%d." % at + body
    digests = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in digests)])


@dataclass(frozen=True)
class Terms:
    """How Stripe delivers. Times are seconds.

    `retry_schedule` has the pauses before each further attempt. An endpoint is disabled when at
    least `disable_after_failures` attempts in a row failed, over `disable_after_seconds` or more.
    """

    retry_schedule: Sequence[float]
    timeout: float = 10.0
    at_once: int = 8
    disable_after_seconds: float = 9 * DAY
    disable_after_failures: int = 3

    def changed(self, spec: Json) -> "Terms":
        """These terms with what a JSON object says; 400 where that makes no sense."""
        for name, value in spec.items():
            if name not in asdict(self):
                raise invalid(f"Delivery has no {name}. It has: {', '.join(asdict(self))}.", name)
            if name != "retry_schedule" and not is_number(value, whole=is_whole(name)):
                raise invalid(f"Invalid {name}: {value!r}", name)
        if not 1 <= spec.get("at_once", 1) <= MOST_AT_ONCE:
            raise invalid(f"Invalid at_once: it is 1 to {MOST_AT_ONCE}.", "at_once")
        given = dict(spec)
        if "retry_schedule" in spec:
            given["retry_schedule"] = schedule_of(spec["retry_schedule"])
        return replace(self, **given)


def is_whole(name: str) -> bool:
    """Whether a term is a number of things rather than of seconds."""
    return name in ("at_once", "disable_after_failures")


def is_number(value: object, *, whole: bool = False) -> bool:
    """Whether a JSON value is a number that is not negative."""
    wanted = int if whole else (int, float)
    return isinstance(value, wanted) and not isinstance(value, bool) and value >= 0


def schedule_of(value: Any) -> tuple[float, ...]:
    """The pauses that JSON says: a list of seconds, or the name of one of Stripe's schedules."""
    if isinstance(value, str) and value in RETRY_SCHEDULES:
        return RETRY_SCHEDULES[value]
    if not isinstance(value, list) or not all(is_number(pause) for pause in value):
        names = ", ".join(RETRY_SCHEDULES)
        raise invalid(
            f"Invalid retry_schedule: a list of seconds, or one of {names}.", "retry_schedule"
        )
    return tuple(value)


class Due(NamedTuple):
    """A delivery in the outbox."""

    id: int
    event: str
    endpoint: str
    attempts: int
    due: float


class Outcome(NamedTuple):
    """How one POST ended; with an error it counts as not delivered."""

    status_code: int | None
    error: str | None


@dataclass
class Delivery:
    """Sends what is due in the outbox, a few at once."""

    store: Store
    faults: Faults
    terms: Terms
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._client = httpx.AsyncClient(  # nosec B113 - each attempt has its own
            timeout=None,  # noqa: S113
            follow_redirects=False,
            trust_env=False,
            verify=TRUSTED,
            limits=httpx.Limits(max_connections=2 * MOST_AT_ONCE, max_keepalive_connections=8),
        )
        self._planned: int = self._newest()

    def change_terms(self, spec: Json) -> None:
        """Delivers on other terms from now on; waiting retries come no later than these say."""
        self.terms = self.terms.changed(spec)
        if "retry_schedule" in spec:
            with self.store.transaction():
                for attempts, pause in enumerate([*self.terms.retry_schedule, 0.0], start=1):
                    self.store.db.execute(
                        "UPDATE outbox SET due = min(due, ?)"
                        " WHERE state = 'pending' AND attempts = ?",
                        (time.time() + pause, attempts),
                    )
        self._wake.set()

    async def run(self) -> None:
        """Delivers until it is cancelled."""
        self.store.new_deliveries = self._take_up
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
            free = self.terms.at_once - len(running)
            for delivery in self._due(free, time.time()):
                running.add(asyncio.create_task(self._attempt(delivery)))
            pause = self._pause() if len(running) < self.terms.at_once else None
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
        gate = asyncio.Semaphore(self.terms.at_once)

        async def one(delivery: Due) -> None:
            async with gate:
                await self._attempt(delivery)

        while deliveries := self._due(1000, float("inf"), skip=tried):
            tried |= {delivery.id for delivery in deliveries}
            attempts += len(deliveries)
            await asyncio.gather(*(one(delivery) for delivery in deliveries))
        while self._busy:  # attempts that the background loop had begun
            await asyncio.sleep(0.01)
        return attempts

    def _newest(self) -> int:
        return int(self.store.rows("SELECT coalesce(max(id), 0) FROM outbox")[0][0])

    def _take_up(self) -> None:
        """Lets the faults decide about the deliveries that are new, and begins with these."""
        self._plan()
        self._wake.set()

    def _plan(self) -> None:
        if not any(self.faults.of(DeliveryFault)):
            self._planned = self._newest()
            return
        new = self.store.rows(
            "SELECT outbox.id, event, endpoint, type FROM outbox JOIN objects ON objects.id = event"
            " WHERE outbox.id > ? ORDER BY outbox.id",
            [self._planned],
        )
        for id_, event, endpoint, kind in new:
            now = time.time()
            due = self.faults.plan(event, kind, endpoint, now)
            self.store.db.execute(
                "UPDATE outbox SET state = ?, due = ? WHERE id = ?",
                ("failed" if due is None else "pending", due or now, id_),
            )
            self._planned = id_

    def _due(self, count: int, until: float, *, skip: Set[int] = frozenset()) -> list[Due]:
        """Up to `count` pending deliveries that nobody attempts now; marks them as taken."""
        self._plan()
        rows = self.store.rows(
            "SELECT id, event, endpoint, attempts, due FROM outbox WHERE state = 'pending'"
            " AND due <= ? ORDER BY due, id LIMIT ?",
            [until, max(count, 0) + len(self._busy) + len(skip)],
        )
        untouched = self._busy | skip
        free = [Due(*row) for row in rows if row[0] not in untouched][: max(count, 0)]
        self._busy |= {delivery.id for delivery in free}
        return free

    def _pause(self) -> float:
        """Seconds until the next delivery is due."""
        rows = self.store.rows(
            "SELECT id, due FROM outbox WHERE state = 'pending' ORDER BY due LIMIT ?",
            [len(self._busy) + 1],
        )
        waits = [due - time.time() for id_, due in rows if id_ not in self._busy]
        return min(max(waits[0], 0.0), LONGEST_SLEEP) if waits else LONGEST_SLEEP

    async def _attempt(self, delivery: Due) -> None:
        """One attempt, and what follows from it."""
        try:
            target = self._target(delivery)
            if target is None:
                self._close(delivery, "failed")
                return
            faults = self.faults.holding(delivery.event, delivery.endpoint)
            outcome = await self._post(target, delivery.event, faults)
            self._record(delivery, outcome)
            copies = max((fault.duplicate_deliveries for fault in faults), default=0)
            for number in range(1, copies):
                again = await self._post(target, delivery.event, faults)
                self._note(delivery, delivery.attempts + 1 + number, again)
        finally:
            self._busy.discard(delivery.id)

    def _target(self, delivery: Due) -> Endpoint | None:
        """The endpoint, unless it is disabled or deleted: then it is not tried again."""
        return next((e for e in self.store.endpoints() if e.id == delivery.endpoint), None)

    async def _post(
        self, endpoint: Endpoint, event: str, faults: Sequence[DeliveryFault]
    ) -> Outcome:
        text = self.store.rows("SELECT json FROM objects WHERE id = ?", [event])[0][0]
        body = versions.payload(self.store, text, endpoint.api_version)
        wrong = any(fault.wrong_secret for fault in faults)
        secrets = [WRONG_SECRET] if wrong else self.store.secrets(endpoint.id, time.time())
        signed_at = int(time.time()) + sum(fault.skew_signatures for fault in faults)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(secrets, body, signed_at),
            "User-Agent": USER_AGENT,
        }
        try:
            async with asyncio.timeout(self.terms.timeout):
                response = await self._client.post(endpoint.url, content=body, headers=headers)
        except TimeoutError:
            return Outcome(None, "timed out")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
            return Outcome(None, f"{type(failure).__name__}: {failure}")
        if response.is_success:
            return Outcome(response.status_code, None)
        return Outcome(response.status_code, f"answered {response.status_code}")

    def _record(self, delivery: Due, outcome: Outcome) -> None:
        """Notes an attempt; plans the next one, or closes the delivery."""
        attempt = delivery.attempts + 1
        with self.store.transaction():
            self._note(delivery, attempt, outcome)
            if outcome.error is None:
                self.store.db.execute("DELETE FROM failing WHERE endpoint = ?", [delivery.endpoint])
                self._close(delivery, "succeeded")
                self._count_pending(delivery.event)
            elif attempt <= len(self.terms.retry_schedule):
                self.store.db.execute(
                    "UPDATE outbox SET attempts = ?, due = ? WHERE id = ? AND due = ?",
                    (
                        attempt,
                        time.time() + self.terms.retry_schedule[attempt - 1],
                        delivery.id,
                        delivery.due,
                    ),
                )
            else:
                self._close(delivery, "failed")
            if outcome.error is not None:
                self._count_failure(delivery.endpoint)

    def _note(self, delivery: Due, attempt: int, outcome: Outcome) -> None:
        self.store.db.execute(
            "INSERT INTO deliveries (event, endpoint, attempt, status_code, error, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (delivery.event, delivery.endpoint, attempt, *outcome, time.time()),
        )

    def _close(self, delivery: Due, state: str) -> None:
        """Ends a delivery, unless it was asked for again meanwhile, which changed `due`."""
        self.store.db.execute(
            "UPDATE outbox SET state = ?, attempts = attempts + 1 WHERE id = ? AND due = ?",
            (state, delivery.id, delivery.due),
        )

    def _count_pending(self, event: str) -> None:
        """Sets the event's `pending_webhooks` to the endpoints that did not take it yet."""
        work = Work(self.store, int(time.time()))
        if (found := work.get("event", event)) is not None:
            work.change(found, pending_webhooks=self.store.count_undelivered(event))
            work.flush()

    def _count_failure(self, endpoint: str) -> None:
        """Disables the endpoint if it has failed for too long."""
        now = time.time()
        since, failures = self.store.db.execute(
            "INSERT INTO failing (endpoint, since, failures) VALUES (?, ?, 1)"
            " ON CONFLICT DO UPDATE SET failures = failures + 1 RETURNING since, failures",
            (endpoint, now),
        ).fetchone()
        lasted = now - since >= self.terms.disable_after_seconds
        if lasted and failures >= self.terms.disable_after_failures:
            self._disable(endpoint, since, failures)

    def _disable(self, endpoint: str, since: float, failures: int) -> None:
        """Disables an endpoint, gives up what it did not take, and sends an email about it."""
        work = Work(self.store, int(time.time()))
        if (found := work.get("webhook_endpoint", endpoint)) is None:
            return
        work.change(found, status="disabled")
        work.flush()
        self.store.db.execute(
            "UPDATE outbox SET state = 'failed' WHERE endpoint = ? AND state = 'pending'",
            [endpoint],
        )
        self.store.db.execute("DELETE FROM failing WHERE endpoint = ?", [endpoint])
        self.store.db.execute(
            "INSERT INTO emails (at, subject, text) VALUES (?, ?, ?)",
            (
                time.time(),
                "Your webhook endpoint was disabled",
                DISABLED.format(failures=failures, url=found["url"], since=int(since)),
            ),
        )
        self.store.endpoints_changed()

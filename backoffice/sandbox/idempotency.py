"""Stripe's rules for idempotency keys: the first answer to a key is what it always gets.

Kept with their answers, for 24 hours: calls that began to change something, however they ended.
Not kept: what was refused before that, because of the key, the parameters or the rate.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson
from starlette.requests import Request

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.store import Store
from backoffice.sandbox.types import Json

LONGEST_KEY = 255
LIFETIME = 24 * 3600


@dataclass(frozen=True, slots=True)
class Kept:
    """The first answer to a key."""

    request: str
    status: int
    body: bytes
    request_id: str


@dataclass
class Idempotency:
    """The keys of one mode: those with an answer in the file, and those being answered."""

    store: Store
    _busy: set[str] = field(default_factory=set)

    @contextmanager
    def answering(self, key: str | None) -> Iterator[None]:
        """Holds `key` while its request is worked on; 409 for a second one meanwhile."""
        if key is None:
            yield
            return
        if len(key) > LONGEST_KEY:
            raise invalid(f"Idempotency key is longer than {LONGEST_KEY} characters.")
        if key in self._busy:
            raise ApiError(
                409,
                "There is currently another in-progress request using this Idempotent Key (that "
                "probably means you submitted twice, and the other request is still going "
                f"through): {key}. Please try again later.",
                kind="idempotency_error",
                code="idempotency_key_in_use",
            )
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def answered(self, key: str, asked: str) -> Kept | None:
        """The answer to `key`, if it has one; a 400 where that was to another request."""
        rows = self.store.rows(
            "SELECT request, status, body, request_id FROM idempotency WHERE key = ? AND at > ?",
            [key, time.time() - LIFETIME],
        )
        if not rows:
            return None
        kept = Kept(*rows[0])
        if kept.request == asked:
            return kept
        path, first = (request.partition(" ")[0] for request in (asked, kept.request))
        rule = "with the same parameters they were first used with"
        if path != first:
            rule = f"for the same endpoint they were first used for ('{path}' vs '{first}')"
        raise ApiError(
            400,
            f"Keys for idempotent requests can only be used {rule}. Try using a key other than "
            f"'{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )

    def keep(self, key: str, kept: Kept) -> None:
        """Keeps the answer to `key`, in the transaction of the call's effects."""
        now = time.time()
        self.store.db.execute("DELETE FROM idempotency WHERE at <= ?", (now - LIFETIME,))
        self.store.db.execute(
            "INSERT INTO idempotency (key, request, status, body, request_id, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (key, kept.request, kept.status, kept.body, kept.request_id, now),
        )

    def replace(self, key: str, status: int, body: bytes) -> None:
        """Keeps another answer to `key`: an error of Stripe's own that came after the effect."""
        self.store.db.execute(
            "UPDATE idempotency SET status = ?, body = ? WHERE key = ?", (status, body, key)
        )


def key_of(request: Request) -> str | None:
    """The idempotency key of a request; only a POST has one."""
    return (request.headers.get("idempotency-key") or None) if request.method == "POST" else None


def asked_for(request: Request, parameters: Json) -> str:
    """The path and the parameters of a request, to compare with those of another."""
    text = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
    return f"{request.url.path} {hashlib.sha256(text).hexdigest()}"

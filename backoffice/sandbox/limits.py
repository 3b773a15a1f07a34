"""Stripe's rate limits, where they are switched on.

Source: https://docs.stripe.com/rate-limits
"""

import time
from dataclasses import dataclass, field

from backoffice.sandbox.errors import ApiError

LIVE = 100.0
TEST = 25.0
ENDPOINT = 25.0
"""Requests a second: of an account in live mode, in test mode, and for one endpoint."""


@dataclass(slots=True)
class Bucket:
    """Requests that may still be made; it fills at `rate` a second, up to a second's worth."""

    rate: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Adds what the time since the last request allows."""
        self.level = min(self.rate, self.level + (now - self.at) * self.rate)
        self.at = now


@dataclass
class RateLimits:
    """The limits of one mode. `on` says whether they hold, `rate` replaces Stripe's own."""

    livemode: bool = False
    on: bool = False
    rate: float | None = None
    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def switch(self, *, on: bool, rate: float | None = None) -> None:
        """Lets the limits hold or not, from a clean slate."""
        self.on, self.rate = on, rate
        self._buckets.clear()

    def check(self, endpoint: str) -> None:
        """Counts a request to `endpoint`; a 429 if it is one too many, and then it counts not."""
        if not self.on:
            return
        account = self._bucket("", self.rate or (LIVE if self.livemode else TEST))
        own = self._bucket(endpoint, self.rate or ENDPOINT)
        if min(account.level, own.level) < 1:
            raise too_many("global-rate" if account.level < 1 else "endpoint-rate", self.livemode)
        account.level -= 1
        own.level -= 1

    def _bucket(self, name: str, rate: float) -> Bucket:
        now = time.monotonic()
        bucket = self._buckets.setdefault(name, Bucket(rate, rate, now))
        bucket.fill(now)
        return bucket


def too_many(reason: str, livemode: bool) -> ApiError:
    """The 429; it names no time to wait, and does not ask for a retry, just as Stripe's."""
    error = ApiError(
        429,
        "Request rate limit exceeded. Learn more about rate limits here "
        "https://stripe.com/docs/rate-limits."
        if livemode
        else "Testmode request rate limit exceeded, the rate limits in testmode are lower than "
        "livemode. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
        code="rate_limit",
    )
    error.headers["Stripe-Rate-Limited-Reason"] = reason
    return error

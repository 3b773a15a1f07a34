"""Stripe as a smoke test pays with it: in test mode, and never in live mode."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from billing.gateway.client import Gateway, StripeRefusedError
from billing.gateway.observation import StripeDict

TEST_KEYS = ("sk_test_", "rk_test_")


class LiveModeError(StripeRefusedError):
    """A smoke test was about to change something in live mode. Nothing was sent."""


@dataclass(frozen=True, slots=True)
class Till:
    """The only way for a smoke test to change anything at Stripe: only with a key of test mode."""

    stripe: Gateway

    def post(self, path: str, params: Mapping[str, Any] | None = None) -> StripeDict:
        """Makes or changes an object. Raises LiveModeError and the other GatewayErrors."""
        return self._change("post", path, params or {})

    def delete(self, path: str) -> StripeDict:
        """Deletes or cancels an object. Raises LiveModeError and the other GatewayErrors."""
        return self._change("delete", path, {})

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> StripeDict:
        """One object, or one page, as it is. Raises a GatewayError."""
        return self.stripe.request("get", path, params)[0]

    def all(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[StripeDict]:
        """Everything on a list. Raises a GatewayError."""
        for page in self.stripe.pages(path, params):
            yield from page.data

    def _change(self, method: str, path: str, params: Mapping[str, Any]) -> StripeDict:
        """A request that changes something: the one place where live mode is refused.

        The key decides, by what it is allowed to begin with: at Stripe there is no other way
        into live mode.
        """
        if not self.stripe.api_key.startswith(TEST_KEYS):
            raise LiveModeError(
                "This is no key of Stripe's test mode: a smoke test changes nothing with it."
            )
        key = f"smoke-{uuid.uuid4().hex}"
        return self.stripe.request(method, path, params, idempotency_key=key)[0]

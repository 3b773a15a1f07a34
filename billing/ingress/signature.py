"""Stripe's webhook signatures (STRIPE.md, Webhooks)."""

import hashlib
import hmac
import time
from collections.abc import Sequence

TOLERANCE = 300  # seconds between Stripe's clock at signing and ours


class SignatureError(Exception):
    """The text is the reason, in words that may be shown and counted."""


def verify(body: bytes, header: str, secrets: Sequence[str], *, now: float | None = None) -> None:
    """Raises SignatureError unless one `v1` of the header signs the raw body with a secret.

    Several secrets count while one is being rolled; schemes other than v1 are ignored.
    """
    if not secrets:
        raise SignatureError("no secret configured")
    if not header:
        raise SignatureError("no signature")
    timestamps, signatures = _parse(header)
    if not timestamps or not signatures:
        raise SignatureError("malformed signature")
    timestamp = timestamps[0]
    signed = timestamp.encode() + b"." + body
    expected = [hmac.new(s.encode(), signed, hashlib.sha256).hexdigest() for s in secrets]
    if not any(hmac.compare_digest(e, s) for e in expected for s in signatures):
        raise SignatureError("wrong signature")
    if abs((time.time() if now is None else now) - int(timestamp)) > TOLERANCE:
        raise SignatureError("signature too old or from the future")


def sign(body: bytes, secret: str, *, now: float | None = None) -> str:
    """The header that Stripe would send: for the signed ping of `check_webhooks`."""
    timestamp = int(time.time() if now is None else now)
    signed = f"{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


def _parse(header: str) -> tuple[list[str], list[str]]:
    pairs = [part.strip().partition("=") for part in header.split(",")]
    timestamps = [
        v for k, _, v in pairs if k == "t" and v.isascii() and v.isdigit() and len(v) < 20
    ]
    return timestamps, [v for k, _, v in pairs if k == "v1" and v.isascii()]

"""Limits on what is open to strangers, counted by address in PostgreSQL.

There, all web processes on all machines count together, without another service to run. A limit
is one row that says until when an address has used up its share (the generic cell rate algorithm):
one statement for each request, and what is refused writes nothing.
"""

import logging
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from django.conf import settings
from django.db import connection
from django.http import HttpRequest

from billing.database import cursor

logger = logging.getLogger(__name__)

UNKNOWN = "::"  # no address: who comes through a Unix socket without a proxy's word
NETWORK = 64  # bits: what one customer of a provider has of IPv6 counts as one address


@dataclass(frozen=True, slots=True)
class Limit:
    """`burst` requests at once, and one more every so many `seconds`, for each address."""

    name: str
    burst: int
    seconds: float


# Only what is refused counts: whatever Stripe has signed is taken, however much comes.
WEBHOOK = Limit("webhook", 300, 0.2)
# Whatever a stranger posts to the admin is a log-in, or nothing.
LOG_IN = Limit("log-in", 30, 6)
BILLING_PAGE = Limit("billing page", 60, 2)
ELSE = Limit("else", 240, 0.5)

TAKE = """
    WITH taken AS (
        INSERT INTO billing_rate_limits AS r (key, due_at)
        VALUES (%(key)s, clock_timestamp() + make_interval(secs => %(step)s))
        ON CONFLICT (key) DO UPDATE
        SET due_at = greatest(r.due_at, clock_timestamp()) + make_interval(secs => %(step)s)
        WHERE r.due_at <= clock_timestamp() + make_interval(secs => %(ahead)s)
        RETURNING key
    )
    SELECT CASE WHEN EXISTS (SELECT FROM taken) THEN 0 ELSE coalesce((
        SELECT greatest(1, ceil(extract(epoch FROM due_at - clock_timestamp()) - %(ahead)s))
        FROM billing_rate_limits WHERE key = %(key)s
    ), 1) END
"""


def take(limit: Limit, request: HttpRequest) -> int:
    """Counts a request: 0 where it is within the limit, else the seconds to wait."""
    address = client_address(request)
    with connection.cursor() as counting:
        counting.execute(
            TAKE,
            {
                "key": f"{limit.name} {network_of(address)}",
                "step": limit.seconds,
                "ahead": limit.seconds * (limit.burst - 1),
            },
        )
        [(seconds,)] = counting.fetchall()
    if seconds:
        logger.warning("too many requests (%s) from %s", limit.name, address)
    return int(seconds)


def forget() -> int:
    """Removes whoever has their whole share again; how many they were."""
    with cursor() as removing:
        removing.execute("DELETE FROM billing_rate_limits WHERE due_at < clock_timestamp()")
        return int(removing.rowcount)


def client_address(request: HttpRequest) -> str:
    """The address of who asks: what the outermost of our own proxies saw.

    Each of TRUSTED_PROXIES adds to X-Forwarded-For whom it was asked by, at its end; what stands
    before that, anybody may have written. Where too little or nonsense stands there, the request
    came past the proxies, and its sender's own address counts.
    """
    sender = str(request.META.get("REMOTE_ADDR") or UNKNOWN)
    proxies = settings.TRUSTED_PROXIES
    told = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]
    if not 0 < proxies <= len(told):
        return sender
    try:
        return str(ip_address(told[-proxies]))
    except ValueError:
        return sender


def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the whole network that its holder chooses from."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), NETWORK), strict=False))

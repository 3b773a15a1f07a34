"""First contact with Stripe: is it the right account, and does it send us what we need?

The webhook endpoint at our address is made, or adopted: told to send exactly the events that are
handled. Endpoints with other addresses are somebody else's and are left alone.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from djstripe.models import Account

from billing.diagnosis.webhooks import (
    ENDPOINTS,
    Check,
    all_endpoints,
    endpoints_at,
    has_our_version,
)
from billing.gateway.client import Gateway, StripeRefusedError
from billing.gateway.observation import StripeDict
from billing.gateway.permissions import READS, WHERE, WRITES, refused
from billing.ingress.handled import HANDLED
from billing.mirror.account import ask
from billing.models import BillingCustomer, BillingEvent, acting_as
from billing.operations.base import Actor, InvalidInputError, OperationError

DESCRIPTION = "Billing back office"
AUDIT_TYPE = "manual.stripe_connected"


@dataclass(slots=True)
class Wanted:
    """What would change at Stripe, in words, and the request that does it; none where all is well.

    `makes` a new endpoint, whose signing secret Stripe tells only then. `notes` are what a person
    has to know besides.
    """

    path: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    steps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    makes: bool = False


@dataclass(frozen=True, slots=True)
class Connected:
    """The endpoint as it is now; `secret` only where it was made, and to be shown once."""

    endpoint: str
    secret: str = field(default="", repr=False)


def check_account(stripe: Gateway) -> Check:
    """Does the key work, and is it of the account and mode whose data this database holds?"""
    try:
        account = ask(stripe)
    except StripeRefusedError as error:
        return Check("key", False, str(error), "Check STRIPE_SECRET_KEY: see Developers, API keys.")
    mode = "live" if settings.STRIPE_LIVE_MODE else "test"
    kind = "restricted" if settings.STRIPE_SECRET_KEY.startswith("rk_") else "secret"
    said = f"A {kind} key of {account.get('id')} in {mode} mode."
    known = set(Account.objects.values_list("id", flat=True))
    if known and account.get("id") not in known:
        return Check(
            "key",
            False,
            f"{said} This database holds the data of {', '.join(sorted(known))}.",
            "Set the key of that account, or use a database of its own for this one.",
        )
    if BillingCustomer.objects.exclude(livemode=settings.STRIPE_LIVE_MODE).exists():
        other = "test" if settings.STRIPE_LIVE_MODE else "live"
        return Check(
            "key",
            False,
            f"{said} This database holds customers of {other} mode.",
            "The two never mix: use a database of its own for each mode.",
        )
    return Check("key", True, said)


def check_permissions(stripe: Gateway) -> list[Check]:
    """May the key do all that we ask for? A check for each permission that it lacks."""
    is_restricted = settings.STRIPE_SECRET_KEY.startswith("rk_")
    wanted = (*READS, *WRITES) if is_restricted else READS
    missing = [
        Check("permission", False, f"{each} is missing ({each.why}). {words}", f"Set it: {WHERE}.")
        for each, words in refused(stripe, wanted)
    ]
    if missing:
        return missing
    writes = f" and {len(WRITES)} to write" if is_restricted else "; a secret key may write all"
    said = f"All that we need: {len(READS)} to read{writes}"
    return [Check("permissions", True, f"{said}. Each was tried, and nothing was changed.")]


def plan(stripe: Gateway, url: str, *, replace: bool = False, disable: str = "") -> Wanted:
    """What has to change at Stripe for our address. Raises a GatewayError or InvalidInputError.

    `replace` makes another endpoint beside one whose API version is not ours; `disable` names the
    one that it has replaced.
    """
    endpoints = all_endpoints(stripe)
    ours = endpoints_at(endpoints, url)
    if disable:
        return _disabling(ours, disable, url)
    is_kept = ours and (has_our_version(ours[0]) or not replace)
    wanted = _adopted(ours[0]) if is_kept else _made(url)
    wanted.notes += [
        f"{e['id']} has our address, too, so each event comes twice (and is processed once). Once"
        " the secret of the other one is set here: manage.py connect_stripe --disable"
        f" {e['id']}"
        for e in ours[0 if wanted.makes else 1 :]
        if e.get("status") == "enabled"
    ]
    others = [e for e in endpoints if e not in ours]
    wanted.notes += [
        f"{e['id']} sends to {e.get('url')}: it is not ours, and is left as it is." for e in others
    ]
    return wanted


def _made(url: str) -> Wanted:
    version = settings.STRIPE_API_VERSION
    said = f"make an endpoint for {url}, with API version {version} and {len(HANDLED)} events"
    params = {
        "url": url,
        "enabled_events": sorted(HANDLED),
        "api_version": version,
        "description": DESCRIPTION,
    }
    return Wanted(ENDPOINTS, params, [said], makes=True)


def _adopted(endpoint: StripeDict) -> Wanted:
    """What differs in an endpoint that is there: its events, and whether it is enabled."""
    wanted = Wanted(f"{ENDPOINTS}/{endpoint['id']}")
    sent = set(endpoint.get("enabled_events") or [])
    if sent != HANDLED:
        wanted.params["enabled_events"] = sorted(HANDLED)
        for verb, types in (("send", HANDLED - sent), ("no longer send", sent - HANDLED)):
            if types:
                wanted.steps.append(f"have {endpoint['id']} {verb}: {', '.join(sorted(types))}")
    if endpoint.get("status") != "enabled":
        wanted.params["disabled"] = False
        wanted.steps.append(f"enable {endpoint['id']}")
    if not has_our_version(endpoint):
        wanted.notes.append(
            f"{endpoint['id']} has API version {endpoint.get('api_version') or 'of the account'},"
            f" and we work with {settings.STRIPE_API_VERSION}. Stripe cannot change it. Its events"
            " are understood, at the cost of one request each; manage.py connect_stripe --replace"
            " makes another endpoint beside it."
        )
    return wanted


def _disabling(ours: list[StripeDict], disable: str, url: str) -> Wanted:
    enabled = [str(e["id"]) for e in ours if e.get("status") == "enabled"]
    if disable not in [str(e["id"]) for e in ours]:
        raise InvalidInputError(f"{disable[:60]} is no endpoint for {url}: only those are changed.")
    if disable not in enabled:
        return Wanted()
    if enabled == [disable]:
        raise InvalidInputError(f"{disable} is the only one that sends to {url}: it stays enabled.")
    return Wanted(f"{ENDPOINTS}/{disable}", {"disabled": True}, [f"disable {disable}"])


def check_address(url: str) -> None:
    """Raises InvalidInputError for an address that Stripe itself could not send anything to."""
    if settings.STRIPE_API_BASE != "https://api.stripe.com":
        return
    if settings.STRIPE_LIVE_MODE and not url.startswith("https://"):
        raise InvalidInputError(f"In live mode Stripe sends to https only. Set PUBLIC_URL: {url}")
    if url.partition("://")[2].startswith(("127.", "localhost", "[::1]")):
        raise InvalidInputError(
            f"Stripe cannot reach {url}: set PUBLIC_URL to the address that the internet sees, or"
            " use `stripe listen --forward-to` and its secret on a developer's machine."
        )


def connect(stripe: Gateway, wanted: Wanted) -> Connected:
    """Makes the change at Stripe. Raises a GatewayError, and OperationError without a secret."""
    made = stripe.post(wanted.path, wanted.params, idempotency_key=str(uuid.uuid4()))
    connected = Connected(str(made["id"]), str(made.get("secret") or ""))
    if wanted.makes and not connected.secret:
        raise OperationError(
            f"Stripe made {connected.endpoint} and told no secret: see it in the dashboard."
        )
    return connected


def record(actor: Actor, connected: Connected, wanted: Wanted) -> None:
    """The audit event: what was changed at Stripe, and nothing secret."""
    said = {
        "endpoint": connected.endpoint,
        "admin": actor.name,
        "calls": wanted.steps,
        "summary": f"The webhook endpoint {connected.endpoint} was set up at Stripe.",
    }
    with transaction.atomic(), acting_as(actor.name):
        BillingEvent.objects.create(type=AUDIT_TYPE, payload=said)

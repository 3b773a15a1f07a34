"""What can be tried where nothing may be changed, as with a key of live mode: looking."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from django.conf import settings
from django.utils import timezone

from billing.alerts.firing import counted, list_page
from billing.diagnosis.webhooks import Check, check_webhooks, webhook_url
from billing.formatting import format_age
from billing.gateway.client import GatewayError, gateway
from billing.gateway.observation import StripeDict
from billing.gateway.permissions import READS, WHERE, refused
from billing.ingress.handled import HANDLED
from billing.mirror.account import ask
from billing.models import CreditPrice, InboxEvent
from billing.projection.prices import HINT
from billing.reconciliation.lists import first_event
from billing.smoke.steps import Step, Tell
from billing.smoke.watching import in_short

ON_THEIR_WAY = 60  # seconds: what is younger may still come

Look = Callable[[], Check]


def look(*, timeout: float, tell: Tell) -> Iterator[Step]:
    """Read-only checks, then a signed ping that is followed until it is processed."""
    for name, check, shows in (
        ("account", check_account, None),
        ("permissions", check_permissions, None),
        ("newest events", check_events, InboxEvent),
        ("prices", check_prices, CreditPrice),
    ):
        tell(f"looking at: {name}")
        started = time.monotonic()
        made = asked(name, check)
        yield as_step(made, time.monotonic() - started, list_page(shows) if shows else "")
    tell("checking the webhook with a signed ping")
    started = time.monotonic()
    for made in check_webhooks(webhook_url(), timeout=timeout):
        named = replace(made, name=f"webhook: {made.name}")
        yield as_step(named, time.monotonic() - started, list_page(InboxEvent))
        started = time.monotonic()


def as_step(check: Check, seconds: float, page: str) -> Step:
    """A check as a step; where it failed, with the page that shows what it looked at."""
    shown = "" if check.ok else page
    return Step(check.name, check.ok, seconds, check.detail, check.advice, shown)


def asked(name: str, check: Look) -> Check:
    """A check that asks Stripe; that it could not be asked is what it found."""
    try:
        return check()
    except GatewayError as error:
        advice = "Check STRIPE_SECRET_KEY, its permissions, the network."
        return Check(name, False, str(error), advice)


def check_account() -> Check:
    """Does the key work, and for which account and mode?"""
    account = ask(gateway())
    mode = "live" if settings.STRIPE_LIVE_MODE else "test"
    said = f"The key works, for {account.get('id')} in {mode} mode."
    if account.get("charges_enabled") is False:
        return Check("account", False, f"{said} It cannot charge.", "See Stripe's dashboard.")
    return Check("account", True, said)


def check_permissions() -> Check:
    """May the key read everything that the back office reads?"""
    missing = [str(each) for each, _ in refused(gateway(), READS)]
    if not missing:
        return Check("permissions", True, f"It may read all {len(READS)} kinds that we read.")
    return Check(
        "permissions",
        False,
        f"The key lacks: {', '.join(missing)}.",
        f"Give the restricted key these permissions: {WHERE}.",
    )


def check_events() -> Check:
    """Are the newest events that Stripe has here as well?"""
    now = int(time.time())
    since = int(first_event(timezone.now()).timestamp())  # what is older was never sent to us
    span = {"gte": since, "lte": now - ON_THEIR_WAY}
    made = gateway().page("/v1/events", {"created": span}).data
    wanted = [str(each["id"]) for each in made if each.get("type") in HANDLED]
    if not wanted:
        return Check("newest events", True, "Stripe has none that we handle and were to get.")
    here = InboxEvent.objects.filter(stripe_event_id__in=wanted)
    missing = set(wanted) - set(here.values_list("stripe_event_id", flat=True))
    age = format_age(datetime.fromtimestamp(int(made[0]["created"]), UTC), timezone.now())
    if not missing:
        said = f"The newest {counted(len(wanted), 'event')} at Stripe are here, the last {age}."
        return Check("newest events", True, said)
    return Check(
        "newest events",
        False,
        f"{len(missing):,} of the newest {len(wanted):,} events at Stripe are not here:"
        f" {in_short(sorted(missing))}.",
        "Bring them in: manage.py recover_outage --since ..., or replay_events --missing.",
    )


def check_prices() -> Check:
    """Is every price that Stripe says is worth credits mapped here?"""
    mapped = set(CreditPrice.objects.values_list("price_id", flat=True))
    active = [
        each for page in gateway().pages("/v1/prices", {"active": True}) for each in page.data
    ]
    unmapped = [str(each["id"]) for each in active if hinted(each) and each["id"] not in mapped]
    known = sum(each["id"] in mapped for each in active)
    if not unmapped:
        said = f"{known:,} of the {counted(len(active), 'active price')} are mapped to credits."
        return Check("prices", True, said)
    return Check(
        "prices",
        False,
        f"Worth credits by their metadata, and not mapped here: {in_short(unmapped)}.",
        "Map them under Prices to credits, or let a sync do it: manage.py sync_from_stripe.",
    )


def hinted(price: StripeDict) -> bool:
    return bool((price.get("metadata") or {}).get(HINT))

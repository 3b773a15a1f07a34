"""Do Stripe's webhooks reach us? Each check says what it saw, and what to do about it."""

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
from django.conf import settings

from billing.gateway.client import Gateway, GatewayError, StripeNotConfiguredError, gateway
from billing.gateway.observation import StripeDict
from billing.ingress.handled import HANDLED
from billing.ingress.signature import sign
from billing.models import InboxEvent

PING = "ping"
PING_PREFIX = "evt_ping_"
ANSWER_WITHIN = 10  # seconds: as long as Checkout waits for an answer (STRIPE.md, Webhooks)
LOOK_EVERY = 0.1  # seconds
ENDPOINTS = "/v1/webhook_endpoints"
MINUTE = 60  # seconds: what is younger may be on its way
DAY = 24 * 60 * MINUTE
# Stripe counts as undelivered what any endpoint of the account did not take: where another one is
# down, its events fill pages before ours come.
PAGES = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be right. `advice` says what to do where it is not."""

    name: str
    ok: bool
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def webhook_url() -> str:
    """The address that Stripe has to send events to."""
    return f"{settings.PUBLIC_URL}/webhooks/stripe"


def check_webhooks(url: str, *, timeout: float) -> Iterator[Check]:
    """Every check, each as soon as it is known; what depends on a failed one is left out.

    `timeout` is in seconds: how long the ping may take until it is processed.
    """
    secret = check_secret()
    yield secret
    yield from check_endpoint(url)
    if secret.ok:
        yield from check_ping(url, timeout=timeout)


def check_secret() -> Check:
    """Is there a secret to verify signatures with?"""
    count = len(settings.STRIPE_WEBHOOK_SECRETS)
    if not count:
        return Check(
            "secret",
            False,
            "STRIPE_WEBHOOK_SECRET is not set: every webhook is refused.",
            "Set it to the endpoint's signing secret, whsec_..., and start the web server again.",
        )
    return Check("secret", True, f"{count} configured." if count > 1 else "Configured.")


def check_endpoint(url: str) -> Iterator[Check]:
    """Is the endpoint registered at Stripe, enabled, and told to send what we need?"""
    try:
        stripe = gateway()
        for check in endpoint_checks(stripe, url):
            yield check
            if check.name == "events":
                yield check_deliveries(stripe)
    except StripeNotConfiguredError as error:
        yield Check("endpoint", False, str(error), "Set STRIPE_SECRET_KEY.")
    except GatewayError as error:
        yield Check(
            "endpoint", False, str(error), "Check STRIPE_SECRET_KEY, its permissions, the network."
        )


def endpoint_checks(stripe: Gateway, url: str) -> Iterator[Check]:
    """What Stripe's list of endpoints says of ours. Raises a GatewayError."""
    endpoints = all_endpoints(stripe)
    endpoint = find_endpoint(endpoints, url)
    if endpoint is None:
        yield not_registered(endpoints, url)
        return
    yield Check("endpoint", True, f"{endpoint['id']} is registered for {url}.")
    yield check_status(endpoint)
    yield check_version(endpoint, stripe)
    yield check_types(endpoint)


def all_endpoints(stripe: Gateway) -> list[StripeDict]:
    """The account's, of this mode. Raises a GatewayError."""
    return [e for page in stripe.pages(ENDPOINTS) for e in page.data]


def find_endpoint(endpoints: list[StripeDict], url: str) -> StripeDict | None:
    """The endpoint with this address, an enabled one first, then one with our API version."""
    return next(iter(endpoints_at(endpoints, url)), None)


def endpoints_at(endpoints: Iterable[StripeDict], url: str) -> list[StripeDict]:
    """Those with this address: enabled ones first, of these the ones with our API version."""
    ours = [e for e in endpoints if str(e.get("url", "")).rstrip("/") == url.rstrip("/")]
    return sorted(ours, key=lambda e: (e.get("status") != "enabled", not has_our_version(e)))


def has_our_version(endpoint: StripeDict) -> bool:
    """Whether it says that its events are rendered at the version that we work with."""
    return bool(endpoint.get("api_version") == settings.STRIPE_API_VERSION)


def not_registered(endpoints: list[StripeDict], url: str) -> Check:
    others = ", ".join(str(endpoint.get("url")) for endpoint in endpoints[:5])
    return Check(
        "endpoint",
        False,
        f"No endpoint at Stripe has the address {url}."
        + (f" Registered are: {others}." if others else " None is registered."),
        "Run manage.py connect_stripe, or register it in Stripe's dashboard (Developers, Webhooks)"
        f" with API version {settings.STRIPE_API_VERSION}; or set PUBLIC_URL to the registered"
        " address.",
    )


def check_status(endpoint: StripeDict) -> Check:
    """Stripe disables an endpoint after days of failures (STRIPE.md, Webhooks)."""
    if endpoint.get("status") == "enabled":
        return Check("enabled", True, "Stripe sends events to it.")
    return Check(
        "enabled",
        False,
        f"The endpoint is {endpoint.get('status')}: Stripe sends nothing.",
        "Enable it in Stripe's dashboard, then bring in what was missed:"
        " manage.py recover_outage --since ...",
    )


def check_version(endpoint: StripeDict, stripe: Gateway) -> Check:
    """Events rendered at another version are understood, but cost a request each."""
    version, origin = endpoint.get("api_version"), "The endpoint"
    if version is None:
        # Then it follows the account, whose default is what listed events are rendered in.
        latest = stripe.page("/v1/events", {"limit": 1}).data
        if not latest:
            return Check(
                "version", True, "The endpoint follows the account, which has no events yet."
            )
        version, origin = latest[0].get("api_version"), "The endpoint follows the account, which"
    if version == settings.STRIPE_API_VERSION:
        return Check("version", True, f"{origin} has API version {version}.")
    return Check(
        "version",
        False,
        f"{origin} has API version {version}, and we work with {settings.STRIPE_API_VERSION}.",
        f"Make a new endpoint with API version {settings.STRIPE_API_VERSION} (it cannot be"
        " changed): manage.py connect_stripe --replace. Add its secret to STRIPE_WEBHOOK_SECRET,"
        " then disable the old one.",
    )


def check_types(endpoint: StripeDict) -> Check:
    """Is every type that we handle sent?"""
    enabled = set(endpoint.get("enabled_events") or [])
    missing = [] if "*" in enabled else sorted(HANDLED - enabled)
    if not missing:
        return Check("events", True, f"All {len(HANDLED)} types that we handle are sent.")
    return Check(
        "events",
        False,
        f"{len(missing)} of the {len(HANDLED)} types that we handle are not sent:"
        f" {', '.join(missing)}.",
        "Run manage.py connect_stripe, or add them to the endpoint in Stripe's dashboard.",
    )


def check_deliveries(stripe: Gateway) -> Check:
    """Did Stripe's own deliveries of the last day arrive? A wrong secret shows only here."""
    now = int(time.time())
    ids, more = undelivered(stripe, now - DAY, now - MINUTE)
    done = InboxEvent.objects.filter(stripe_event_id__in=ids, processed_at__isnull=False)
    missing = len(ids) - done.count()
    if not missing:
        return Check("deliveries", True, "Stripe delivered every event of the last day.")
    return Check(
        "deliveries",
        False,
        f"Stripe could not deliver {missing}{' or more' if more else ''} events of the"
        " last day, and they were not processed here.",
        "See why in Stripe's dashboard (Developers, Webhooks). After a wrong signature: set"
        " STRIPE_WEBHOOK_SECRET to the secret shown there. Then bring them in:"
        " manage.py recover_outage --since ...",
    )


def undelivered(stripe: Gateway, since: int, until: int) -> tuple[dict[str, int], bool]:
    """The events of types that we handle which some endpoint did not take, with their times.

    Which endpoint, Stripe does not say: where an application keeps one of its own, an event that
    waits for that one is here nevertheless, and only the inbox knows. Also whether there are more.
    """
    window = {"gte": since, "lte": until}
    found: dict[str, int] = {}
    for number, page in enumerate(
        stripe.pages("/v1/events", {"delivery_success": False, "created": window}), start=1
    ):
        found |= {str(e["id"]): int(e["created"]) for e in page.data if e.get("type") in HANDLED}
        if not page.has_more or number == PAGES:
            break
    return found, page.has_more


def check_ping(url: str, *, timeout: float) -> Iterator[Check]:
    """Sends an event that needs nothing to ourselves, signed, and follows it."""
    event_id = f"{PING_PREFIX}{uuid.uuid4().hex}"
    answer = send_ping(url, event_id)
    yield answer
    if answer.ok:
        yield follow(event_id, timeout=timeout)


def send_ping(url: str, event_id: str) -> Check:
    """Does the address answer a signed event like ours with 200?"""
    body = json.dumps(ping(event_id)).encode()
    signature = sign(body, settings.STRIPE_WEBHOOK_SECRETS[0])
    headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
    try:
        response = httpx.post(url, content=body, headers=headers, timeout=ANSWER_WITHIN)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Check(
            "answer",
            False,
            f"{url} could not be reached: {error or type(error).__name__}.",
            "Start the web server, and check that PUBLIC_URL leads to it from here.",
        )
    if response.is_success:
        return Check("answer", True, f"A signed ping was answered with {response.status_code}.")
    return Check(
        "answer",
        False,
        f"A signed ping was answered with {response.status_code}: {first_line(response.text)}",
        "With 400 and a wrong signature: start the web server again with the STRIPE_WEBHOOK_SECRET"
        " that is set here. With a redirect: give the address that it leads to.",
    )


def ping(event_id: str) -> StripeDict:
    """An event of a type that nothing handles."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": settings.STRIPE_API_VERSION,
        "created": int(time.time()),
        "data": {"object": {"id": event_id, "object": PING}},
        "livemode": settings.STRIPE_LIVE_MODE,
        "type": PING,
    }


def follow(event_id: str, *, timeout: float) -> Check:
    """Does a worker take the event from the inbox within `timeout` seconds?"""
    started = time.monotonic()
    while True:
        event = InboxEvent.objects.filter(stripe_event_id=event_id).first()
        elapsed = time.monotonic() - started
        if event is None or event.status not in InboxEvent.OPEN or elapsed > timeout:
            break
        time.sleep(LOOK_EVERY)
    if event is None:
        return Check(
            "worker",
            False,
            "The ping was answered, but is not in this database's inbox.",
            "Check that the web server and this command have the same DATABASE_URL.",
        )
    if event.status in (InboxEvent.Status.PROCESSED, InboxEvent.Status.IGNORED):
        return Check("worker", True, f"It was {event.status} after {elapsed:.1f} s.")
    return Check(
        "worker",
        False,
        f"It is {event.status} after {elapsed:.1f} s. {event.reason}".rstrip(),
        "Start a worker: manage.py run_worker."
        if event.status == InboxEvent.Status.PENDING
        else "Look at the event in the inbox.",
    )


def first_line(text: str) -> str:
    """What an answer says, short enough to be shown."""
    return (text.strip().splitlines() or ["(empty)"])[0][:200]

"""Does Stripe send what we need? Rules that ask Stripe itself, every ten minutes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from billing.alerts.firing import Firing, Look, Severity, counted, home_page, outage_page
from billing.diagnosis.webhooks import Check, check_secret, endpoint_checks, webhook_url
from billing.diagnosis.webhooks import undelivered as undelivered_at_stripe
from billing.formatting import format_time
from billing.gateway.client import StripeRefusedError, gateway
from billing.models import InboxEvent

EVERY_TEN_MINUTES = timedelta(minutes=10)
SILENT_LONG = timedelta(minutes=5)
ON_THEIR_WAY = timedelta(minutes=5)  # events of which Stripe's next try may still bring them
LOOKED_BACK = timedelta(days=3)  # for which Stripe tries again (STRIPE.md, Webhooks)
SINCE = "since"

# By the name of the check that fails (billing.diagnosis.webhooks).
TITLES = {
    "secret": "There is no secret to verify webhooks with",
    "endpoint": "No webhook endpoint at Stripe has our address",
    "enabled": "The webhook endpoint at Stripe is disabled",
    "version": "The webhook endpoint has another API version than ours",
    "events": "The webhook endpoint is not sent all the events that we need",
}
CAN_WAIT = ("version",)
RECOVER = "What was missed meanwhile: manage.py recover_outage brings it in."


def endpoint(look: Look) -> Iterator[Firing]:
    """The endpoint at Stripe is missing, disabled, or configured otherwise than we need it.

    It asks for Stripe's list of endpoints. Raises StripeUnavailableError.
    """
    secret = check_secret()
    if not secret.ok:
        yield misconfigured(secret)
    try:
        yield from map(misconfigured, failed(endpoint_checks(gateway(), webhook_url())))
    except StripeRefusedError as error:  # no key, a wrong one, or one that may not look
        yield Firing(
            "Stripe does not let us see the webhook endpoint",
            f"{str(error).rstrip('. ')}. Check STRIPE_SECRET_KEY and its permissions.",
            outage_page(),
            key="key",
        )


def failed(checks: Iterator[Check]) -> Iterator[Check]:
    return (check for check in checks if not check.ok)


def misconfigured(check: Check) -> Firing:
    severity = Severity.WARNING if check.name in CAN_WAIT else Severity.DANGER
    after = "" if check.name in CAN_WAIT else RECOVER
    detail = " ".join(filter(None, (check.detail, check.advice, after)))
    return Firing(TITLES[check.name], detail, outage_page(), severity, key=check.name)


def undelivered(look: Look) -> Iterator[Firing]:
    """Stripe could not deliver events of types that we handle, and our inbox lacks them.

    It asks for those of the past three days that are older than five minutes, at most a thousand.
    Raises StripeUnavailableError.
    """
    since = int((look.now - LOOKED_BACK).timestamp())
    try:
        made, has_more = undelivered_at_stripe(
            gateway(), since, int((look.now - ON_THEIR_WAY).timestamp())
        )
    except StripeRefusedError:  # said by the rule on the endpoint
        return
    here = InboxEvent.objects.filter(stripe_event_id__in=list(made))
    missing = made.keys() - set(here.values_list("stripe_event_id", flat=True))
    if not missing:
        return
    oldest = datetime.fromtimestamp(min(made[each] for each in missing), UTC)
    more = " or more" if has_more else ""
    yield Firing(
        "Stripe could not deliver events to us",
        f"{counted(len(missing), 'event')}{more}, the oldest of {format_time(oldest)}, never came"
        " here. See why in Stripe's dashboard (Developers, Webhooks) and with manage.py"
        " check_webhooks; manage.py recover_outage brings in what was missed.",
        outage_page(oldest),
    )


def silent(look: Look) -> Iterator[Firing]:
    """Stripe has not answered the other rules' questions for more than five minutes.

    The memory has since when, and Stripe's last word (`note_silence`).
    """
    since = look.memory.get(SINCE)
    if since is None or look.now - datetime.fromisoformat(since) <= SILENT_LONG:
        return
    yield Firing(
        "Stripe cannot be reached",
        f"Since {format_time(datetime.fromisoformat(since))}: {look.memory['error']} Events that"
        " come are kept, and what needs Stripe is tried again by itself. See"
        " https://status.stripe.com, and whether this machine's network lets us out.",
        home_page(),
    )


def note_silence(memory: dict[str, str], error: str, now: datetime) -> None:
    """Remembers that Stripe did not answer."""
    memory.setdefault(SINCE, now.isoformat())
    memory["error"] = f"{error.rstrip('. ')}."

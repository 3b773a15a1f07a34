"""The page that leads through an outage: is it one, what is critical, is it over, recover, compare.

What only Stripe can say is asked once the page is there, and never keeps it waiting.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.admin.alerted import alerted
from billing.admin.cells import changelist_url, page_url
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.operations import (
    OPEN_INCIDENT,
    START_RECONCILIATION,
    START_RECOVERY,
    OperationPage,
)
from billing.admin.recovery_words import progress_words, sentence_on
from billing.alerts.flow import newest_webhook
from billing.diagnosis.webhooks import (
    PING,
    Check,
    check_deliveries,
    check_secret,
    endpoint_checks,
    webhook_url,
)
from billing.formatting import format_age, format_time
from billing.gateway.client import GatewayError, gateway, giving_up_on_silence, only_looking
from billing.models import FindingRecord, InboxEvent, Recovery
from billing.models.incidents import open_incidents
from billing.operations import inputs
from billing.operations.base import InvalidInputError
from billing.operations.recoveries import ALL, CRITICAL
from billing.reconciliation import worklist
from billing.recovery.start import Start, proposed

TIME = "%Y-%m-%dT%H:%M:%S"
WHO_COMES_FIRST = (
    "Who has paid and has nothing for it comes first: subscriptions to activate, packs to grant."
    " Run it again and again for as long as the outage lasts."
)
WHAT_VERIFIES = (
    "On the server, the command sends a signed ping through the whole way and follows it until it"
    " is processed."
)


@dataclass(slots=True)
class Step:
    """One step: what it is, what is known of it (each with the page that shows it, or ''), the
    button, and the command that does the same."""

    title: str
    said: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[ShownOffer] = field(default_factory=list)
    command: str = ""
    asks_stripe: bool = False


@dataclass(frozen=True, slots=True)
class AtStripe:
    """What Stripe says of the endpoint; `silence` where it says nothing."""

    checks: list[Check]
    silence: str = ""


@require_GET
def outage_view(request: HttpRequest) -> HttpResponse:
    """The steps. `since` is when the trouble began; `ask=stripe` asks Stripe before it answers."""
    check_permission(request)
    start, wrong = asked_start(request)
    since = start.at.strftime(TIME)
    back = f"{reverse('admin:billing_outage')}?{urlencode({'since': since})}"
    context = {
        **admin.site.each_context(request),
        "title": "Outage, step by step",
        "alerted": alerted(request),
        "start": start,
        "since": since,
        "wrong": wrong,
        "steps": list(steps(start, request.user, back)),
        "at_stripe": at_stripe() if request.GET.get("ask") == "stripe" else None,
        "fragment_url": reverse("admin:billing_outage_at_stripe"),
        "ask_url": f"{back}&ask=stripe",
        "list_url": changelist_url(Recovery),
    }
    return TemplateResponse(request, "admin/billing/outage.html", context)


@require_GET
def at_stripe_view(request: HttpRequest) -> HttpResponse:
    """What Stripe says of the endpoint, alone."""
    check_permission(request)
    return render(request, "admin/billing/outage_at_stripe.html", {"at_stripe": at_stripe()})


def check_permission(request: HttpRequest) -> None:
    if not admin.site._registry[Recovery].has_view_permission(request):
        raise PermissionDenied


def asked_start(request: HttpRequest) -> tuple[Start, str]:
    """When the trouble began, as the address says or as is proposed; what is wrong with it."""
    typed = request.GET.get("since", "").strip()
    if not typed:
        return proposed(), ""
    try:
        return Start(inputs.moment(typed), "as you say"), ""
    except InvalidInputError as error:
        return proposed(), str(error)


def at_stripe() -> AtStripe:
    """The checks of the endpoint that only look."""
    checks = [check_secret()]
    try:
        with giving_up_on_silence(), only_looking():
            checks += [*endpoint_checks(gateway(), webhook_url()), check_deliveries(gateway())]
    except GatewayError as error:
        return AtStripe(checks, str(error))
    return AtStripe(checks)


def steps(start: Start, user: User, back: str) -> Iterator[Step]:
    """The five steps, as far as our own rows know them."""
    rows = Recovery.objects.filter(kind=Recovery.Kind.OUTAGE, until__gte=start.at)
    critical = rows.filter(critical_only=True).select_related("run").first()
    whole = rows.filter(critical_only=False).select_related("run").first()
    yield is_it_down(user, back)
    yield work_the_queue(start.at, critical, user, back)
    yield is_it_back()
    yield recover_all(start.at, whole, user, back)
    yield compare(whole, user, back)


def is_it_down(user: User, back: str) -> Step:
    step = Step("Is the endpoint down, and since when?", asks_stripe=True)
    step.command = "manage.py check_webhooks"
    step.said.append((came("Stripe's last delivery came", newest_webhook()), ""))
    if (incident := open_incidents().first()) is not None:
        step.said.append((f"The incident “{incident}” is open.", page_url(incident)))
    else:
        step.said.append(("No incident is open: open one, so that every page says so.", ""))
        step.buttons += button(OPEN_INCIDENT, user, {"back": back})
    return step


def work_the_queue(since: datetime, row: Recovery | None, user: User, back: str) -> Step:
    step = Step("While it is down: work what is critical, straight from Stripe")
    step.said.append((WHO_COMES_FIRST, ""))
    step.said.append(state(row, "It has not been worked yet."))
    given = {"target": since.strftime(TIME), "what": CRITICAL, "back": back}
    step.buttons += button(START_RECOVERY, user, given, "Work what is critical")
    step.command = f"manage.py recover_outage --since {since.strftime(TIME)} --critical"
    return step


def is_it_back() -> Step:
    pings = InboxEvent.objects.filter(type=PING).order_by("-received_at")
    ping = pings.values_list("received_at", flat=True).first()
    step = Step("Endpoint verified: is it back?", command="manage.py check_webhooks")
    step.said = [
        (WHAT_VERIFIES, ""),
        (came("Its last ping came", ping), ""),
        (came("Stripe's last delivery came", newest_webhook()), ""),
    ]
    return step


def recover_all(since: datetime, row: Recovery | None, user: User, back: str) -> Step:
    step = Step("Recover all that was missed, the oldest first")
    step.said.append(state(row, "It has not been recovered yet."))
    given = {"target": since.strftime(TIME), "what": ALL, "back": back}
    step.buttons += button(START_RECOVERY, user, given, "Recover all")
    step.command = f"manage.py recover_outage --since {since.strftime(TIME)}"
    return step


def compare(row: Recovery | None, user: User, back: str) -> Step:
    step = Step("Compare with Stripe: zero differences, or a list of them")
    if row is not None and row.run is not None:
        run = row.run
        left = worklist.open_findings().filter(run=run).count()
        found = f"{left:,} differences are open" if left else "nothing differs"
        said = f"The recovery's last look of {format_time(run.started_at)}: {found}."
        url = changelist_url(FindingRecord, run=str(run.pk), state="all") if left else page_url(run)
        step.said.append((said, url))
    else:
        step.said.append(("The recovery ends with it by itself.", ""))
    given = {"target": "full", "back": back}
    step.buttons += button(START_RECONCILIATION, user, given, "Compare everything")
    step.command = "manage.py reconcile full --fix"
    return step


def state(row: Recovery | None, never: str) -> tuple[str, str]:
    """What the newest recovery came to, and its page."""
    if row is None:
        return never, ""
    said, _ = sentence_on(row)
    words = f"{format_time(row.started_at)}, {row.actor}: {said or progress_words(row)}"
    return words, page_url(row)


def came(what: str, at: datetime | None) -> str:
    if at is None:
        return f"{what} never."
    return f"{what} at {format_time(at)}, {format_age(at, timezone.now())}."


def button(
    page: OperationPage, user: User, given: dict[str, Any], title: str = ""
) -> list[ShownOffer]:
    """The operation's button, for those who may use it."""
    if not page.is_permitted(user):
        return []
    return [ShownOffer(title or page.title, page.icon, page.url(given), "")]

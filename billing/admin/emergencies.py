"""What to do in an emergency: three procedures, step by step, each with its page and command.

A step shows what is so where that costs little. What is not installed or not permitted is left
out: a link that leads nowhere is worse than none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.management import get_commands
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET

from billing.admin.banner import open_now
from billing.admin.cells import page_url
from billing.admin.forms import User
from billing.admin.incident_forms import proposed_start
from billing.admin.operations import (
    CLOSE_INCIDENT,
    NOTE_INCIDENT,
    OPEN_INCIDENT,
    START_RECONCILIATION,
    TELL_OF_INCIDENT,
    OperationPage,
)
from billing.formatting import format_age
from billing.models import Alert, Assessment, Backup, Recovery, SmokeTest

# The rules that say that webhooks do not come in.
OF_WEBHOOKS = ("quiet", "endpoint", "undelivered", "refused")
Links = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what, where (words and address), by which command, and what is so."""

    text: str
    links: Sequence[tuple[str, str]] = ()
    command: str = ""
    state: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Procedure:
    """What to do in one kind of emergency, in order."""

    name: str
    title: str
    when: str
    steps: Sequence[Step]


@require_GET
def emergencies_view(request: HttpRequest) -> HttpResponse:
    """The procedures, for all who may see anything here."""
    if not request.user.has_module_perms("billing"):
        raise PermissionDenied
    desk = Desk(request)
    context = {
        **admin.site.each_context(request),
        "title": "Emergencies",
        "procedures": [of_webhooks(desk), of_database(desk), of_anything(desk)],
    }
    return TemplateResponse(request, "admin/billing/emergencies.html", context)


def link_to(model: str, user: User) -> str:
    """A list's address; '' where there is none, or none that the user may see."""
    if not user.has_perm(f"billing.view_{model}"):  # type: ignore[union-attr]
        return ""
    try:
        return reverse(f"admin:billing_{model}_changelist")
    except NoReverseMatch:
        return ""


def outage_url(user: User, since: str = "") -> str:
    """The page that leads through an outage; '' for those who may not see any."""
    if not link_to("recovery", user):
        return ""
    address = reverse("admin:billing_outage")
    return f"{address}?{urlencode({'since': since})}" if since else address


def installed(line: str) -> str:
    """A command line of ours; '' where there is no such command."""
    return f"manage.py {line}" if line.split()[0] in get_commands() else ""


class Desk:
    """What is so now, and what the user may open and do."""

    def __init__(self, request: HttpRequest) -> None:
        self.user = request.user
        self.now = timezone.now()
        self.incident = next(iter(open_now(request)), None)
        self.since = f"{self.incident.started_at:%Y-%m-%dT%H:%M:%S}" if self.incident else ""

    def lists(self, **titles: str) -> Links:
        """The lists of these models, by their titles, as far as they may be seen."""
        found = [(title, link_to(model, self.user)) for model, title in titles.items()]
        return [(title, url) for title, url in found if url]

    def button(self, page: OperationPage, title: str = "", **answers: str) -> Links:
        """An operation's page, filled in, for those who may run it."""
        if not page.is_permitted(self.user):
            return []
        return [(title or page.title, page.url({**answers, "back": reverse(HERE)}))]

    def on_incident(self, page: OperationPage) -> Links:
        """An operation on the open incident, if there is one."""
        return self.button(page, target=str(self.incident.pk)) if self.incident else []

    def number(self) -> str:
        return str(self.incident.pk) if self.incident else "NUMBER"

    def start(self) -> str:
        """Since when, for a command line."""
        return self.since or f"{self.now:%Y-%m-%d}T00:00"

    def newest(self, rows: Any, field: str, words: str, nothing: str) -> tuple[str, bool]:
        """What is known of the newest of some rows, and whether that is bad."""
        row = rows.order_by(f"-{field}").first()
        if row is None:
            return nothing, True
        return f"{words}: {row}, {format_age(getattr(row, field), self.now)}.", False


HERE = "admin:billing_emergencies"


def opening(desk: Desk) -> Step:
    """Everybody is to know that somebody is at it."""
    text = "Open an incident: every page says so, and what is done from then on belongs to it."
    if desk.incident:
        row = desk.incident
        links = [("Its page", page_url(row))]
        return Step(text, links, state=f"Open: “{row}”. {row.owner} looks after it.")
    links = desk.button(OPEN_INCIDENT, started_at=proposed_start())
    return Step(
        text, links, installed("open_incident 'WHAT IS WRONG' --reason WHY"), "None is open."
    )


def telling(desk: Desk) -> Step:
    text = "Tell the team, and whom it concerns. The incident's page says whether it arrived."
    line = f"tell_of_incident {desk.number()} --to team --message '...' --reason WHY"
    return Step(text, desk.on_incident(TELL_OF_INCIDENT), installed(line))


def closing(desk: Desk) -> Step:
    text = (
        "Close the incident once it is over. The form has a draft of the report; its figures are"
        " kept as they are then."
    )
    line = f"incident_report {desk.number()} --draft"
    return Step(text, desk.on_incident(CLOSE_INCIDENT), installed(line))


def comparing(desk: Desk, kind: str, text: str) -> Step:
    links = [
        *desk.button(START_RECONCILIATION, f"Start {kind} run", target=kind),
        *desk.lists(reconciliationrun="Runs", findingrecord="Findings"),
    ]
    return Step(text, links, installed(f"reconcile {kind}"))


def of_webhooks(desk: Desk) -> Procedure:
    """E1 to E9: while the endpoint is down, and once it is back."""
    return Procedure(
        "webhooks",
        "Webhooks do not come in",
        "Payments go through at Stripe, and nothing of it arrives here.",
        [
            firing(desk),
            opening(desk),
            telling(desk),
            recovering(
                desk,
                "While the endpoint is down: work the critical queue straight from Stripe, paid"
                " subscriptions first, then purchases.",
                "--critical ",
            ),
            Step(
                "Repair the endpoint: its address, its secret, our web server. The check sends"
                " itself a signed event and follows it until it is processed.",
                desk.lists(webhookrejection="Refused webhooks", inboxevent="Inbox"),
                installed("check_webhooks"),
            ),
            recovering(
                desk,
                "Recover all that was missed, the oldest first. It may be stopped and goes on where"
                " it was; what Stripe delivers meanwhile is not done twice.",
            ),
            comparing(desk, "daily", "Reconcile: what is left differs and is listed, or nothing."),
            closing(desk),
        ],
    )


def firing(desk: Desk) -> Step:
    """Which alerts about webhooks are open."""
    found = list(Alert.objects.filter(resolved_at=None, rule__in=OF_WEBHOOKS)[:3])
    state = " ".join(f"{row.title}." for row in found) or "No alert about webhooks is open."
    return Step(
        "See what fails, and since when.",
        [*desk.lists(alert="Alerts"), *[("This alert", page_url(row)) for row in found[:1]]],
        installed("check_webhooks"),
        state,
        is_bad=bool(found),
    )


def recovering(desk: Desk, text: str, flags: str = "") -> Step:
    """What an outage lost, and the last time it was brought back."""
    state, _ = desk.newest(
        Recovery.objects.defer("report"), "started_at", "The last", "Nothing was recovered so far."
    )
    leading = outage_url(desk.user, desk.since)
    links = [("Outage, step by step", leading)] if leading else []
    line = installed(f"recover_outage {flags}--since {desk.start()}")
    return Step(text, [*links, *desk.lists(recovery="Outages")], line, state)


def of_database(desk: Desk) -> Procedure:
    """D1 to D9: what is damaged, from what it comes back, and what only we knew."""
    return Procedure(
        "database",
        "The database is damaged or lost",
        "Rows are missing or wrong, or PostgreSQL does not start.",
        [
            opening(desk),
            telling(desk),
            assessing(desk),
            backing_up(desk),
            Step(
                "Restore it into a new database, which takes over only once it is whole. The"
                " damaged one is kept.",
                command=installed("restore latest"),
            ),
            Step(
                "Bring back what came after the backup: from Stripe, and from the export what only"
                " we knew. It lists what nobody knows any more.",
                desk.lists(recovery="Outages"),
                installed("recover_restore"),
            ),
            comparing(desk, "full", "Reconcile everything, and mend what differs."),
            smoking(desk),
            closing(desk),
        ],
    )


def assessing(desk: Desk) -> Step:
    state, is_bad = desk.newest(
        Assessment.objects.defer("checks", "users"),
        "started_at",
        "The last",
        "It was never assessed.",
    )
    return Step(
        "Find out what is damaged, and whom it touches.",
        desk.lists(assessment="Assessments"),
        installed("assess"),
        state,
        is_bad,
    )


def backing_up(desk: Desk) -> Step:
    good = Backup.objects.filter(verified_at__isnull=False, deleted_at=None).defer("manifest")
    state, is_bad = desk.newest(good, "taken_at", "The newest good one", "No good backup is known.")
    return Step(
        "See which backups there are. If the database still answers, make one of it as it is.",
        desk.lists(backup="Backups"),
        installed("backup --reason WHY"),
        state,
        is_bad,
    )


def smoking(desk: Desk) -> Step:
    state, _ = desk.newest(
        SmokeTest.objects.defer("steps"), "started_at", "The last", "None was ever run."
    )
    return Step(
        "Try the payment flows end to end, and watch for a while.",
        desk.lists(smoketest="Smoke tests"),
        installed("smoke"),
        state,
    )


def of_anything(desk: Desk) -> Procedure:
    """Whatever it is: somebody looks after it, and everybody knows."""
    return Procedure(
        "anything",
        "Something else",
        "Something is wrong as a whole, and nobody knows yet what.",
        [
            Step("See what is open.", desk.lists(alert="Alerts", findingrecord="Findings"),
                 installed("check_alerts")),
            opening(desk),
            Step(
                "Write down what you see and what you do.",
                desk.on_incident(NOTE_INCIDENT),
                installed(f"note_incident {desk.number()} 'WHAT YOU SEE' --reason WHY"),
            ),
            telling(desk),
            Step(
                "Look at one customer whom it touches: the page says what is wrong, and mends it.",
                desk.lists(billingcustomer="Customers"),
                installed("diagnose CUSTOMER"),
            ),
            comparing(desk, "daily", "Reconcile: it finds everybody whom it touches."),
            closing(desk),
        ],
    )  # fmt: skip

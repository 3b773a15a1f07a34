"""Outages: what each recovery came to, and the page that leads through one, step by step."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from billing.admin import cells, outage_page
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url, page_url
from billing.admin.filters import choices_filter, since_filter
from billing.admin.forms import User
from billing.admin.offers import ShownOffer
from billing.admin.operations import START_RECOVERY
from billing.admin.recovery_words import progress_words, sentence_on
from billing.admin.related import Table
from billing.admin.runs import Figures, duration_words
from billing.diagnosis.kinds import label_of
from billing.formatting import format_time
from billing.models import FindingRecord, MissedEvent, Recovery
from billing.operations.recoveries import ALL, CRITICAL
from billing.recovery import events, queue, reporting, words

Kind, Status = Recovery.Kind, Recovery.Status
SHOWN = 50  # of the queue, and of what failed
TONES = {Status.RUNNING: "info", Status.DONE: "success", Status.FAILED: "danger"}
MISSED_TONES = {"waiting": "info", "done": "success", "failed": "danger"}


def window_words(row: Recovery) -> str:
    return f"{format_time(row.since)} to {format_time(row.until)}"


def answers(row: Recovery) -> dict[str, str]:
    """The form as it starts the same recovery again."""
    return {
        "target": f"{row.since:%Y-%m-%dT%H:%M:%S}",
        "what": CRITICAL if row.critical_only else ALL,
        "until": f"{row.until:%Y-%m-%dT%H:%M:%S}",
    }


@admin.register(Recovery)
class RecoveryAdmin(ReadOnlyAdmin):
    list_display = (
        "what", "state", "window", "missed", "left", "took", "calls", "actor_words", "created",
    )  # fmt: skip
    related_columns = ("what", "state", "window", "missed", "left", "created")
    list_filter = (
        choices_filter("kind", Kind.choices),
        choices_filter("status", Status.choices),
        since_filter("started_at", "time"),
    )
    list_select_related = ("incident", "run")
    empty_text = "Nothing had to be recovered yet."
    list_before_template = "admin/billing/list_starts.html"  # type: ignore[assignment]  # a path
    change_form_template = "admin/billing/recovery.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("what", "state"),
                    "window",
                    ("missed", "left"),
                    ("took", "calls"),
                    ("actor_words", "incident_words"),
                    ("created", "finished"),
                    ("run_words", "history_words"),
                )
            },
        ),
    )

    window = cells.column(window_words, "Window (UTC)")
    took = cells.column(lambda row: cells.no_wrap(duration_words(row.seconds)), "Took")
    calls = cells.column(lambda row: f"{row.api_calls:,}", "API calls")
    missed = cells.column(lambda row: f"{row.report.get('missed', 0):,}", "Events missed")
    left = cells.column(lambda row: f"{reporting.waiting_for_people(row):,}", "Left to people")
    actor_words = cells.text_column("actor", "By")
    created = cells.time_column("started_at", "Started")
    finished = cells.time_column("finished_at", "Finished")

    @display(description="Recovery")
    def what(self, row: Recovery) -> str:
        what = ", what is critical" if row.critical_only else ""
        return f"{row.get_kind_display()}{what}"

    @display(description="State")
    def state(self, row: Recovery) -> str:
        return cells.label(str(row.get_status_display()), TONES[Status(row.status)])

    @display(description="Incident")
    def incident_words(self, row: Recovery) -> str:
        return cells.link(page_url(row.incident), str(row.incident)) if row.incident else "–"

    @display(description="Last look")
    def run_words(self, row: Recovery) -> str:
        if row.run is None:
            return cells.EMPTY
        return cells.link(page_url(row.run), f"{row.run.get_kind_display()} reconciliation")

    @display(description="Without events")
    def history_words(self, row: Recovery) -> str:
        return " ".join(words.of_history(row.report.get("not_as_events"))) or cells.EMPTY

    def headline(self, row: Recovery) -> tuple[str, str]:
        return sentence_on(row)

    def buttons(self, row: Recovery, user: User) -> list[ShownOffer]:
        leading = ShownOffer("Step by step", "checklist", leading_url(row), "")
        if row.kind != Kind.OUTAGE or not START_RECOVERY.is_permitted(user):
            return [leading]
        title = "Start it again" if row.status == Status.DONE else "Go on with it"
        url = START_RECOVERY.url({**answers(row), "back": page_url(row)})
        return [leading, ShownOffer(title, START_RECOVERY.icon, url, "")]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("step-by-step/", view(outage_page.outage_view), name="billing_outage"),
            path("at-stripe/", view(outage_page.at_stripe_view), name="billing_outage_at_stripe"),
            *super().get_urls(),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        context = {"starts": starts(request.user), **(extra_context or {})}
        return super().changelist_view(request, context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.defer("run__counts", "run__measures", "run__report")

    def page_context(self, request: HttpRequest, row: Recovery) -> dict[str, Any]:
        if row.status == Status.RUNNING:
            return {"is_running": True, "progress": progress_words(row)}
        return {
            "figures": [table for table in tables(row) if table.rows],
            "lists": [queue_table(row), failed_table(row)],
        }


def leading_url(row: Recovery | None = None) -> str:
    """The page that leads through an outage; `row` says since when."""
    address = reverse("admin:billing_outage")
    since = f"{row.since:%Y-%m-%dT%H:%M:%S}" if row else ""
    return f"{address}?{urlencode({'since': since})}" if since else address


def starts(user: User) -> list[ShownOffer]:
    """The buttons above the list."""
    leading = ShownOffer("Outage, step by step", "checklist", leading_url(), "")
    if not START_RECOVERY.is_permitted(user):
        return [leading]
    url = START_RECOVERY.url({"back": changelist_url(Recovery)})
    return [leading, ShownOffer(START_RECOVERY.title, START_RECOVERY.icon, url, "")]


def tables(row: Recovery) -> Iterator[Figures]:
    """The report's counts."""
    report = row.report
    listed = {events.COUNTED[n]: row.counts.get(n, 0) for n in events.COUNTED}
    yield counts_table("Stripe's list", "Events", listed)
    how = {words.MISSED_AS.get(n, n): c for n, c in report.get("missed_as", {}).items()}
    yield counts_table("How they were missed", "How", how)
    yield counts_table("What they were", "Type", report.get("types", {}))
    asked = {words.PURPOSES.get(n, n): c for n, c in row.counts.get("calls", {}).items()}
    yield counts_table("Requests to Stripe", "For what", asked)
    yield counts_table("Brought in from lists", "Objects", row.counts.get("brought_in", {}))
    differed = {label_of(kind): count for kind, count in report.get("differed", {}).items()}
    yield counts_table("What differed at first", "Kind", differed)
    yield mended_table(report)
    yield left_table(report)


def counts_table(title: str, heading: str, counts: Mapping[str, int]) -> Figures:
    made = Figures(title, [heading, "Number"])
    by_count = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    made.rows = [("", [str(name), f"{count:,}"]) for name, count in by_count if count]
    return made


def mended_table(report: Mapping[str, Any]) -> Figures:
    made = Figures("Mended", ["What", "Kind", "Result"])
    for each in report.get("mended", ()):
        made.rows.append(("", [each["subject"], label_of(each["kind"]), "mended"]))
    for each in report.get("tried_in_vain", ()):
        made.rows.append(("", [each["subject"], label_of(each["kind"]), each["why"]]))
    return made


def left_table(report: Mapping[str, Any]) -> Figures:
    """What differs still: each leads to its finding."""
    made = Figures("Left to people: differences", ["What", "Kind", "Verdict"])
    left = report.get("left") or {}
    for each in left.get("findings", ()):
        url = page_url(FindingRecord(pk=each["number"]))
        made.rows.append((url, [each["subject"], label_of(each["kind"]), each["says"]]))
    return made


def queue_table(row: Recovery) -> Table:
    """What is critical of it: what waits first, then by how critical it is."""
    top = words.queue_of(row, SHOWN)
    return Table(
        title=f"What is critical, the first {SHOWN}" if len(top) == SHOWN else "What is critical",
        headers=["What", "State", "Customer", "User", "At stake", "What was done", "Time (UTC)"],
        rows=[
            (
                cells.open_url(id=each.stripe_event_id),
                [
                    stake.what,
                    cells.label(str(each.get_status_display()), MISSED_TONES[each.status]),
                    cells.stripe_id(stake.customer_id),
                    cells.user(stake.user_id),
                    words.of_stake(stake) or cells.EMPTY,
                    cells.brief(each.said),
                    cells.time(each.created_at),
                ],
            )
            for each, stake in zip(top, queue.stakes(top), strict=True)
        ],
        empty="Nothing critical was missed.",
    )


def failed_table(row: Recovery) -> Table:
    """The events that could not be processed, the oldest first, each with why."""
    failed = row.events.filter(status=MissedEvent.Status.FAILED).defer("body")
    found = list(failed.order_by("-position")[: SHOWN + 1])
    return Table(
        title=f"Failed, the first {SHOWN}" if len(found) > SHOWN else "Failed",
        headers=["Event", "Type", "Why", "Time (UTC)"],
        rows=[
            (
                cells.open_url(id=each.stripe_event_id),
                [
                    cells.shorten(each.stripe_event_id),
                    each.type,
                    each.said or cells.EMPTY,
                    cells.time(each.created_at),
                ],
            )
            for each in found[:SHOWN]
        ],
        empty="No event failed.",
    )

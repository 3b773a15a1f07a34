"""The findings worklist: what differs, what is at stake, who looks after it, and its fix."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter, display
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from billing.admin import cells, fix_plan
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import open_url, page_url
from billing.admin.filters import choices_filter
from billing.admin.findings import AT_STAKE, TONES, page_of, shown
from billing.admin.offers import Offer
from billing.admin.operations import (
    ACCEPT_FINDING,
    FIX_FINDING,
    REOPEN_FINDING,
    SNOOZE_FINDING,
    TAKE_FINDING,
)
from billing.admin.related import Related
from billing.database import different
from billing.diagnosis import narrowing
from billing.diagnosis.findings import Finding, Fix, Severity
from billing.diagnosis.kinds import RECONCILED, Kind, label_of
from billing.formatting import format_age, format_time
from billing.gateway.client import GatewayError
from billing.incidents.scope import seen_in
from billing.models import FindingRecord, Incident, OperationRecord, ReconciliationRun
from billing.operations.findings import PREFIX, in_words, worth
from billing.reconciliation.looking import look_again
from billing.reconciliation.worklist import GRAVEST_FIRST, OPEN

State = FindingRecord.State

MOST_OWNERS = 100  # that the filter lists
MOST_CURRENCIES = 200  # Stripe has fewer
LISTED = 10  # runs and incidents
STATES: dict[str, tuple[str, Q]] = {
    "open": ("Open", OPEN),
    "snoozed": ("Put off", Q(state=State.SNOOZED, snoozed_until__gt=Now())),
    "accepted": ("Accepted", Q(state=State.ACCEPTED)),
    "resolved": ("Resolved", Q(state=State.RESOLVED)),
    "all": ("All", Q()),
}
STATE_TONES = {State.OPEN: "warning", State.SNOOZED: "info", State.RESOLVED: "success"}


class StateFilter(SimpleListFilter):
    """By state; what is open where nothing else is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, words) for value, (words, _) in STATES.items()]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        chosen = self.value() if self.value() in STATES else "open"
        for value, (words, _) in STATES.items():
            yield {
                "selected": value == chosen,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": words,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(STATES.get(self.value() or "", STATES["open"])[1])


class OwnerFilter(SimpleListFilter):
    """Mine, nobody's, or somebody else's."""

    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = different(FindingRecord, "owner", MOST_OWNERS)
        return [("me", "Mine"), ("nobody", "Nobody"), *((f"user:{n}", n) for n in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        if chosen == "me":
            return queryset.filter(owner=request.user.get_username())
        if chosen == "nobody":
            return queryset.filter(owner="")
        return queryset.filter(owner=chosen.removeprefix("user:")) if chosen else queryset


class CurrencyFilter(SimpleListFilter):
    """By the currency of what is at stake, or by its being credits."""

    title = "currency"
    parameter_name = "currency"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = different(FindingRecord, "currency", MOST_CURRENCIES)
        return [*((code, code.upper()) for code in found), ("none", "None")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value()
        return queryset.filter(currency="" if chosen == "none" else chosen) if chosen else queryset


class RunFilter(SimpleListFilter):
    """What a run found: it was known when the run ended, and seen since the run began."""

    title = "run"
    parameter_name = "run"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = ReconciliationRun.objects.all()
        found = [*rows[:LISTED], *rows.filter(pk__in=numbers([self.value() or ""]))]
        return [(str(run.pk), str(run)) for run in dict.fromkeys(found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        run = ReconciliationRun.objects.filter(pk__in=numbers([self.value() or ""])).first()
        if run is None:
            return queryset
        until = run.finished_at or timezone.now()
        return queryset.filter(first_seen_at__lte=until, last_seen_at__gte=run.started_at)


class IncidentFilter(SimpleListFilter):
    """What was first or last seen in the time of an incident."""

    title = "incident"
    parameter_name = "incident"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = Incident.objects.all()
        found = [*rows[:LISTED], *rows.filter(pk__in=numbers([self.value() or ""]))]
        return [(str(row.pk), str(row)) for row in dict.fromkeys(found)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        row = Incident.objects.filter(pk__in=numbers([self.value() or ""])).first()
        return queryset.filter(seen_in(row)) if row else queryset


FIXABLE = {"yes": Q(fix__isnull=False), "no": Q(fix__isnull=True)}


class FixFilter(SimpleListFilter):
    """Whether an operation mends it."""

    title = "fix"
    parameter_name = "fix"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "An operation mends it"), ("no", "A person has to see")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(FIXABLE.get(self.value() or "", Q()))


def numbers(texts: list[str]) -> list[int]:
    """Those of the texts that can be a row's number."""
    return [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]


def target(row: FindingRecord) -> str:
    """How operations name it: by its number, which no id of anything else can be taken for."""
    return f"{PREFIX}{row.pk}"


def is_resolved(row: FindingRecord) -> str:
    return "it is resolved." if row.state == State.RESOLVED else ""


def operations_of(row: FindingRecord) -> QuerySet[OperationRecord]:
    """The work on the finding, and what was done since to what it is about."""
    ids = {str(fact["id"]) for fact in row.evidence if fact.get("id")}
    ids |= {row.subject, row.user_id, row.stripe_customer_id} - {""}
    own = Q(subject=f"{PREFIX}{row.pk}") | Q(key__in={row.operation_key, row.resolved_by})
    return OperationRecord.objects.filter(
        own | Q(subject__in=ids, created_at__gte=row.first_seen_at)
    )


def changed_since(row: FindingRecord) -> OperationRecord | None:
    """The newest operation that may have mended it since it was last seen."""
    applied = operations_of(row).filter(
        status=OperationRecord.Status.APPLIED, finished_at__gt=row.last_seen_at
    )
    return applied.exclude(subject=f"{PREFIX}{row.pk}").first()


def ask_fix(
    model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, queryset: QuerySet[Any]
) -> HttpResponse | None:
    """The list's action: drafts of jobs, shown with their plans. It changes nothing."""
    return fix_plan.draft_and_show(model_admin, request, queryset)


@admin.register(FindingRecord)
class FindingAdmin(ReadOnlyAdmin):
    list_display = (
        "what", "whose", "stake", "mended_by", "owner_words", "age", "state_words",
        "verdict_brief", "last_seen",
    )  # fmt: skip
    related_columns = ("what", "verdict_brief", "stake", "owner_words", "state_words", "last_seen")
    sortable_by = ("last_seen",)
    list_filter = (
        StateFilter,
        choices_filter("severity", [(str(s), AT_STAKE[s]) for s in Severity]),
        choices_filter("kind", [(k.value, k.label) for k in Kind if k in RECONCILED]),
        OwnerFilter,
        CurrencyFilter,
        FixFilter,
        RunFilter,
        IncidentFilter,
    )
    customer_field = "stripe_customer_id"
    search_fields = ("subject",)
    search_help_text = "Id, email, user, customer or words of the verdict"
    empty_text = "Nothing differs. Reconciliation runs every day and looks for it."
    change_form_template = "admin/billing/finding_record.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state_words", "owner_words"),
                    ("user", "customer"),
                    "reason_words",
                    ("first_seen", "last_seen"),
                    ("resolved", "resolved_words"),
                )
            },
        ),
    )
    offers = (
        Offer(TAKE_FINDING, target=target, refusal=is_resolved),
        Offer(SNOOZE_FINDING, target=target, refusal=is_resolved),
        Offer(
            ACCEPT_FINDING,
            target=target,
            refusal=lambda row: (
                "it is accepted." if row.state == State.ACCEPTED else is_resolved(row)
            ),
        ),
        Offer(
            REOPEN_FINDING,
            target=target,
            refusal=lambda row: "it is open." if row.state == State.OPEN else is_resolved(row),
        ),
    )
    related = (
        Related(
            "Operations",
            OperationRecord,
            "Nobody has done anything about it yet.",
            rows=operations_of,
            query=lambda row: row.subject,
        ),
        Related(
            "Last found by",
            ReconciliationRun,
            "Its run is gone.",
            rows=lambda row: ReconciliationRun.objects.filter(pk=row.run_id),
            query=lambda row: "",
        ),
    )

    verdict_brief = cells.brief_column("verdict", "Verdict")
    owner_words = cells.column(lambda row: row.owner or "nobody", "Owner")
    user = cells.user_column()
    customer = cells.customer_column()
    first_seen = cells.time_column("first_seen_at", "First seen")
    last_seen = cells.time_column("last_seen_at", "Last seen")
    resolved = cells.time_column("resolved_at", "Resolved")

    @display(description="What")
    def what(self, row: FindingRecord) -> str:
        return cells.label(label_of(row.kind), TONES[Severity(row.severity)])

    @display(description="Whose")
    def whose(self, row: FindingRecord) -> str:
        """Stripe's customer by email, or else the user of ours."""
        if not row.stripe_customer_id:
            return cells.user(row.user_id)
        return cells.stripe_id(
            row.stripe_customer_id, words=getattr(row, "customer_email", "") or ""
        )

    @display(description="Mended by")
    def mended_by(self, row: FindingRecord) -> str:
        return page_of(Fix.read(row.fix)).title if row.fix else "a person"

    @display(description="At stake")
    def stake(self, row: FindingRecord) -> str:
        return cells.no_wrap(worth(row)) if worth(row) else cells.EMPTY

    @display(description="Age")
    def age(self, row: FindingRecord) -> str:
        age = format_age(row.first_seen_at, timezone.now())
        return cells.no_wrap(age.removesuffix(" ago"))

    @display(description="State")
    def state_words(self, row: FindingRecord) -> str:
        is_back = row.state == State.SNOOZED and is_due(row)
        words = "Open again" if is_back else in_words(row)
        return cells.label(words, STATE_TONES.get(State(row.state), ""))

    @display(description="Reason")
    def reason_words(self, row: FindingRecord) -> str:
        if not row.state_reason:
            return cells.EMPTY
        return cells.paragraph(f"{row.state_by}: {row.state_reason}")

    @display(description="Resolved by")
    def resolved_words(self, row: FindingRecord) -> str:
        if row.resolved_by in ("", FindingRecord.ITSELF):
            return row.resolved_by or cells.EMPTY
        return cells.link(open_url(id=f"operation:{row.resolved_by}"), "an operation")

    def get_ordering(self, request: HttpRequest) -> Any:
        return GRAVEST_FIRST

    def find(self, rows: QuerySet[FindingRecord], term: str) -> QuerySet[FindingRecord]:
        named = narrowing.people(term)
        return rows.filter(
            Q(subject=term)
            | Q(stripe_customer_id__in=named.customers | {term})
            | Q(user_id__in=named.users)
            | Q(verdict__icontains=term)
        )

    def headline(self, row: FindingRecord) -> tuple[str, str]:
        if row.state == State.RESOLVED:
            by = "by itself" if row.resolved_by == FindingRecord.ITSELF else "by an operation"
            return f"Resolved {by}: it is so no more.", "success"
        if done := changed_since(row):
            return (
                f"{done.actor} has done something about it since it was last seen. Look again to"
                " know whether it is still so."
            ), "info"
        if row.state == State.ACCEPTED:
            return f"{row.state_by} has accepted it: {row.state_reason}", "info"
        if row.state == State.SNOOZED and row.snoozed_until and not is_due(row):
            return (
                f"{row.state_by} has put it off until {format_time(row.snoozed_until)}:"
                f" {row.state_reason}"
            ), "info"
        return "", ""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        if FIX_FINDING.is_permitted(request.user):
            fix = (ask_fix, FIX_FINDING.name, FIX_FINDING.title)
            actions = {FIX_FINDING.name: fix, **actions}
        return actions

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("fix/", view(fix_plan.fix_plan_view), name="billing_fix_plan"),
            path("<int:pk>/look-again/", view(look_again_view), name="billing_look_again"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: FindingRecord) -> dict[str, Any]:
        is_resolved = row.state == State.RESOLVED
        may_look = TAKE_FINDING.is_permitted(request.user) and not is_resolved
        again = reverse("admin:billing_look_again", args=[row.pk]) if may_look else ""
        return {
            "found": shown(Finding.of_record(row), request.user, page_url(row)),
            "is_resolved": is_resolved,
            "look_again_url": again,
        }


def is_due(row: FindingRecord) -> bool:
    """Whether the time is over until which it was put off."""
    return row.snoozed_until is not None and row.snoozed_until <= timezone.now()


@require_POST
def look_again_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Asks Stripe anew, and resolves the finding where it is so no more."""
    if not TAKE_FINDING.is_permitted(request.user):
        raise PermissionDenied
    row = get_object_or_404(FindingRecord, pk=pk)
    try:
        if look_again(row):
            messages.warning(request, "It is still so.")
        else:
            messages.success(request, "It is so no more.")
    except GatewayError as error:
        messages.error(request, f"Stripe did not say: {error}")
    return redirect(page_url(row))

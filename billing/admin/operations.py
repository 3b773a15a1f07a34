"""Running an operation from the admin: its form, what it would do, what it did.

One page for all of them, at `operations/<name>/`. GET shows the form, or at once the plan
where the address says all that is needed; it changes nothing. POST previews and applies.
The idempotency key is made when the page is first shown and stays with it, so that a
double click, a reload or the back button finds what was done already.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from billing import tasks
from billing.addresses import address
from billing.admin.account_forms import (
    ChangeRightsForm,
    ResetSecondFactorForm,
    SwitchOffForm,
    SwitchOnForm,
)
from billing.admin.alerted import alerted
from billing.admin.assessment_forms import RunAssessmentForm
from billing.admin.backup_forms import MakeBackupForm
from billing.admin.cells import open_url, page_url
from billing.admin.closing_forms import (
    CheckMonthForm,
    ReopenMonthForm,
    ReviewMonthForm,
    SignMonthForm,
)
from billing.admin.credit_forms import (
    AttributeForm,
    EraseForm,
    GrantPurchaseForm,
    MergeForm,
    RefundClaimForm,
    TakeBackForm,
    TieOutForm,
)
from billing.admin.finding_forms import (
    AcceptFindingForm,
    FixFindingForm,
    ReopenFindingForm,
    SignOffForm,
    SnoozeFindingForm,
    StartReconciliationForm,
    TakeFindingForm,
)
from billing.admin.forms import (
    WHY,
    CorrectForm,
    EverythingForm,
    GrantForm,
    OperationForm,
    ReactivateForm,
    ReplayForm,
    SyncForm,
    User,
)
from billing.admin.incident_forms import (
    CloseIncidentForm,
    HandOverIncidentForm,
    NoteIncidentForm,
    OpenIncidentForm,
    TellOfIncidentForm,
)
from billing.admin.invoice_forms import CancelForm, MarkPaidForm, PayForm, ResendForm, VoidForm
from billing.admin.link_forms import BillingLinkForm, CheckoutLinkForm, PortalLinkForm
from billing.admin.note_forms import AddNoteForm, WithdrawNoteForm
from billing.admin.recovery_forms import StartRecoveryForm
from billing.admin.replay_forms import ReplayMissedForm
from billing.admin.subscription_forms import EndOverrideForm, OverrideForm, RecordForm
from billing.gateway.client import GatewayError
from billing.models import OperationRecord
from billing.operations import bulk
from billing.operations.base import (
    Actor,
    AnyOperation,
    OperationError,
    Plan,
    PlanChangedError,
    Result,
)

PLAN_SECONDS = 8.0  # after which a page shows the plans that it has
APPLY_SECONDS = 15.0  # after which it shows what is done, and a button to go on


@dataclass(frozen=True, slots=True)
class OperationPage:
    """One operation as the admin runs it."""

    name: str
    icon: str
    form: type[OperationForm]
    title: str
    in_background: bool = False  # it takes too long for a page

    @property
    def operation(self) -> type[AnyOperation]:
        return self.form.operation

    @property
    def again(self) -> str:
        """What invites to do it once more; '' where nothing does."""
        return self.operation.again

    def is_permitted(self, user: User) -> bool:
        return user.has_perm(self.operation.permission)  # type: ignore[union-attr]

    def url(self, answers: Mapping[str, str] | None = None) -> str:
        """Where it is, with some of the form's answers."""
        query = QueryDict(mutable=True)
        query.update(answers or {})
        path = address("admin:billing_operation", self.name)
        return f"{path}?{query.urlencode()}" if query else path


SYNC = OperationPage("sync", "sync", SyncForm, "Sync from Stripe")
SYNC_EVERYTHING = OperationPage(
    "sync-everything", "sync", EverythingForm, "Sync everything from Stripe", in_background=True
)
GRANT = OperationPage("grant-credits", "add_circle", GrantForm, "Grant credits")
CORRECT = OperationPage("correct-balance", "balance", CorrectForm, "Correct balance")
REACTIVATE = OperationPage("reactivate", "restart_alt", ReactivateForm, "Reactivate subscription")
REPLAY = OperationPage("replay", "replay", ReplayForm, "Replay event")
REPLAY_MISSED = OperationPage(
    "replay-missed", "history_toggle_off", ReplayMissedForm, "Replay what was missed"
)
RECORD = OperationPage("record-subscription", "post_add", RecordForm, "Record subscription")
OVERRIDE = OperationPage("override-status", "edit_attributes", OverrideForm, "Override status")
END_OVERRIDE = OperationPage(
    "end-override", "settings_backup_restore", EndOverrideForm, "End status override"
)
ADD_NOTE = OperationPage("add-note", "note_add", AddNoteForm, "Add note")
WITHDRAW_NOTE = OperationPage("withdraw-note", "strikethrough_s", WithdrawNoteForm, "Withdraw note")
CANCEL = OperationPage("cancel", "event_busy", CancelForm, "Cancel at period end")
RESEND = OperationPage("resend-invoice", "forward_to_inbox", ResendForm, "Send invoice again")
PAY = OperationPage("pay-invoice", "credit_score", PayForm, "Retry payment")
MARK_PAID = OperationPage(
    "mark-invoice-paid", "price_check", MarkPaidForm, "Mark as paid elsewhere"
)
VOID = OperationPage("void-invoice", "block", VoidForm, "Void invoice")
PORTAL = OperationPage("portal-link", "link", PortalLinkForm, "Portal link")
BILLING_PAGE = OperationPage("billing-link", "contact_page", BillingLinkForm, "Billing page link")
CHECKOUT = OperationPage("checkout-link", "add_shopping_cart", CheckoutLinkForm, "Checkout link")
GRANT_PURCHASE = OperationPage(
    "grant-purchase", "shopping_bag", GrantPurchaseForm, "Grant this purchase"
)
ATTRIBUTE = OperationPage("attribute-payment", "person_search", AttributeForm, "Attribute payment")
REFUND_CLAIM = OperationPage("refund-claim", "undo", RefundClaimForm, "Give credits back")
TAKE_BACK = OperationPage("take-back-credits", "remove_circle", TakeBackForm, "Take back credits")
TIE_OUT = OperationPage("tie-out-balance", "join_inner", TieOutForm, "Tie out balance")
ERASE = OperationPage("erase-customer", "person_off", EraseForm, "Erase customer")
MERGE = OperationPage("merge-customers", "merge", MergeForm, "Merge another customer")
TAKE_FINDING = OperationPage("take-finding", "back_hand", TakeFindingForm, "Take")
SNOOZE_FINDING = OperationPage("snooze-finding", "snooze", SnoozeFindingForm, "Put off")
ACCEPT_FINDING = OperationPage("accept-finding", "handshake", AcceptFindingForm, "Accept as it is")
REOPEN_FINDING = OperationPage("reopen-finding", "restart_alt", ReopenFindingForm, "Open again")
FIX_FINDING = OperationPage("fix-finding", "build", FixFindingForm, "Fix")
START_RECONCILIATION = OperationPage(
    "start-reconciliation", "rule", StartReconciliationForm, "Start reconciliation"
)
SIGN_OFF = OperationPage("sign-off-run", "verified", SignOffForm, "Sign off")
OPEN_INCIDENT = OperationPage(
    "open-incident", "e911_emergency", OpenIncidentForm, "Open an incident"
)
HAND_OVER_INCIDENT = OperationPage(
    "hand-over-incident", "move_up", HandOverIncidentForm, "Hand over"
)
NOTE_INCIDENT = OperationPage("note-incident", "edit_note", NoteIncidentForm, "Write a note")
TELL_OF_INCIDENT = OperationPage("tell-of-incident", "campaign", TellOfIncidentForm, "Tell others")
CLOSE_INCIDENT = OperationPage("close-incident", "task_alt", CloseIncidentForm, "Close incident")
MAKE_BACKUP = OperationPage("make-backup", "backup", MakeBackupForm, "Make a backup")
RUN_ASSESSMENT = OperationPage("assess", "troubleshoot", RunAssessmentForm, "Assess the database")
START_RECOVERY = OperationPage(
    "start-recovery", "healing", StartRecoveryForm, "Recover what was missed"
)
CHECK_MONTH = OperationPage("check-month", "rule", CheckMonthForm, "Check against Stripe")
SIGN_MONTH = OperationPage("sign-month", "draw", SignMonthForm, "Sign month")
REVIEW_MONTH = OperationPage("review-month", "lock", ReviewMonthForm, "Review and close")
REOPEN_MONTH = OperationPage("reopen-month", "lock_open", ReopenMonthForm, "Open month again")
CHANGE_RIGHTS = OperationPage(
    "change-rights", "admin_panel_settings", ChangeRightsForm, "Change rights"
)
SWITCH_OFF = OperationPage("switch-off-account", "person_off", SwitchOffForm, "Switch off")
SWITCH_ON = OperationPage("switch-on-account", "person_add", SwitchOnForm, "Switch on")
RESET_FACTOR = OperationPage(
    "reset-second-factor", "phonelink_erase", ResetSecondFactorForm, "Reset second factor"
)

ALL = (
    SYNC, SYNC_EVERYTHING, GRANT, CORRECT, REACTIVATE, REPLAY, REPLAY_MISSED, RECORD, OVERRIDE,
    END_OVERRIDE, ADD_NOTE, WITHDRAW_NOTE, CANCEL, RESEND, PAY, MARK_PAID, VOID, PORTAL, CHECKOUT,
    BILLING_PAGE,
    GRANT_PURCHASE, ATTRIBUTE, REFUND_CLAIM, TAKE_BACK, TIE_OUT, MERGE, ERASE,
    TAKE_FINDING, SNOOZE_FINDING, ACCEPT_FINDING, REOPEN_FINDING, FIX_FINDING,
    START_RECONCILIATION, SIGN_OFF,
    OPEN_INCIDENT, HAND_OVER_INCIDENT, NOTE_INCIDENT, TELL_OF_INCIDENT, CLOSE_INCIDENT,
    MAKE_BACKUP, RUN_ASSESSMENT, START_RECOVERY,
    CHECK_MONTH, SIGN_MONTH, REVIEW_MONTH, REOPEN_MONTH,
    CHANGE_RIGHTS, SWITCH_OFF, SWITCH_ON, RESET_FACTOR,
)  # fmt: skip
PAGES = {page.name: page for page in ALL}


@dataclass(slots=True)
class Preview:
    """What would happen to one target; without a plan or an error it was not looked at yet."""

    target: str
    plan: Plan | None = None
    error: str = ""

    @property
    def obstacle(self) -> str:
        """Why it cannot be applied to this target; '' where it can."""
        return self.error or (self.plan.blocked if self.plan else "")


@dataclass(slots=True)
class Outcome:
    """What happened to one target; without a result or an error it waits for its turn."""

    target: str
    key: str
    result: Result | None = None
    error: str = ""
    changed: bool = False
    record_url: str = ""

    @property
    def target_url(self) -> str:
        return open_url(id=self.target)


@require_http_methods(["GET", "POST"])
def operation_view(request: HttpRequest, name: str) -> HttpResponse:
    """The page of one operation. 404 for an unknown one, 403 without its permission."""
    page = PAGES.get(name)
    if page is None:
        raise Http404(f"There is no operation {name}.")
    if not page.is_permitted(request.user):
        raise PermissionDenied
    if request.method == "GET":
        return open_page(request, page, request.GET)
    if "_apply" in request.POST:
        return apply(request, page)
    if "_change" in request.POST:
        return show_form(request, page, page.form.asking(request.POST))
    return preview(request, page, page.form.answered(request.POST, need_reason=False))


def open_page(request: HttpRequest, page: OperationPage, answers: QueryDict) -> HttpResponse:
    """The plan, if the answers are all that is needed; else the form with them filled in."""
    form = page.form.answered(answers, need_reason=False)
    if form.is_valid():
        return preview(request, page, form)
    return show_form(request, page, page.form.asking(answers))


def preview(
    request: HttpRequest,
    page: OperationPage,
    form: OperationForm,
    wrong: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> HttpResponse:
    """What it would do to each target, and the form to apply it to those that it can."""
    if not form.is_valid():
        return show_form(request, page, form)
    previews = plan_all(form, request.user)
    form.keep_targets([each.target for each in previews if not each.obstacle])
    form.remember({each.target: each.plan for each in previews if each.plan})
    form.freeze()
    more = {"previews": previews, "why": why(form, wrong), "refusal": wrong.get("", ())}
    return render(request, page, form, more)


def apply(request: HttpRequest, page: OperationPage) -> HttpResponse:
    """Does it to one target after another, and shows what came of each."""
    form = page.form.answered(request.POST, need_reason=True)
    again = page.form.answered(request.POST, need_reason=False)
    if form.errors and set(form.errors) <= set(WHY):
        return preview(request, page, again, {n: list(map(str, e)) for n, e in form.errors.items()})
    if form.errors:
        return show_form(request, page, form)
    if page.in_background:
        return hand_to_worker(request, page, form)
    outcomes = apply_all(form, request.user)
    if len(outcomes) == 1 and outcomes[0].changed:
        return preview(request, page, again, {"": [outcomes[0].error]})
    link_records(outcomes)
    form.freeze()
    waiting = [each for each in outcomes if not each.result and not each.error]
    return render(request, page, form, {"outcomes": outcomes, "waiting": waiting})


def hand_to_worker(request: HttpRequest, page: OperationPage, form: OperationForm) -> HttpResponse:
    """Starts a job of the worker's, once however often it is clicked, and leads to it."""
    actor, answers = Actor.of(request.user), form.arguments()
    targets, key = form.cleaned_data["target"], form.cleaned_data["key"]
    job = bulk.draft(page.operation, targets, answers=answers, actor=actor, key=key)
    why = {name: form.cleaned_data[name] for name in WHY}
    bulk.start(job, answers=answers, actor=actor, **why)
    tasks.wake_bulk_job(job.pk)
    return redirect("admin:billing_bulkjob_change", job.pk)


def plan_all(form: OperationForm, user: User) -> list[Preview]:
    """Each target's plan, until the time for it is over."""
    until = time.monotonic() + PLAN_SECONDS
    previews = []
    for target, common in form.operations(user):
        each = Preview(target)
        if time.monotonic() < until:
            try:
                each.plan = form.build(target, common).plan()
            except (OperationError, GatewayError) as error:
                each.error = str(error)
        previews.append(each)
    return previews


def apply_all(form: OperationForm, user: User) -> list[Outcome]:
    """Each target's result, until the time for it is over. One failure stops no other."""
    until = time.monotonic() + APPLY_SECONDS
    outcomes = []
    for target, common in form.operations(user):
        each = Outcome(target, common["key"])
        if time.monotonic() < until:
            try:
                each.result = form.build(target, common).apply(seen=form.digests.get(target))
            except OperationError as error:
                each.error = str(error)
                each.changed = isinstance(error, PlanChangedError)
        outcomes.append(each)
    return outcomes


def link_records(outcomes: list[Outcome]) -> None:
    """Points each outcome to the record of its operation, where there is one."""
    records = OperationRecord.objects.filter(key__in=[each.key for each in outcomes])
    urls = {record.key: page_url(record) for record in records.only("id", "key")}
    for each in outcomes:
        each.record_url = urls.get(each.key, "")


def why(form: OperationForm, wrong: Mapping[str, Sequence[str]]) -> list[tuple[Any, Sequence[str]]]:
    """The fields that ask why, each with what is wrong with its answer."""
    return [(form[name], wrong.get(name, ())) for name in WHY]


def show_form(request: HttpRequest, page: OperationPage, form: OperationForm) -> HttpResponse:
    return render(request, page, form, {})


def render(
    request: HttpRequest, page: OperationPage, form: OperationForm, more: Mapping[str, Any]
) -> TemplateResponse:
    back = str(form["back"].value() or "")
    context = {
        **admin.site.each_context(request),
        "title": page.title,
        "alerted": alerted(request) if request.method == "GET" else None,
        "page": page,
        "form": form,
        "action": page.url(),
        "back": back if url_has_allowed_host_and_scheme(back, allowed_hosts=None) else "",
        **more,
    }
    return TemplateResponse(request, "admin/billing/operation.html", context)

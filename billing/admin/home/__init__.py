"""The home page: what needs a person, whether webhooks flow, and how the business goes."""

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from billing.admin.home import alerts, backups, findings, flow, incidents, money, runs, sections
from billing.admin.home.figures import TONES, Figure, Section
from billing.admin.operations import GRANT, RECORD, REPLAY_MISSED, SYNC, SYNC_EVERYTHING
from billing.permissions import VIEW_INCIDENT

__all__ = ["Figure", "Section", "dashboard"]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds the home page's sections to Unfold's context, as far as the user may see them."""
    context["title"] = "Home"
    now = timezone.now()
    may_view = request.user.has_perm
    shown: list[Section] = []
    if may_view("billing.view_alert"):
        context["alerts"] = alerts.open_alerts(now)
    if may_view(VIEW_INCIDENT):
        shown.append(incidents.section(request, now))
    if may_view("billing.view_findingrecord"):
        shown.append(findings.section())
    if may_view("billing.view_operationrecord"):
        shown.append(sections.operations(now))
        context["operations_table"] = sections.latest_operations()
    if may_view("billing.view_inboxevent"):
        newest = flow.newest()
        context["nothing_received"] = newest is None
        shown.append(sections.webhooks(newest, now))
        shown[-1].charts = flow.charts(now)
    if may_view("billing.view_purchase"):
        shown.append(sections.purchases())
        if may_view("billing.view_creditentry"):
            shown[-1].charts = [money.credits_by_day(now)]
    if may_view("billing.view_reconciliationrun"):
        shown.append(runs.section(now))
    if may_view("billing.view_backup"):
        shown.append(backups.section(now))
    shown.sort(key=lambda section: TONES.index(section.tone))
    if may_view("billing.view_billingpayment") and may_view("billing.view_paymentreversal"):
        shown.append(money.revenue(now))
    context["sections"] = shown
    context["shortcuts"] = [
        page
        for page in (GRANT, SYNC, SYNC_EVERYTHING, RECORD, REPLAY_MISSED)
        if page.is_permitted(request.user)
    ]
    return context

"""The open alerts that lead to a page: who follows one finds its words, and what to do, there."""

from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from billing.admin.cells import page_url
from billing.models import Alert

MOST = 3


@dataclass(frozen=True, slots=True)
class Alerted:
    """Alerts with their pages, and where it says what to do in an emergency."""

    shown: list[tuple[Alert, str]]
    emergencies: str


def alerted(request: HttpRequest) -> Alerted:
    """Those that lead to this very page; none for those who may not see alerts."""
    if not request.user.has_perm("billing.view_alert"):
        return Alerted([], "")
    found = Alert.objects.filter(resolved_at=None, page=request.get_full_path())[:MOST]
    shown = [(row, page_url(row)) for row in found]
    return Alerted(shown, reverse("admin:billing_emergencies"))

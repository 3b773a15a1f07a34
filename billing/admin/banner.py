"""The line on every page that says that an incident is open."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from billing.admin.cells import changelist_url, page_url
from billing.models import Incident
from billing.models.incidents import open_incidents
from billing.permissions import VIEW_INCIDENT

MOST = 10
IN_BANNER = 3
CACHE = "_open_incidents"  # the request's attribute


def open_now(request: HttpRequest) -> list[Incident]:
    """The incidents that are open, one more than `MOST` at most: asked for once a request.

    None for those who may not see them.
    """
    if not hasattr(request, CACHE):
        user = getattr(request, "user", None)
        may_view = user is not None and user.has_perm(VIEW_INCIDENT)
        setattr(request, CACHE, list(open_incidents()[: MOST + 1]) if may_view else [])
    found: list[Incident] = getattr(request, CACHE)
    return found


@dataclass(frozen=True, slots=True)
class Banner:
    """The first of the incidents with their pages; `more` leads to all, where there are more."""

    shown: list[tuple[Incident, str]]
    more: str


def banner(request: HttpRequest) -> Banner:
    found = open_now(request)
    more = changelist_url(Incident, state="open") if len(found) > IN_BANNER else ""
    return Banner([(row, page_url(row)) for row in found[:IN_BANNER]], more)


def context(request: HttpRequest) -> dict[str, Any]:
    """For every template, as `incident_banner`; nothing is asked where none shows it."""
    return {"incident_banner": SimpleLazyObject(lambda: banner(request))}

"""Where an operation is offered: as an action on selected rows, as a button on a row's page."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.utils.safestring import SafeString

from billing.admin.cells import button, page_url
from billing.admin.forms import User
from billing.admin.operations import SYNC, OperationPage, open_page
from billing.operations import bulk
from billing.operations.base import Actor

AT_ONCE = 20  # rows that a page takes; more are a job of the worker's


def nothing_more(row: Any) -> dict[str, str]:
    return {}


def no_objection(row: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class ShownOffer:
    """A button; where the operation makes no sense for the row, the sentence that says why."""

    title: str
    icon: str
    url: str
    refusal: str

    @property
    def button(self) -> SafeString:
        return button(self.url, self.icon, self.title)


@dataclass(frozen=True, slots=True)
class Offer:
    """An operation on the rows of one table.

    `target` is what the operation is about, of a row; '' where it is not known and must be
    typed. `answers` are more of the form's fields. `refusal` says why a row's page has no
    button; '' where it has one. A `single` one is not for several rows at once.
    """

    page: OperationPage
    target: Callable[[Any], str]
    answers: Callable[[Any], dict[str, str]] = field(default=nothing_more)
    refusal: Callable[[Any], str] = field(default=no_objection)
    single: bool = False

    def on(self, row: Any, user: User) -> ShownOffer | None:
        """The button on a row's page; None without the permission."""
        if not self.page.is_permitted(user):
            return None
        answers = {**self._answers(row), "back": page_url(row)}
        return ShownOffer(
            self.page.title, self.page.icon, self.page.url(answers), self.refusal(row)
        )

    def _answers(self, row: Any) -> dict[str, str]:
        answers = {"target": self.target(row), **self.answers(row)}
        return {name: value for name, value in answers.items() if value}

    def to_query(self, rows: list[Any]) -> QueryDict:
        """The form's answers for several rows. What one row adds, all must have."""
        query = QueryDict(mutable=True)
        query.setlist("target", [target for row in rows if (target := self.target(row))])
        for name, value in self.answers(rows[0]).items():
            query[name] = value
        return query


def sync_offer(kind: str, field: str) -> Offer:
    """A sync of one row, by the field that has its Stripe id."""
    return Offer(
        SYNC, target=lambda row: str(getattr(row, field)), answers=lambda row: {"kind": kind}
    )


def bulk_action(offer: Offer) -> Callable[..., HttpResponse | None]:
    """The offer as an action on a list. It shows the operation's page, and changes nothing."""

    def run(
        model_admin: "admin.ModelAdmin[Any]", request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        rows = list(queryset[: AT_ONCE + 1])
        several = len(rows) > AT_ONCE
        if several:
            rows = list(queryset[: bulk.MOST + 1])
        if objection := _objection(offer, rows):
            model_admin.message_user(request, objection, messages.ERROR)
            return None
        if several:
            return _to_job(offer, request, rows)
        query = offer.to_query(rows)
        query["back"] = request.get_full_path()
        return open_page(request, offer.page, query)

    return run


def _to_job(offer: Offer, request: HttpRequest, rows: list[Any]) -> HttpResponse:
    """A draft of a job with these rows, to be looked at and started there."""
    job = bulk.draft(
        offer.page.operation,
        (offer.target(row) for row in rows),
        answers=offer.answers(rows[0]),
        actor=Actor.of(request.user),
    )
    return redirect("admin:billing_bulkjob_change", job.pk)


def _objection(offer: Offer, rows: list[Any]) -> str:
    """Why the selected rows cannot go to the operation's page together; '' if they can."""
    if len(rows) > bulk.MOST:
        return f"That is too many at once: at most {bulk.MOST:,}. Select fewer rows."
    nameless = [str(row) for row in rows if not offer.target(row)]
    if nameless and len(rows) > 1:
        return f"It is not known whose these are: {', '.join(nameless[:5])}. Open them one by one."
    alike = len({tuple(sorted(offer.answers(row).items())) for row in rows}) <= 1
    if not alike or (offer.single and len(rows) > 1):
        return f"{offer.page.title} takes these one at a time: select a single row."
    return ""

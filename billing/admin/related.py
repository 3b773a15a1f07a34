"""Rows of other tables that a row's page shows below its own fields."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import starmap
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import conditional_escape, escape
from django.utils.safestring import SafeString, mark_safe

from billing.admin.cells import changelist_url, page_url
from billing.diagnosis.narrowing import events_of
from billing.models import BillingEvent, InboxEvent, OperationRecord

CELL = "border-t border-base-200 px-3 py-2 dark:border-base-800"
LEADS = "font-semibold text-important underline"
SHOWN = 10  # rows of each table; a link leads to the others


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as the templates show them. `cells` are texts, or HTML that is marked as safe."""

    title: str
    headers: list[str]
    rows: list[tuple[str, list[str]]]  # the address of the row's page or '', and its cells
    empty: str
    more: str = ""  # the address of the whole list, where not all is shown

    @property
    def body(self) -> SafeString:
        """Its rows, the first cell of each as a link to the row's page if it has one. They are
        written here: a template takes several times as long for a page's hundreds of cells."""
        return mark_safe("".join(starmap(_row, self.rows)))  # noqa: S308  (each cell is escaped)


def _row(url: str, cells: list[str]) -> str:
    first, *others = map(conditional_escape, cells)
    linked = f'<a href="{escape(url)}" class="{LEADS}">{first}</a>' if url else first
    written = [f'<td class="{CELL}">{cell}</td>' for cell in (linked, *others)]
    return f"<tr>{''.join(written)}</tr>"


@dataclass(frozen=True, slots=True)
class Related:
    """The newest rows of another table that belong to a row.

    `rows` finds them, or has them already; `query` is what to search the other table's list
    for to see them all. The columns are the `related_columns` of the other table's admin.
    """

    title: str
    model: type[Model]
    empty: str
    rows: Callable[[Any], QuerySet[Any] | list[Any]]
    query: Callable[[Any], str | None]

    def table(self, request: HttpRequest, row: Model) -> Table | None:
        """None for those who may not see the other table."""
        other: Any = admin.site._registry[self.model]
        if not other.has_view_permission(request):
            return None
        found = list(self.rows(row)[: SHOWN + 1])
        columns = [getattr(other, name) for name in other.related_columns]
        return Table(
            title=self.title,
            headers=[column.short_description for column in columns],
            rows=[(page_url(one), [column(one) for column in columns]) for one in found[:SHOWN]],
            empty=self.empty,
            more=(
                changelist_url(self.model, q=self.query(row) or "") if len(found) > SHOWN else ""
            ),
        )


def matching(title: str, model: type[Model], field: str, attribute: str, empty: str) -> Related:
    """Rows whose `field` equals the row's `attribute`; none where that is empty."""

    def rows(row: Any) -> QuerySet[Any]:
        value = getattr(row, attribute)
        others = model._default_manager.all()
        return others.filter(**{field: value}) if value else others.none()

    return Related(title, model, empty, rows, attrgetter(attribute))


def events_about(attribute: str) -> Related:
    """The log's events about the object that `attribute` names."""
    return Related(
        "Latest events",
        BillingEvent,
        "No event.",
        rows=lambda row: events_of(objects=[getattr(row, attribute)]),
        query=attrgetter(attribute),
    )


def inbox_about(attribute: str) -> Related:
    """Stripe's events about the object that `attribute` names, processed or not."""
    empty = "No event has come about it: it came with a sync, or with another object's event."
    return matching("Latest in the inbox", InboxEvent, "object_id", attribute, empty)


def operations_on(attribute: str, title: str = "Operations") -> Related:
    """What people did to what `attribute` names."""
    return matching(
        title, OperationRecord, "subject", attribute, "Nobody has changed anything by hand."
    )

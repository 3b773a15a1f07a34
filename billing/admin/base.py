"""What the pages of all our tables have in common: look, do not touch, and find related rows.

Rows change through operations only (DESIGN, rule 6). A list offers them as actions on the
selected rows, a row's page as buttons (billing.admin.offers).
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.paginator import Paginator
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.admin import checkbox
from unfold.templatetags import unfold_list
from unfold.views import ChangeList

from billing.admin.alerted import alerted
from billing.admin.export import Exportable
from billing.admin.filters import span_words
from billing.admin.forms import User
from billing.admin.offers import Offer, ShownOffer, bulk_action
from billing.admin.related import Related
from billing.models import BillingCustomer

PER_PAGE = 50
MOST_COUNTED = 10_000  # rows; beyond, a list says "more than" and must be narrowed
NOT_RECEIVED = (
    "It appears when Stripe's first event arrives, or after a sync. The home page says"
    " whether webhooks flow."
)


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # no generic at run time
    """Counts, and pages through, the first 10,000 rows: counting millions takes seconds."""

    template_name = "admin/billing/pagination.html"

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return min(rows.order_by()[: MOST_COUNTED + 1].count(), MOST_COUNTED)

    @property
    def is_complete(self) -> bool:
        return self.count < MOST_COUNTED


class BoundedChangeList(ChangeList):
    """Says how many rows a search or filter left only where it counted them all."""

    @cached_property
    def headers(self) -> list[dict[str, Any]]:
        """Of its columns. Unfold works them out for each row anew: a fifth of a page's time."""
        return list(_result_headers(self))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        narrowed = self.query or self.has_active_filters
        if not (narrowed and self.paginator.is_complete):
            self.full_result_count = self.result_count


def _headers_of(shown: ChangeList) -> Iterable[dict[str, Any]]:
    return shown.headers if isinstance(shown, BoundedChangeList) else _result_headers(shown)


_result_headers: Callable[[ChangeList], Iterable[dict[str, Any]]] = unfold_list.result_headers
unfold_list.result_headers = _headers_of


@lru_cache
def _checkbox() -> str:
    """Of a row, rendered once: a list has fifty, each of them three templates."""
    return str(checkbox.render(ACTION_CHECKBOX_NAME, "{}"))


class ReadOnlyAdmin(Exportable):
    """A table that is looked at: searched, filtered, paged through, never edited.

    Subclasses say what they are found by (`find`), what operations they offer, which
    related rows their page shows, and what an empty list means.
    """

    paginator = BoundedPaginator
    list_per_page = PER_PAGE
    list_max_show_all = PER_PAGE
    list_fullwidth = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by: ClassVar[tuple[str, ...]] = ("created",)
    actions_selection_counter = True

    offers: ClassVar[tuple[Offer, ...]] = ()
    related: ClassVar[tuple[Related, ...]] = ()
    related_columns: ClassVar[tuple[str, ...]] = ()  # where other pages show these rows
    empty_text: ClassVar[str] = "Nothing here yet."
    customer_field: ClassVar[str] = ""  # with a Stripe customer's id, whose email lists show

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        if not self.customer_field:
            return rows
        customer = BillingCustomer.objects.filter(stripe_customer_id=OuterRef(self.customer_field))
        annotated: QuerySet[Any] = rows.annotate(customer_email=Subquery(customer.values("email")))
        return annotated

    def find(self, rows: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that a search for `term` finds. Overridden where there is a search."""
        return rows.none()

    def headline(self, row: Any) -> tuple[str, str]:
        """A sentence that stands above everything on the row's page, and its tone."""
        return "", ""

    def buttons(self, row: Any, user: User) -> list[ShownOffer]:
        """Further buttons on the row's page, after the operations."""
        return []

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the template of the row's page shows besides; asked for before all else of it.
        Overridden where it has its own."""
        return {}

    @admin.display(description=Exportable.action_checkbox.short_description)  # type: ignore[attr-defined]
    def action_checkbox(self, row: Model) -> SafeString:
        return format_html(_checkbox(), row.pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return BoundedChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """As `find` says."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if "\x00" in term:
            return queryset.none(), False
        return self.find(queryset, term), False

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """An action on the selected rows for each operation that is offered and permitted."""
        return {
            offer.page.name: (bulk_action(offer), offer.page.name, offer.page.title)
            for offer in self.offers
            if offer.page.is_permitted(request.user)
        }

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        title, span = capfirst(self.opts.verbose_name_plural), span_words(request.GET.dict())
        context = {
            "title": f"{title}, {span}" if span else title,
            "alerted": alerted(request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if obj is not None:
            context |= self.page_context(request, obj)
            text, tone = self.headline(obj)
            context |= {
                "headline": {"text": text, "tone": tone} if text else None,
                "offers": [
                    *(o for offer in self.offers if (o := offer.on(obj, request.user))),
                    *self.buttons(obj, request.user),
                ],
                "tables": [t for each in self.related if (t := each.table(request, obj))],
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

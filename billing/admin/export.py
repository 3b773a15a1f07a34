"""A list as CSV: all rows that its search and filters find, streamed."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from billing.database import directly
from billing.operations.base import Actor
from billing.operations.finance import record_export
from billing.permissions import EXPORT
from billing.revenue.exporting import Echo, safe

CHUNK = 2000  # rows read at a time, so that memory stays flat however long the list is


class Exportable(ModelAdmin):
    """Adds `export/` beside a changelist, for those who may export.

    Money is in minor units and times are ISO 8601 in UTC, as they are stored.
    """

    not_exported: tuple[str, ...] = ()

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name=self._export_name), *super().get_urls()]

    @property
    def _export_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_export"

    def export_url(self, request: HttpRequest) -> str:
        """The address of the list as it is filtered now; '' for those who may not export."""
        if not request.user.has_perm(EXPORT):
            return ""
        query = request.GET.urlencode()
        return reverse(f"admin:{self._export_name}") + (f"?{query}" if query else "")

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Django's, which also knows where its rows are to be had as a file."""
        changelist: ChangeList = super().get_changelist_instance(request)
        changelist.export_url = self.export_url(request)  # type: ignore[attr-defined]
        return changelist

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not (self.has_view_permission(request) and request.user.has_perm(EXPORT)):
            raise PermissionDenied
        rows: QuerySet[Any] = self.get_changelist_instance(request).queryset
        fields = [f for f in self.opts.concrete_fields if f.name not in self.not_exported]
        what = str(self.opts.verbose_name_plural)
        record_export(Actor.of(request.user), what, request.GET.urlencode(), "csv")
        name = f"{self.opts.db_table}-{datetime.now(UTC):%Y%m%d-%H%M%S}.csv"
        return StreamingHttpResponse(
            lines(rows, fields),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


def lines(rows: QuerySet[Any], fields: "list[Field[Any, Any]]") -> Iterator[str]:
    """The header and one line a row."""
    writer = csv.writer(Echo())
    yield str(writer.writerow([field.name for field in fields]))
    values = rows.values_list(*[field.name for field in fields])
    for row in directly(values).iterator(chunk_size=CHUNK):
        yield str(writer.writerow([cell(value) for value in row]))


def cell(value: Any) -> Any:
    """A value as CSV holds it. A text that a spreadsheet would run is quoted by an apostrophe."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, dict | list):
        return safe(json.dumps(value, ensure_ascii=False))
    return safe(value) if isinstance(value, str) else value

"""Months on their way to a close: what is done, their figures, and what came since."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import JSONField, QuerySet
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.filters import choices_filter
from billing.admin.finance import rendering
from billing.admin.finance.rendering import Shown, with_query
from billing.admin.offers import Offer
from billing.admin.operations import CHECK_MONTH, REOPEN_MONTH, REVIEW_MONTH, SIGN_MONTH
from billing.admin.related import Related
from billing.admin.runs import Figures, money_words
from billing.formatting import format_time
from billing.models import MonthClose, OperationRecord
from billing.operations.closing import PREFIX, no_reopening, no_review, no_signature
from billing.revenue import closing, revenue
from billing.revenue.asked import Asked
from billing.revenue.balance_report import (
    BALANCE,
    CATEGORIES,
    NOTHING_READ,
    TITLES,
    bridge_columns,
    of_balance,
    of_bridge,
    of_category,
)
from billing.revenue.bridge_days import PARTS
from billing.revenue.checklist import checklist
from billing.revenue.closing_report import CHANGED, CONCERNING
from billing.revenue.figures import MONEY
from billing.revenue.report import Column, Drill, Row, Table

SHOWN = 20  # entries that came since; the report of closed months has all
State = MonthClose.State
TONES = {State.OPEN: "warning", State.SIGNED: "info", State.CLOSED: "success", State.REOPENED: ""}
REVENUE = (Column("currency", "Currency"), *MONEY)

# What the kept days of a month leave, by currency, and how many days are kept.
_KEPT = """
    FROM billing_bridge_days b
    WHERE b.zone = billing_month_closes.timezone AND b.day >= billing_month_closes.month
      AND b.day < (billing_month_closes.month + interval '1 month')
"""
_REMAINDER = f"""
    (SELECT jsonb_object_agg(currency, remainder) FROM (
        SELECT b.currency, sum(b.remainder)::bigint AS remainder {_KEPT} AND b.remainder <> 0
        GROUP BY 1) kept)
"""  # noqa: S608
_DAYS = f"(SELECT count(DISTINCT b.day) {_KEPT})"


@admin.register(MonthClose)
class MonthAdmin(ReadOnlyAdmin):
    list_display = ("name", "state_label", "remainder", "since", "signed", "reviewed")
    related_columns = ("name", "state_label", "signed", "reviewed")
    list_filter = (choices_filter("state", State.choices),)
    empty_text = "No month is over yet. The worker adds each when it is."
    change_form_template = "admin/billing/month.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "state_label"),
                    ("signed_words", "reviewed_words"),
                    "explanation_words",
                    "reopened_words",
                    ("checked", "frozen_words"),
                )
            },
        ),
    )
    offers = (
        Offer(CHECK_MONTH, target=str, single=True),
        Offer(SIGN_MONTH, target=str, refusal=no_signature, single=True),
        Offer(REVIEW_MONTH, target=str, refusal=no_review, single=True),
        Offer(REOPEN_MONTH, target=str, refusal=no_reopening, single=True),
    )
    related = (
        Related(
            "Operations",
            OperationRecord,
            "Nobody has signed or checked it.",
            rows=lambda row: OperationRecord.objects.filter(subject=f"{PREFIX}{row}"),
            query=lambda row: f"{PREFIX}{row}",
        ),
    )

    name = cells.column(str, "Month", "month")
    signed = cells.text_column("signed_by", "Signed by")
    reviewed = cells.text_column("reviewed_by", "Reviewed by")
    explanation_words = cells.paragraph_column("explanation", "What explains the open points")
    checked = cells.time_column("checked_at", "Checked against Stripe")

    @display(description="State")
    def state_label(self, row: MonthClose) -> str:
        return cells.label(str(row.get_state_display()), TONES[State(row.state)])

    @display(description="Remainder")
    def remainder(self, row: Any) -> str:
        missing = len(closing.month_of(row).days.dates) - row.days_kept
        words = [f"not explained: {money_words(row.remainders)}"] if row.remainders else []
        words += [f"{missing} days not read"] if missing else []
        return ", ".join(words) or "none"

    @display(description="Came since")
    def since(self, row: MonthClose) -> str:
        later = row.later.items()
        return since_words({kind: sum(sums["count"] for sums in found) for kind, found in later})

    @display(description="Signed")
    def signed_words(self, row: MonthClose) -> str:
        return said(row.signed_by, row.signed_at, row.signed_word)

    @display(description="Reviewed")
    def reviewed_words(self, row: MonthClose) -> str:
        return said(row.reviewed_by, row.reviewed_at, row.reviewed_word)

    @display(description="Opened again")
    def reopened_words(self, row: MonthClose) -> str:
        return said(row.reopened_by, row.reopened_at, row.reopened_word)

    @display(description="Frozen")
    def frozen_words(self, row: MonthClose) -> str:
        if not row.hash:
            return cells.EMPTY
        words = '{} entries, SHA-256 <span style="overflow-wrap: anywhere">{}</span>'
        return format_html(words, f"{row.entries:,}", row.hash)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.defer("figures", "checklist").annotate(
            remainders=RawSQL(_REMAINDER, [], output_field=JSONField()),  # noqa: S611
            days_kept=RawSQL(_DAYS, []),  # noqa: S611
        )
        return annotated

    def headline(self, row: Any) -> tuple[str, str]:
        if row.state != State.CLOSED:
            return "", ""
        counts = {kind: found[0]["in_all"] for kind, found in row.came_since.items() if found}
        words = f"It is closed. Since then: {since_words(counts)}."
        return (words, "warning") if counts else ("", "")

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        month = closing.month_of(row)
        row.came_since = closing.first(row, SHOWN + 1) if row.state == State.CLOSED else {}
        figures = closing.figures(month) if row.state == State.OPEN else row.figures
        return {
            "stage": row.stage,
            "said": [checklist_of(row, figures)],
            "figures": list(figures_of(row, figures)),
        }


def figures_of(row: MonthClose, figures: Mapping[str, Any]) -> Iterator[tuple[Shown, str]]:
    """What came since the month was closed, and its figures: as signed, or as they are now.

    Each with the address of the report that has it.
    """
    month = closing.month_of(row)
    is_open = row.state == State.OPEN
    about = "As they are now." if is_open else "As they were signed."
    asked = Asked(month.first, month.last, month.timezone, by="month")
    if row.state == State.CLOSED:
        yield from since_tables(row, asked)
    for report, table in tables_of(row, asked, figures, about):
        yield (
            rendering.shown(
                table if is_open or table.name == "revenue" else replace(table, drill=None),
                partial(behind, "closing" if row.state == State.CLOSED else report, asked),
            ),
            with_query(reverse("admin_finance:report", args=[report]), asked.params()),
        )


def tables_of(
    row: MonthClose, asked: Asked, figures: Mapping[str, Any], about: str
) -> Iterator[tuple[str, Table]]:
    """Each table with the name of the report that has it for any days."""

    def entries(figure: Row, column: str, *, settled: bool = False) -> Drill | None:
        return revenue.drill_of(asked, figure, column, settled=settled)

    def frozen(figure: Row, column: str) -> Drill | None:
        if column != "net":
            return None
        return {"of": "closed", "close": str(row.pk), "in": figure["currency"]}

    charged = {State.OPEN: entries, State.CLOSED: frozen}.get(State(row.state))
    yield "revenue", Table(
        "revenue", "Revenue, in the currency charged", REVENUE, figures["revenue"], about,
        drill=charged,
    )  # fmt: skip
    yield "revenue", Table(
        "settled_revenue", "Revenue, in the currency settled", REVENUE[:-2], figures["settled"],
        about, drill=partial(entries, settled=True),
    )  # fmt: skip
    for part, title in TITLES.items():
        columns, found = bridge_columns(PARTS[part]), figures["bridges"][part]
        yield (
            "balance",
            Table(part, title, columns, found, about, NOTHING_READ, drill=of_bridge(part)),
        )
    title = "Bridge 3: from net to payouts"
    yield "balance", Table("balance", title, BALANCE, figures["balance"], about, drill=of_balance)
    found = [{**each, "period": 1} for each in figures["categories"]]
    title = "By reporting category"
    yield "balance", Table("categories", title, CATEGORIES[1:], found, about, drill=of_category)


def behind(report: str, asked: Asked, drill: Drill) -> str:
    """The address of the rows behind a figure of the month."""
    return with_query(reverse("admin_finance:rows", args=[report]), {**asked.params(), **drill})


def checklist_of(row: MonthClose, figures: Mapping[str, Any]) -> Figures:
    """The checklist: as it is now, or as it was signed."""
    if row.state == State.OPEN:
        points = [point.as_dict() for point in checklist(closing.month_of(row), figures)]
    else:
        points = row.checklist
    rows = [("", [p["title"], "done" if p["done"] else "OPEN", p["said"]]) for p in points]
    return Figures("Checklist", ["What is looked at", "State", "What was found"], rows)


def since_tables(row: Any, asked: Asked) -> Iterator[tuple[Shown, str]]:
    """The first entries that came since a month was closed, by what they mean for it."""
    url = with_query(reverse("admin_finance:report", args=["closing"]), asked.params())
    for title, columns, kind in (
        ("Came since, and would change the month", CHANGED, "changed"),
        ("Booked in a later month, of this one's charges", CONCERNING, "concerning"),
    ):
        table = Table("since", title, columns, row.came_since[kind])
        shown = rendering.page(table, 0, SHOWN, lambda start: url)
        if shown.rows:
            yield shown, url


def since_words(counts: Mapping[str, int]) -> str:
    """How many entries of each kind came since a month was closed, in words."""
    kinds = (("changed", "would change it"), ("concerning", "concern its charges"))
    found = ((counts.get(kind), what) for kind, what in kinds)
    return ", ".join(f"{count:,} that {what}" for count, what in found if count) or cells.EMPTY


def said(by: str, at: datetime | None, word: str) -> str:
    """Who said it, when, and their word."""
    return cells.paragraph(f"by {by}, {format_time(at)}: {word}") if at else cells.EMPTY

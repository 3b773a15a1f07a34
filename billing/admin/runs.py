"""Reconciliation runs: what was compared, what differed, how sure it is, and who signed it off."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin import display
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst

from billing.admin import cells
from billing.admin.base import ReadOnlyAdmin
from billing.admin.cells import changelist_url, page_url
from billing.admin.filters import choice_filter, choices_filter, since_filter
from billing.admin.forms import User
from billing.admin.offers import Offer, ShownOffer
from billing.admin.operations import SIGN_OFF, START_RECONCILIATION
from billing.admin.related import Related
from billing.admin.run_charts import run_charts
from billing.diagnosis.kinds import label_of
from billing.formatting import format_money, format_time
from billing.models import (
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    FindingRecord,
    OperationRecord,
    PaymentReversal,
    Purchase,
    ReconciliationRun,
)
from billing.operations import runs
from billing.operations.runs import PREFIX
from billing.reconciliation.measures import EXPLANATIONS

Kind = ReconciliationRun.Kind
Status = ReconciliationRun.Status

LISTS = {
    "subscription": BillingSubscription,
    "invoice": BillingInvoice,
    "charge": BillingPayment,
    "checkout.session": Purchase,
    "refund": PaymentReversal,
    "dispute": PaymentReversal,
    "event": BillingEvent,
}
FIRST = (
    "date",
    "id",
    "user_id",
    "currency",
    "amount",
    "all",
    "stripe",
    "here",
)  # where no order is known
# In which order the weekly report's tables say things, as far as it matters (billing.revenue).
COLUMNS: dict[str, tuple[str, ...]] = {
    "top": ("user_id", "claims", "credits", "mean", "spread", "periods"),
    "outliers": ("user_id", "direction", "claims", "credits", "mean", "spread", "periods"),
    "collected": (
        "date", "currency", "invoices", "customer_balance", "credit_notes", "out_of_band", "packs",
        "returned", "timing", "charges", "remainder",
    ),
    "settled": (
        "date", "currency", "charges", "timing", "exchanged", "refunds", "disputes", "failed",
        "fees", "other", "net", "remainder",
    ),
    "exchanges": ("date", "from", "amount", "to", "settled", "rates"),
    "causes": ("id", "date", "currency", "amount", "why"),
}  # fmt: skip
PARTS = {
    "totals": "in all",
    "before": "in the period before",
    "top": "who used most",
    "outliers": "who used unlike their own weeks before",
    "total collected": "from what was paid here to what Stripe charged, all days",
    "collected": "from what was paid here to what Stripe charged, by day",
    "total settled": "from what Stripe charged to what its balance took in, all days",
    "settled": "from what Stripe charged to what its balance took in, by day",
    "exchanges": "settled in another currency",
    "causes": "where what is not explained comes from",
    "categories": "Stripe's balance, by its own categories",
}
TOTALS = ("total collected", "total settled")
HEADINGS = {
    "user_id": "User",
    "mean": "Credits in a usual week",
    "spread": "Usual spread",
    "periods": "Weeks before",
    "remainder": "Not explained",
    "net": "Net in the balance",
    "packs": "Packs without invoice",
}
NUMBERS = ("count",)  # of things, where the rest of a row is money
COUNTED = ("stripe", "here", "missing", "only_here", "differs")
STAGES = {
    "": "it is about to start",
    "reading": "it reads Stripe's lists",
    "books": "it asks our own books",
    "examining": "it examines what looks different",
    "measuring": "it measures what was found",
}
TONES = {Status.RUNNING: "info", Status.DONE: "success", Status.FAILED: "danger"}


@dataclass(slots=True)
class Figures:
    """A table of figures: each row with the address of its first cell, or ''."""

    title: str
    headers: list[str]
    rows: list[tuple[str, list[str]]] = field(default_factory=list)
    note: str = ""


def in_order(names: Iterable[str], first: Iterable[str] = FIRST) -> list[str]:
    """Names without an order of their own (the database keeps none), known ones first."""
    found = list(dict.fromkeys(names))
    known = [name for name in first if name in found]
    return [*known, *(name for name in found if name not in known)]


def money_words(amounts: Mapping[str, Any]) -> str:
    """Amounts by currency, and `credits`, in words; each by itself."""
    said = [format_money(int(v), code) for code, v in sorted(amounts.items()) if code != "credits"]
    credits_ = amounts.get("credits")
    return ", ".join([*said, *([f"{credits_:,} credits"] if credits_ else [])]) or cells.EMPTY


def duration_words(seconds: float) -> str:
    """`1:02:03`, or to the tenth of a second under a minute."""
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def progress_words(row: ReconciliationRun) -> str:
    """For how long a run has been under way, what it is at, and how far."""
    stage, _, said = row.stage.partition(": ")
    running_for = duration_words((timezone.now() - row.started_at).total_seconds())
    return f"Running for {running_for}: {STAGES.get(stage, stage)}. {said}".rstrip()


def window_words(row: ReconciliationRun) -> str:
    since = format_time(row.since) if row.since else "the beginning"
    return f"from {since} to {format_time(row.until)}"


def share_words(share: Any) -> str:
    """A share in per cent; the whole is said to be so only where it is."""
    if not isinstance(share, int | float):
        return cells.EMPTY
    return "100 %" if share == 1 else f"{min(share * 100, 99.99):.2f} %"


def counts_table(row: ReconciliationRun) -> Figures:
    """Both sides of each kind of object, and what differs between them."""
    table = Figures(
        "Both sides",
        [
            "Kind", "At Stripe", "Here", "Missing here", "Only here", "Different",
            "Money at Stripe", "Money here",
        ],
    )  # fmt: skip
    for kind in in_order(row.counts, LISTS):
        counts = row.counts[kind]
        model = LISTS.get(kind)
        amounts = counts.get("amounts") or {}
        table.rows.append(
            (
                changelist_url(model) if model else "",
                [
                    capfirst(kind.replace(".", " ").replace("_", " ")),
                    *(f"{counts.get(name, 0):,}" for name in COUNTED),
                    money_words(one_side(amounts, "stripe")),
                    money_words(one_side(amounts, "here")),
                ],
            )
        )
    return table


def statuses_table(row: ReconciliationRun) -> Figures:
    """R1: how many subscriptions of each status there are on both sides."""
    table = Figures("Subscriptions by status", ["Status", "At Stripe", "Here"])
    statuses = (row.counts.get("subscription") or {}).get("statuses") or {}
    for status, both in sorted(statuses.items(), key=lambda item: -item[1]["stripe"]):
        url = changelist_url(BillingSubscription, status=status)
        numbers = [f"{both[side]:,}" for side in ("stripe", "here")]
        table.rows.append((url, [status.replace("_", " "), *numbers]))
    return table


def one_side(amounts: Mapping[str, Mapping[str, Any]], side: str) -> dict[str, Any]:
    return {code: both.get(side, 0) for code, both in amounts.items()}


def differences_table(row: ReconciliationRun) -> Figures:
    """How many findings of each kind, which lead to them."""
    table = Figures("Differences", ["Kind", "Findings"])
    by_count = sorted(row.differences.items(), key=lambda item: (-item[1], item[0]))
    for kind, count in by_count:
        url = changelist_url(FindingRecord, kind=kind, run=str(row.pk), state="all")
        table.rows.append((url, [label_of(kind), f"{count:,}"]))
    if not table.rows and row.status == Status.DONE:
        table.note = "None: our books equal Stripe's."
    return table


def measures_tables(row: ReconciliationRun) -> Iterator[Figures]:
    """The three measures, in count and in money, each currency by itself; and the credits."""
    for name, table_of in (
        ("completeness", completeness_table),
        ("timeliness", timeliness_table),
        ("clearing", clearing_table),
        ("credits", credits_table),
    ):
        if measure := row.measures.get(name):
            yield table_of(measure)


def by_currency(measure: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted((measure.get("money") or {}).items())


def of_payments(currency: str) -> str:
    return f"Payments in {currency.upper()}"


def completeness_table(measure: Mapping[str, Any]) -> Figures:
    table = Figures(
        "Completeness: is here what is at Stripe?",
        ["What", "At Stripe", "Here, and the same", "Share"],
    )
    counted = measure.get("count") or {}
    numbers = [f"{counted.get(side, 0):,}" for side in ("stripe", "here")]
    table.rows.append(("", ["Objects of all kinds", *numbers, share_words(counted.get("share"))]))
    for code, held in by_currency(measure):
        amounts = [format_money(int(held.get(side, 0)), code) for side in ("stripe", "here")]
        table.rows.append(("", [of_payments(code), *amounts, share_words(held.get("share"))]))
    return table


def credits_table(proof: Mapping[str, int]) -> Figures:
    """What is outstanding, added up in four ways (billing.revenue.credits.figures.proof)."""
    table = Figures(
        "Credits: do lots, ledger and balances tie?",
        ["Left in lots", "By periods", "In neither yet", "Ledger", "Balances", "Difference"],
    )
    names = ("lots", "periods", "unread", "ledger", "balances", "difference")
    table.rows.append(("", [f"{proof[name]:,}" for name in names]))
    return table


def timeliness_table(measure: Mapping[str, Any]) -> Figures:
    """How long after Stripe's own time things were here; the longest names its event."""
    table = Figures(
        "Timeliness: how soon after Stripe's own time was it here?",
        ["What", "Number", "Worth", "Half of it within", "95 % within", "All within", "Slowest"],
    )
    worst = measure.get("worst")
    slowest = worst if isinstance(worst, Mapping) else {"seconds": worst}
    number = f"{measure['events']:,}" if "events" in measure else cells.EMPTY
    times = [
        delay_words(each)
        for each in (measure.get("median"), measure.get("p95"), slowest.get("seconds"))
    ]
    named = " ".join(str(slowest[name]) for name in ("type", "event") if slowest.get(name))
    event = str(slowest.get("event") or "")
    url = cells.open_url(id=event) if event else ""
    table.rows.append((url, ["Events", number, cells.EMPTY, *times, named or cells.EMPTY]))
    for code, held in by_currency(measure):
        paid = [f"{held.get('payments', 0):,}", format_money(int(held.get("amount", 0)), code)]
        times = [delay_words(held.get(name)) for name in ("half", "p95")]
        table.rows.append(("", [of_payments(code), *paid, *times, cells.EMPTY, cells.EMPTY]))
    if waiting := (measure.get("waiting") or {}).get("events"):
        were = "event waits" if waiting == 1 else "events wait"
        table.note = f"{waiting:,} more {were} in the inbox, pending, failed or dead."
    return table


def delay_words(seconds: Any) -> str:
    return duration_words(seconds) if isinstance(seconds, int | float) else cells.EMPTY


def clearing_table(measure: Mapping[str, Any]) -> Figures:
    """In what the payments have ended."""
    table = Figures(
        "Clearing: what explains each payment?",
        ["What", "All", *(capfirst(name) for name in EXPLANATIONS), "Share explained"],
    )
    counted = measure.get("count") or {}
    numbers = [f"{counted.get(name, 0):,}" for name in ("all", *EXPLANATIONS)]
    table.rows.append(("", ["Payments", *numbers, share_words(counted.get("share"))]))
    for code, held in by_currency(measure):
        sums = [format_money(int(held.get(name, 0)), code) for name in ("all", *EXPLANATIONS)]
        table.rows.append(("", [of_payments(code), *sums, share_words(held.get("share"))]))
    if unexplained := measure.get("unexplained"):
        table.note = f"Explained by nothing yet: {', '.join(unexplained)}."
    return table


def hours_table(row: ReconciliationRun) -> Figures:
    """Events by the hour on both sides; hours in which they differ say so."""
    table = Figures("Events by hour", ["Hour (UTC)", "At Stripe", "Here", ""])
    for hour, there, here in row.measures.get("events_by_hour") or []:
        start = datetime.fromisoformat(str(hour))
        differs = "differs" if there != here else ""
        table.rows.append(("", [f"{start:%Y-%m-%d %H:%M}", f"{there:,}", f"{here:,}", differs]))
    return table


def report_tables(row: ReconciliationRun) -> Iterator[Figures]:
    """The weekly run's sections: a table for each list of rows in them, and for their totals."""
    for name, section in row.report.items():
        if not isinstance(section, dict):
            continue
        zone = section.get("timezone")
        note = f"Days are those of {zone}." if zone else ""
        for part, rows in in_parts(section):
            title = f"{in_title(name)}: {PARTS.get(part, part.replace('_', ' '))}"
            said = f"{note} {remainder_words(rows)}".strip() if part in TOTALS else note
            yield rows_table(title, rows, COLUMNS.get(part.removeprefix("total "), FIRST), said)


def in_parts(section: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A section's lists of rows by their names; totals by currency are rows, too."""
    for part in in_order(section, ("totals", *COLUMNS)):
        value = section[part]
        if isinstance(value, list):
            yield part, [each for each in value if isinstance(each, dict)]
        elif isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()):
            for of, sums in value.items():
                yield (
                    f"total {of}",
                    [{"currency": code, **total} for code, total in sorted(sums.items())],
                )
        elif isinstance(value, dict):
            yield part, [value]


def remainder_words(totals: list[dict[str, Any]]) -> str:
    """What the items of a bridge leave unexplained."""
    left = {str(each["currency"]): each["remainder"] for each in totals if each.get("remainder")}
    if not left:
        return "Its items explain all of it."
    return f"Not explained: {money_words(left)}."


def rows_table(title: str, rows: list[dict[str, Any]], first: Iterable[str], note: str) -> Figures:
    """One column for each thing that the rows say; none for items of a bridge that are all 0."""
    keys = in_order((key for each in rows for key in each), first)
    if "remainder" in keys:
        keys = [key for key in keys if key == "remainder" or any(each.get(key) for each in rows)]
    table = Figures(title, [HEADINGS.get(key, in_title(key)) for key in keys])
    table.note = note if rows else ""
    for each in rows:
        table.rows.append((first_url(each, keys), [report_cell(each, key) for key in keys]))
    return table


def in_title(key: str) -> str:
    return capfirst(key.replace("_", " "))


def first_url(row: Mapping[str, Any], keys: list[str]) -> str:
    """The page of the user or the object whom a row is about, where it begins with one."""
    value = row.get(keys[0]) if keys else None
    if keys[:1] == ["user_id"] and value:
        return cells.open_url(user=str(value))
    return cells.open_url(id=str(value)) if keys[:1] == ["id"] and value else ""


def report_cell(row: Mapping[str, Any], key: str) -> str:
    """A figure in words: whole numbers of a row that has a currency are its minor units."""
    value = row.get(key)
    if value is None or value == "":
        return cells.EMPTY
    if isinstance(value, list):
        return " to ".join(dict.fromkeys(str(each) for each in value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    between = {"amount": row.get("from"), "settled": row.get("to")}  # of an exchange
    currency = row.get("currency") or between.get(key)
    if currency and isinstance(value, int) and key not in NUMBERS:
        return format_money(value, str(currency))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


@admin.register(ReconciliationRun)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "what", "state", "window", "found_words", "stake", "took", "calls", "actor_words",
        "signed", "created",
    )  # fmt: skip
    related_columns = ("what", "state", "found_words", "stake", "actor_words", "created")
    list_filter = (
        choices_filter("kind", Kind.choices),
        choices_filter("status", Status.choices),
        choice_filter(
            "signed",
            "sign-off",
            [
                ("no", "Not signed off", Q(signed_off_by="", status=Status.DONE)),
                ("yes", "Signed off", ~Q(signed_off_by="")),
            ],
        ),
        since_filter("started_at", "time"),
    )
    empty_text = "No reconciliation has run. The worker starts one every day."
    change_form_template = "admin/billing/run.html"
    list_before_template = "admin/billing/list_starts.html"  # type: ignore[assignment]  # a path
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("what", "state"),
                    "window",
                    ("found_words", "stake"),
                    ("took", "calls"),
                    ("actor_words", "in_flight_words"),
                    ("created", "finished"),
                    ("signed_words", "incident_words"),
                )
            },
        ),
    )
    offers = (
        Offer(
            SIGN_OFF,
            target=lambda row: f"{PREFIX}{row.pk}",
            refusal=runs.objection,
            single=True,
        ),
    )
    related = (
        Related(
            "Operations",
            OperationRecord,
            "Nobody has signed it off.",
            rows=lambda row: OperationRecord.objects.filter(subject=f"{PREFIX}{row.pk}"),
            query=lambda row: f"{PREFIX}{row.pk}",
        ),
    )

    what = cells.column(lambda row: str(row.get_kind_display()), "Run")
    window = cells.column(window_words, "Window")
    stake = cells.column(lambda row: money_words(row.at_stake), "At stake")
    took = cells.column(lambda row: cells.no_wrap(duration_words(row.seconds)), "Took")
    calls = cells.column(lambda row: f"{row.api_calls:,}", "API calls")
    actor_words = cells.text_column("actor", "By")
    incident_words = cells.incident_column()
    created = cells.time_column("started_at", "Started")
    finished = cells.time_column("finished_at", "Finished")

    @display(description="State")
    def state(self, row: ReconciliationRun) -> str:
        return cells.label(str(row.get_status_display()), TONES[Status(row.status)])

    @display(description="Found")
    def found_words(self, row: ReconciliationRun) -> str:
        return f"{row.found:,}"

    @display(description="Left out")
    def in_flight_words(self, row: ReconciliationRun) -> str:
        if not row.in_flight:
            return cells.EMPTY
        return f"{row.in_flight:,} objects, about which an event was still on its way"

    @display(description="Signed off")
    def signed(self, row: ReconciliationRun) -> str:
        return row.signed_off_by or cells.EMPTY

    @display(description="Signed off")
    def signed_words(self, row: ReconciliationRun) -> str:
        if not row.signed_off_at:
            return cells.EMPTY
        at = format_time(row.signed_off_at)
        return cells.paragraph(f"by {row.signed_off_by}, {at}: {row.sign_off}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Lists show none of the long reports."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.defer("counts", "measures", "report")

    def headline(self, row: ReconciliationRun) -> tuple[str, str]:
        if row.status == Status.FAILED:
            return f"It could not come to its end. {row.error}", "danger"
        return "", ""

    def buttons(self, row: ReconciliationRun, user: User) -> list[ShownOffer]:
        return starts(user, back=page_url(row))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        back = changelist_url(ReconciliationRun)
        context = {"starts": starts(request.user, back=back), **(extra_context or {})}
        return super().changelist_view(request, context)

    def page_context(self, request: HttpRequest, row: ReconciliationRun) -> dict[str, Any]:
        if row.status == Status.RUNNING:
            return {"is_running": True, "progress": progress_words(row)}
        tables = (
            differences_table(row),
            counts_table(row),
            statuses_table(row),
            *measures_tables(row),
            *report_tables(row),
        )
        return {
            "figures": [table for table in tables if table.rows or table.note],
            "charts": run_charts(row),
            "hours": hours_table(row),
        }


def starts(user: User, *, back: str) -> list[ShownOffer]:
    """A button for each kind of run, for those who may start one."""
    if not START_RECONCILIATION.is_permitted(user):
        return []
    return [
        ShownOffer(
            f"Start {kind.value} run",
            START_RECONCILIATION.icon,
            START_RECONCILIATION.url({"target": kind.value, "back": back}),
            "",
        )
        for kind in Kind
    ]

"""Figures of whether the books are right, and whether they would survive."""

from typing import Any

from django.db.models import Count, Sum
from django.utils import timezone

from billing.database import rows
from billing.models import FindingRecord, ReconciliationRun
from billing.observing.figures import Figures
from billing.recovery.backups.state import state
from billing.recovery.export.state import status

DONE = ReconciliationRun.Status.DONE


def findings(figures: Figures) -> None:
    waiting = figures.gauge(
        "billing_findings_open", "Findings that wait for somebody.", "kind", "severity"
    )
    at_stake = figures.gauge(
        "billing_findings_amount", "What they are worth, in the currency's minor unit.", "currency"
    )
    found = FindingRecord.objects.filter(FindingRecord.OPEN).order_by()
    for kind, severity, number in found.values_list("kind", "severity").annotate(n=Count("pk")):
        waiting(number, kind, severity)
    money = found.exclude(currency="").values_list("currency").annotate(total=Sum("amount"))
    for currency, total in money:
        at_stake(int(total or 0), currency)


def reconciliation(figures: Figures) -> None:
    """Of the last run of each kind, and of the last one that came to its end."""
    outcome = figures.gauge(
        "billing_reconciliation_last", "1 for what has become of the last run.", "kind", "status"
    )
    age = figures.gauge(
        "billing_reconciliation_age_seconds", "How long ago one last came to its end.", "kind"
    )
    differences = figures.gauge(
        "billing_reconciliation_differences", "Findings that it left.", "kind"
    )
    amount = figures.gauge(
        "billing_reconciliation_amount",
        "What they were worth, in the currency's minor unit.",
        "kind",
        "currency",
    )
    timeliness = figures.gauge(
        "billing_reconciliation_timeliness_seconds",
        "How long after Stripe's own time its events were here.",
        "kind",
        "quantile",
    )
    cleared = figures.gauge(
        "billing_reconciliation_cleared_ratio",
        "The share of payments that an invoice, a purchase, a refund or a dispute explains.",
        "kind",
    )
    now = timezone.now()
    for kind in ReconciliationRun.Kind:
        runs = ReconciliationRun.objects.filter(kind=kind).defer("counts", "report")
        last = runs.order_by("-started_at").first()
        if last is None:
            continue
        outcome(1, kind, last.status)
        done = runs.filter(status=DONE).order_by("-started_at").first()
        if done is None or done.finished_at is None:
            continue
        age((now - done.finished_at).total_seconds(), kind)
        differences(done.found, kind)
        for currency, total in done.at_stake.items():
            if currency != "credits":
                amount(total, kind, currency)
        measured: dict[str, Any] = done.measures
        told = measured.get("timeliness", {})
        for quantile, name in (("0.5", "median"), ("0.95", "p95")):
            if told.get(name) is not None:
                timeliness(told[name], kind, quantile)
        if share := measured.get("clearing", {}).get("count"):
            cleared(share["share"], kind)


def backups(figures: Figures) -> None:
    age = figures.gauge(
        "billing_backup_age_seconds",
        "Of what moment the newest verified backup is; nothing where there is none.",
    )
    good = figures.gauge(
        "billing_backup_last_ok", "Whether the last backup is good: 1 or 0; nothing for none."
    )
    found = state()
    if found.good:
        age((timezone.now() - found.good.taken_at).total_seconds())
    if found.last:
        good(int(not found.last.error))


def export(figures: Figures) -> None:
    age = figures.gauge(
        "billing_export_age_seconds",
        "Up to what moment everything is exported; nothing before the first time.",
    )
    failing = figures.gauge("billing_export_failing", "Whether the last try failed: 1 or 0.")
    waiting = figures.gauge(
        "billing_export_waiting", "Changes that are still to be exported; at most 100,000."
    )
    found = status()
    if found.until:
        age((timezone.now() - found.until).total_seconds())
    failing(int(bool(found.error)))
    [row] = rows(
        "SELECT count(*) AS number"
        " FROM (SELECT FROM billing_export_changes LIMIT 100000) AS changes"
    )
    waiting(row["number"])

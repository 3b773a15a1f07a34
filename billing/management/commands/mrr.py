"""`manage.py mrr`."""

from billing.management.finance import ReportCommand
from billing.revenue.mrr.report import Subscriptions


class Command(ReportCommand):
    report = Subscriptions()
    help = (
        "Show monthly recurring revenue with what was new, expanded, contracted, churned and came"
        " back; who left and why, trials, and cohorts. Of any time: it is computed from events."
    )
    example = "mrr --from 2026-01-01 --to 2026-03-31 --currency EUR --json"

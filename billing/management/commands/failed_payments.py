"""`manage.py failed_payments`."""

from billing.management.finance import ReportCommand
from billing.revenue.failed import FailedPayments


class Command(ReportCommand):
    report = FailedPayments()
    help = (
        "Show what could not be charged: what entered dunning, was recovered and was lost, by"
        " decline reason, and the invoices to work through now."
    )
    example = "failed_payments --from 2026-10-01 --to 2026-10-31 --by month --json"

"""`manage.py credits`."""

from billing.management.finance import ReportCommand
from billing.revenue.credits.report import Credits


class Command(ReportCommand):
    report = Credits()
    help = (
        "Show credits sold, granted free, spent and taken back, what is outstanding and what was"
        " paid for it (first in, first out), the price of a lead, and who uses most."
    )
    example = "credits --from 2026-10-01 --to 2026-10-31 --by month --json"

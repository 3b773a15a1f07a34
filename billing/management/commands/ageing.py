"""`manage.py ageing`."""

from billing.management.finance import ReportCommand
from billing.revenue.ageing import Ageing


class Command(ReportCommand):
    report = Ageing()
    help = "Show open invoices by how long they have been due, at the end of any day (--to)."
    example = "ageing --to 2026-03-31 --timezone Europe/Berlin --csv"

"""`manage.py revenue`."""

from billing.management.finance import ReportCommand
from billing.revenue.revenue import Revenue


class Command(ReportCommand):
    report = Revenue()
    help = (
        "Show revenue by day, week or month and currency: gross, refunds, disputes, fees, net; tax"
        " and what was paid out of band apart. Reads our own rows only."
    )
    example = "revenue --from 2026-10-01 --to 2026-10-31 --by month --timezone Europe/Berlin --json"

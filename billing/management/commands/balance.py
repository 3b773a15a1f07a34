"""`manage.py balance`."""

from billing.management.finance import ReportCommand
from billing.revenue.balance_report import BalanceReport


class Command(ReportCommand):
    report = BalanceReport()
    help = (
        "Show Stripe's balance by reporting category, its payouts with what they contain, and the"
        " three bridges with what they leave. Reads our own rows only, and changes nothing."
    )
    example = "balance --from 2026-10-01 --to 2026-10-31 --json"

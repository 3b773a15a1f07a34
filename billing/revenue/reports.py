"""All finance reports, in the order of the sidebar."""

from billing.revenue.ageing import Ageing
from billing.revenue.balance_report import BalanceReport
from billing.revenue.closing_report import ClosingReport
from billing.revenue.credits.report import Credits
from billing.revenue.failed import FailedPayments
from billing.revenue.journal_report import JournalReport
from billing.revenue.mrr.report import Subscriptions
from billing.revenue.report import Report
from billing.revenue.revenue import Revenue

REPORTS: tuple[Report, ...] = (
    Revenue(),
    Subscriptions(),
    FailedPayments(),
    Ageing(),
    Credits(),
    BalanceReport(),
    JournalReport(),
    ClosingReport(),
)
BY_NAME = {report.name: report for report in REPORTS}

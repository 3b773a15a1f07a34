"""All finance reports, in the order of the sidebar."""

from billing.revenue.report import Report
from billing.revenue.revenue import Revenue

REPORTS: tuple[Report, ...] = (Revenue(),)
BY_NAME = {report.name: report for report in REPORTS}

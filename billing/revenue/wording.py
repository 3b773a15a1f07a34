"""A report's figures in words, the same on a page and on the command line."""

from datetime import datetime

from billing.formatting import format_amount, format_time
from billing.revenue.report import Column, Row

NUMERIC = ("money", "number", "percent")


def written(row: Row, column: Column) -> str:
    """A cell: an amount in its currency's decimals, a share in percent; '' where unknown."""
    value = row.get(column.name)
    if value is None or value == "":
        return ""
    match column.kind:
        case "money":
            return format_amount(int(value), str(row.get(column.currency) or ""))
        case "number":
            return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
        case "percent":
            return f"{value:.1%}"
    if isinstance(value, datetime):
        return format_time(value)
    is_currency = column.name == "currency" or column.name.endswith("_currency")
    return str(value).upper() if is_currency else str(value)

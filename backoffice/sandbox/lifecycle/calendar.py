"""Billing periods. Times are epoch seconds in UTC."""

from calendar import monthrange
from datetime import UTC, datetime

DAY = 86400


def period_end(start: int, anchor: int, recurring: dict[str, object]) -> int:
    """The end of the period that starts at `start`.

    Months keep the day of the month and the time of day of `anchor`, or the last day of a shorter
    month: January 31st, February 28th, March 31st.
    """
    count = int(str(recurring["interval_count"]))
    interval = recurring["interval"]
    if interval == "day":
        return start + count * DAY
    if interval == "week":
        return start + count * 7 * DAY
    months = count * (12 if interval == "year" else 1)
    begun = datetime.fromtimestamp(start, UTC)
    anchored = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(begun.year * 12 + begun.month - 1 + months, 12)
    day = min(anchored.day, monthrange(year, month + 1)[1])
    return int(anchored.replace(year=year, month=month + 1, day=day).timestamp())

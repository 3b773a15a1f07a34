"""Months that are closed for `bench.finance`: all but the last, their rows frozen."""

from datetime import timedelta


def close_months() -> None:
    """A row for every month that is over; all but the last one are closed, their rows frozen."""
    from django.conf import settings
    from django.utils import timezone

    from billing.models import MonthClose
    from billing.operations.base import plain
    from billing.revenue import closing, month_rows

    now = timezone.now()
    month_rows.open_months(settings.REPORT_TIME_ZONE, now)
    for row in list(MonthClose.objects.order_by("month"))[:-1]:
        row.figures = plain(closing.freeze(row))
        row.entries, row.hash = closing.fingerprint(row, row.figures)
        row.state, row.signed_by, row.reviewed_by = MonthClose.State.CLOSED, "sue", "rob"
        row.signed_at = row.reviewed_at = closing.month_of(row).until + timedelta(days=3)
        row.save()

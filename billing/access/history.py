"""The history of log-ins: who came in or failed to, when, from where, with what browser.

The rows are django-axes'. They are kept for `KEPT`, and then removed.
"""

from datetime import timedelta
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.db.models import CharField, QuerySet, Value
from django.utils import timezone

KEPT = timedelta(days=180)
FIELDS = ("attempt_time", "username", "ip_address", "user_agent", "what")


def entries(username: str | None = None) -> QuerySet[Any, Any]:
    """All log-ins and failures, or those of one name: the newest first, as dictionaries."""
    came = said(AccessLog.objects.all(), "Logged in")
    failed = said(AccessFailureLog.objects.filter(locked_out=False), "Failed")
    locked = said(AccessFailureLog.objects.filter(locked_out=True), "Failed, and locked out")
    each = [rows if username is None else rows.filter(username=username)
            for rows in (came, failed, locked)]  # fmt: skip
    first, *others = [rows.values(*FIELDS) for rows in each]
    found: QuerySet[Any, Any] = first.union(*others, all=True).order_by("-attempt_time")
    return found


def said(rows: QuerySet[Any], what: str) -> QuerySet[Any]:
    found: QuerySet[Any] = rows.order_by().annotate(what=Value(what, output_field=CharField()))
    return found


def forget_old() -> int:
    """Removes what is older than `KEPT`; how many rows."""
    before = timezone.now() - KEPT
    tables = (AccessLog, AccessFailureLog, AccessAttempt)
    return sum(table.objects.filter(attempt_time__lt=before).delete()[0] for table in tables)

"""The dead man's switch: an address that is called after each good daily run.

Whoever listens there raises the alarm when the call stays out: it works even where all of us is
down. The address is a secret: it stands in no log and on no page.
"""

import logging
from datetime import datetime, timedelta

import httpx
from django.conf import settings
from django.utils import timezone

from billing.models import WatchedRule

logger = logging.getLogger(__name__)

NAME = "heartbeat"  # of the row that remembers a call in vain
ANSWER_WITHIN = 5  # seconds
AGAIN_AFTER = timedelta(minutes=5)


def beat() -> bool:
    """Calls HEARTBEAT_URL; whether it went well, or there is none to call. Never raises.

    A call in vain is made again every five minutes until it goes well (`retry`).
    """
    if not settings.HEARTBEAT_URL:
        return True
    error = call(settings.HEARTBEAT_URL)
    if error:
        logger.warning("the heartbeat could not be sent: %s", error)
    try:
        remember(error)
    except Exception:
        logger.exception("the heartbeat's outcome could not be kept")
    return not error


def call(url: str) -> str:
    """Why the address could not be called, in a sentence without it; '' if it could."""
    try:
        with httpx.stream("GET", url, timeout=ANSWER_WITHIN) as response:
            if response.is_success:
                return ""
            return f"it answered {response.status_code}."
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return f"it could not be reached ({type(error).__name__})."


def remember(error: str) -> None:
    WatchedRule.objects.update_or_create(
        rule=NAME,
        defaults={
            "memory": {"error": error} if error else {},
            "next_at": timezone.now() + AGAIN_AFTER,
        },
    )


def retry(now: datetime) -> str:
    """Why the last call was in vain, once it was tried again where its time has come; else ''."""
    row = WatchedRule.objects.filter(rule=NAME).first()
    if row is None or not row.memory.get("error") or not settings.HEARTBEAT_URL:
        return ""
    if row.next_at <= now and beat():
        return ""
    row.refresh_from_db()
    return str(row.memory.get("error", ""))

"""Log lines, as text or JSON: what must not stand in them, and the ids that lead to a page.

Whatever is logged, by whatever package, goes through a formatter of this module: no email, no
key, no body of a request and no secret address of a customer's billing page gets past it. It
rather takes out too much than too little.
"""

import json
import logging
import re
import traceback
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.conf import settings

from billing.log_context import log_context

LINE = "%(asctime)s %(levelname)s %(name)s %(message)s"

# What is signed, a dot, and its signature: other addresses below /billing/ are no secrets.
LINK = re.compile(r"(/billing/)[\w=%-]{10,}(?:\.|%2E)[\w=%.-]{10,}", re.IGNORECASE)
RULES = (
    (LINK, r"\1(link)"),
    # What PostgreSQL quotes of the rows and statements that an error is about.
    (re.compile(r"\n\s*LINE \d+:.*?(?:\n\s*\^|$)", re.DOTALL), ""),
    (re.compile(r"\n\s*(?:DETAIL|CONTEXT|QUERY|STATEMENT):.*", re.DOTALL), " (details left out)"),
    # Whole bodies: JSON, or what Python shows of it.
    (re.compile(r"\{\s*\\?[\"'].*[}\"']|\[\s*\{.*\]", re.DOTALL), "(body)"),
    (re.compile(r"\b(\w+://)[^\s/@]*:[^\s/@]*@"), r"\1(password)@"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{12,}", re.IGNORECASE), r"\1 (secret)"),
    (re.compile(r"\b(?:sk|rk|pk)_(?:test|live)_\w+|\bwhsec_[\w+/=-]+"), "(key)"),
    (re.compile(r"\b(\w+)_secret_\w+"), r"\1_secret_(key)"),
    (
        re.compile(
            r"(?<![\w-])([\w-]*(?:password|passwd|secret|token|api_?key))(\W{0,3}[=:]\W{0,2})\S+",
            re.IGNORECASE,
        ),
        r"\1\2(secret)",
    ),
    (re.compile(r"(?<![\w.+'%-])[\w.+'%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+", re.IGNORECASE), "(email)"),
)
SECRETS = (
    "ALERT_WEBHOOK_URL",
    "EMAIL_HOST_PASSWORD",
    "HEARTBEAT_URL",
    "METRICS_TOKEN",
    "SECRET_KEY",
    "SENTRY_DSN",
    "STRIPE_SECRET_KEY",
)
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
EVENT, OPERATION = re.compile(r"\bevt_\w+"), re.compile(r"\bop_[\w-]+")
LONGEST = 20_000  # characters of a message
FRAME = '  File "'  # how a traceback's frame begins: code, and no values


def scrub(text: str) -> str:
    """The text without what must not stand in a log, and without its end if it is very long."""
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text) - LONGEST:,} characters more)"
    for secret in _secrets():
        text = text.replace(secret, "(secret)")
    for pattern, instead in RULES:
        text = pattern.sub(instead, text)
    return text


def _secrets() -> tuple[str, ...]:
    """The secrets that the settings hold, as far as there are settings yet."""
    if not settings.configured:
        return ()
    values = [getattr(settings, name, "") for name in SECRETS]
    databases = [database.get("PASSWORD", "") for database in settings.DATABASES.values()]
    webhook: list[str] = getattr(settings, "STRIPE_WEBHOOK_SECRETS", [])
    return _long_enough((*values, *databases, *webhook))


@lru_cache(maxsize=8)
def _long_enough(values: tuple[str, ...]) -> tuple[str, ...]:
    """Without those that are words which may well stand in a sentence."""
    return tuple(sorted({value for value in values if value and len(value) >= 8}))


def message_of(record: logging.LogRecord) -> str:
    """What a record says, on one line."""
    try:
        said = record.getMessage()
    except (TypeError, ValueError):  # as logging itself would report it, with all arguments
        said = f"{record.msg} (its arguments do not fit)"
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], scrub(said))


def traceback_of(error: BaseException) -> str:
    """Where an error came from, and what it said; the frames' own code stands as it is."""
    parts = traceback.TracebackException.from_exception(error).format()
    return "".join(part if part.startswith(FRAME) else scrub(part) for part in parts).rstrip()


class Lines(logging.Formatter):
    """Lines of text for people; a traceback follows its line."""

    def __init__(self) -> None:
        super().__init__(LINE)

    def format(self, record: logging.LogRecord) -> str:
        shown = logging.makeLogRecord(record.__dict__)
        shown.msg, shown.args = message_of(record), ()
        shown.exc_text = None  # another handler's, perhaps
        return super().format(shown)

    def formatException(self, ei: Any) -> str:  # noqa: N802  (logging's own name)
        return traceback_of(ei[1]) if ei[1] is not None else ""


class JsonLines(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and what it is about.

    `request` is the id that the answer carried as X-Request-ID. `event` and `operation` are what
    the admin's search opens. `exception` is the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        message, context = message_of(record), log_context()
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            "request": context.request,
            "event": context.event or _first(EVENT, message),
            "operation": context.operation or _first(OPERATION, message),
            "process": record.process,
        }
        if record.exc_info and record.exc_info[1] is not None:
            said["exception"] = traceback_of(record.exc_info[1])
        shown = {name: value for name, value in said.items() if value not in ("", None)}
        return json.dumps(shown, ensure_ascii=False)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""

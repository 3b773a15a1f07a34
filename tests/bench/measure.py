"""What a stretch of work took: time, SQL statements, requests to Stripe, memory."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


@dataclass
class Work:
    """What was done and what it took; `failures` are items that were not done."""

    items: int = 0
    failures: int = 0
    seconds: float = 0.0
    statements: int = 0
    api_calls: int = 0
    peak_memory: int = 0  # bytes, of the whole process


@contextmanager
def measured() -> Iterator[Work]:
    """Measures the block; the block says how many items it worked on."""
    work = Work()

    def count(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        work.statements += 1
        return execute(sql, params, many, context)

    def watch(connection: BaseDatabaseWrapper, **_: Any) -> None:
        if count not in connection.execute_wrappers:
            connection.execute_wrappers.append(count)

    connection.ensure_connection()
    work.api_calls = -api_calls()
    connection_created.connect(watch)  # those of other threads
    with connection.execute_wrapper(count):
        started = time.perf_counter()
        yield work
        work.seconds = time.perf_counter() - started
    connection_created.disconnect(watch)
    work.api_calls += api_calls()
    work.peak_memory = peak_memory()


def api_calls() -> int:
    """How many requests of Stripe's API the sandbox has answered."""
    return sum(requests_by_path().values())


def requests_by_path() -> Counter[str]:
    """The same, by path, such as `GET /v1/invoices/{id}`."""
    counters = httpx.get(f"{settings.STRIPE_API_BASE}/_sandbox/counters", trust_env=False)
    return Counter(counters.raise_for_status().json()["routes"])


def peak_memory() -> int:
    """The most memory that this process has had resident so far, in bytes."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024

"""The figures for Prometheus, read from the database: the same whatever process is asked.

Nothing is counted in memory, so that several web servers and workers, on several machines, need
nothing in common but the database, and a restart loses nothing. Every statement reads an index or
a small table, and what could grow without end is bounded, and says so.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.db import DatabaseError, InterfaceError
from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from billing.observing import of_books, of_database, of_events, of_work
from billing.observing.asking import Kept, briefly
from billing.observing.figures import Figures

__all__ = ["CONTENT_TYPE", "exposition"]

logger = logging.getLogger(__name__)

SOURCES: Sequence[Callable[[Figures], None]] = (
    of_events.deliveries,
    of_events.refusals,
    of_events.inbox,
    of_events.failures,
    of_events.processing,
    of_work.workers,
    of_work.jobs,
    of_work.operations,
    of_work.alerts,
    of_books.findings,
    of_books.reconciliation,
    of_books.backups,
    of_books.export,
    of_database.tables,
    of_database.connections,
)


class FromDatabase(Collector):
    """Asks every source; one that fails is named, and takes no other along."""

    def collect(self) -> Iterator[Metric]:
        figures = Figures()
        failed = figures.gauge("billing_figures_failed", "1 where these could not be read.", "of")
        answered = False
        for source in SOURCES:
            name = f"{source.__module__.rpartition('_')[2]}.{source.__name__}"
            try:
                with briefly():
                    source(figures)
                failed(0, name)
                answered = True
            except (DatabaseError, InterfaceError) as error:
                logger.warning("the figures of %s could not be read: %s", name, error)
                failed(1, name)
        up = figures.gauge("billing_database_up", "Whether the database answers: 1 or 0.")
        up(int(answered))
        yield from figures.families.values()


REGISTRY = CollectorRegistry(auto_describe=False)
REGISTRY.register(FromDatabase())


def _expose() -> bytes:
    text: bytes = generate_latest(REGISTRY)
    return text


exposition: Callable[[], Any] = Kept(_expose)

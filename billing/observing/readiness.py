"""Is this back office ready? Each thing that it needs, looked at with a constant statement.

A load balancer asks for what the web server itself needs: without a worker, events are still safe
in the inbox, and taking the web server away would have them refused.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.loader import MigrationLoader

from billing.alerts.flow import BACKLOG
from billing.alerts.processes import WORKER_LOST
from billing.observing.asking import Kept, briefly

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is needed. `said` is a sentence of ours: nothing secret, no error's text."""

    name: str
    ok: bool
    said: str


def database() -> Check:
    return Check("database", one("SELECT true"), "It answers.")


def migrations() -> Check:
    """Whether all that this version knows of is applied; what a newer one has added is no harm."""
    sql = """
        SELECT NOT EXISTS (
            SELECT FROM unnest(%s::text[], %s::text[]) AS needed(app, name)
            WHERE NOT EXISTS (SELECT FROM django_migrations AS m
                              WHERE m.app = needed.app AND m.name = needed.name))
    """
    apps, names = zip(*newest_migrations(), strict=True)
    applied = one(sql, list(apps), list(names))
    said = "All are applied." if applied else "Some are not applied: run manage.py migrate."
    return Check("migrations", applied, said)


def worker() -> Check:
    sql = """
        SELECT EXISTS (SELECT FROM procrastinate_workers
                       WHERE last_heartbeat > now() - make_interval(secs => %s))
    """
    alive = one(sql, WORKER_LOST.total_seconds())
    said = "One is alive." if alive else "None is alive: start manage.py run_worker."
    return Check("worker", alive, said)


def backlog() -> Check:
    sql = """
        SELECT count(*) < %s
        FROM (SELECT FROM billing_inbox WHERE status = 'pending' LIMIT %s) AS waiting
    """
    short = one(sql, BACKLOG, BACKLOG)
    said = "Few events wait." if short else f"{BACKLOG:,} events or more wait: start more workers."
    return Check("backlog", short, said)


OF_THE_WEB_SERVER = (database, migrations)
OF_ALL = (*OF_THE_WEB_SERVER, worker, backlog)


def look(checks: Sequence[Callable[[], Check]]) -> list[Check]:
    """Every check, up to the first that the database does not answer."""
    found: list[Check] = []
    for check in checks:
        try:
            with briefly():
                found.append(check())
        except (DatabaseError, InterfaceError) as error:
            logger.warning("not ready: the check %s failed (%s)", check.__name__, error)
            return [*found, Check(check.__name__, False, "The database does not answer.")]
    return found


web_server = Kept(lambda: look(OF_THE_WEB_SERVER))
everything = Kept(lambda: look(OF_ALL))


def one(sql: str, *params: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return bool(cursor.fetchone()[0])


@cache
def newest_migrations() -> list[tuple[str, str]]:
    """App and name of those that no other one builds on within their app; files are read once."""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    return sorted(loader.graph.leaf_nodes())

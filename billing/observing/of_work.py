"""Figures of who works: workers and their jobs, people and their operations, and the alerts."""

from billing.alerts.processes import WORKER_LOST
from billing.database import rows
from billing.models.incidents import open_incidents
from billing.observing.figures import Figures

DAY = 86_400  # seconds
MOST = 100_000


def workers(figures: Figures) -> None:
    alive = figures.gauge(
        "billing_workers_alive",
        f"Workers that gave a sign of life in the past {WORKER_LOST.total_seconds():g} seconds.",
    )
    age = figures.gauge(
        "billing_worker_heartbeat_age_seconds",
        "How long ago a worker last gave one; nothing where none is known.",
    )
    sql = """
        SELECT count(*) FILTER (WHERE last_heartbeat > now() - make_interval(secs => %s)) AS alive,
               extract(epoch FROM now() - max(last_heartbeat)) AS age
        FROM procrastinate_workers
    """
    [row] = rows(sql, [WORKER_LOST.total_seconds()])
    alive(row["alive"])
    if row["age"] is not None:
        age(max(0.0, float(row["age"])))


def jobs(figures: Figures) -> None:
    """Through the partial indexes that the queue itself works with."""
    waiting = figures.gauge("billing_jobs_waiting", "Jobs in the worker's queue.", "task")
    running = figures.gauge("billing_jobs_running", "Jobs that a worker is at.", "task")
    for row in rows(
        "SELECT task_name, status::text, count(*) AS number FROM procrastinate_jobs"
        " WHERE status IN ('todo', 'doing') GROUP BY task_name, status"
    ):
        add = waiting if row["status"] == "todo" else running
        add(row["number"], row["task_name"])


def operations(figures: Figures) -> None:
    recent = figures.gauge(
        "billing_operations_recent",
        f"Operations that were begun in the past day, by kind and what became of them"
        f" (of the newest {MOST:,}).",
        "name",
        "status",
    )
    waiting = figures.gauge("billing_approvals_waiting", "Operations that wait for approval.")
    sql = """
        SELECT name, status, count(*) AS number FROM (
            SELECT name, status FROM billing_operations
            WHERE created_at > now() - make_interval(secs => %s)
            ORDER BY created_at DESC LIMIT %s) AS newest
        GROUP BY name, status
    """
    for row in rows(sql, [DAY, MOST]):
        recent(row["number"], row["name"], row["status"])
    [row] = rows("SELECT count(*) AS number FROM billing_operations WHERE status = 'requested'")
    waiting(row["number"])


def alerts(figures: Figures) -> None:
    firing = figures.gauge("billing_alerts_firing", "Alerts that are open.", "rule", "severity")
    incidents = figures.gauge("billing_incidents_open", "Incidents that are open.")
    for row in rows(
        "SELECT rule, severity, count(*) AS number FROM billing_alerts"
        " WHERE resolved_at IS NULL GROUP BY rule, severity"
    ):
        firing(row["number"], row["rule"], row["severity"])
    incidents(open_incidents().count())

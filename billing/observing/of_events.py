"""Figures of what comes from Stripe, and of how it is processed."""

from billing.alerts.flow import Status
from billing.database import rows
from billing.models import InboxEvent
from billing.observing.figures import Figures

MOST = 100_000  # events of one status that are counted
MOST_TIMED = 20_000
MOST_TYPES = 50
WINDOW = 300  # seconds
BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)  # seconds
WAITING = (Status.PENDING, Status.FAILED, Status.DEAD)


def deliveries(figures: Figures) -> None:
    received = figures.counter(
        "billing_deliveries_received_total",
        "Events that were offered to the inbox: deliveries answered with 200, repeats included, and"
        " what was fetched from Stripe. It is the newest row's number.",
    )
    recent = figures.gauge(
        "billing_events_recent",
        f"Events new in the inbox in the past {WINDOW} seconds; at most {MOST:,} are counted.",
        "source",
    )
    [newest] = rows("SELECT coalesce(max(id), 0) AS id FROM billing_inbox")
    received(newest["id"])
    sql = """
        SELECT source, count(*) AS number FROM (
            SELECT source FROM billing_inbox
            WHERE received_at > now() - make_interval(secs => %(window)s)
            ORDER BY received_at DESC LIMIT %(most)s) AS newest
        GROUP BY source
    """
    found = {row["source"]: row["number"] for row in rows(sql, {"window": WINDOW, "most": MOST})}
    for source in InboxEvent.Source:
        recent(found.get(source, 0), source)


def refusals(figures: Figures) -> None:
    refused = figures.counter(
        "billing_deliveries_refused_total",
        "Requests to the webhook that were refused.",
        "reason",
    )
    for row in rows(
        "SELECT reason, sum(count) AS number FROM billing_webhook_rejections GROUP BY reason"
    ):
        refused(int(row["number"]), row["reason"])


def inbox(figures: Figures) -> None:
    waiting = figures.gauge(
        "billing_inbox_events",
        f"Events that wait to be processed, by status; at most {MOST:,} are counted.",
        "status",
    )
    oldest = figures.gauge(
        "billing_inbox_oldest_age_seconds", "How long ago the oldest of them came; 0 for none.",
        "status",
    )  # fmt: skip
    sql = """
        SELECT s.status,
            (SELECT count(*) FROM (SELECT FROM billing_inbox AS i WHERE i.status = s.status
                                   LIMIT %(most)s) AS newest) AS number,
            extract(epoch FROM now() - (SELECT min(received_at) FROM billing_inbox AS i
                                        WHERE i.status = s.status)) AS age
        FROM unnest(%(statuses)s::text[]) AS s(status)
    """
    for row in rows(sql, {"most": MOST, "statuses": list(WAITING)}):
        waiting(row["number"], row["status"])
        oldest(max(0.0, float(row["age"] or 0)), row["status"])


def failures(figures: Figures) -> None:
    failing = figures.gauge(
        "billing_events_failing",
        "Events that failed and are tried again, or are dead, by type: of the"
        f" {MOST:,} newest, the {MOST_TYPES} most frequent types.",
        "type",
        "status",
    )
    sql = """
        SELECT type, status, count(*) AS number FROM (
            SELECT type, status FROM billing_inbox WHERE status IN ('failed', 'dead')
            ORDER BY received_at DESC LIMIT %s) AS newest
        GROUP BY type, status ORDER BY number DESC, type, status LIMIT %s
    """
    for row in rows(sql, [MOST, MOST_TYPES]):
        failing(row["number"], row["type"], row["status"])


def processing(figures: Figures) -> None:
    """Of a moving window: one of all time would have to read everything."""
    within = ", ".join(f"count(*) FILTER (WHERE took <= {bound})" for bound in BOUNDS)
    sql = f"""
        SELECT ARRAY[{within}] AS counts, count(*) AS number, coalesce(sum(took), 0) AS total FROM (
            SELECT extract(epoch FROM processed_at - received_at) AS took FROM billing_inbox
            WHERE received_at > now() - make_interval(secs => %s) AND processed_at IS NOT NULL
            ORDER BY received_at DESC LIMIT %s) AS newest
    """  # noqa: S608  (the bounds stand above)
    [row] = rows(sql, [WINDOW, MOST_TIMED])
    figures.histogram(
        "billing_processing_seconds",
        f"From an event's arrival until its effects were committed, of what came in the past"
        f" {WINDOW} seconds (the newest {MOST_TIMED:,}).",
        dict(zip(BOUNDS, row["counts"], strict=True)),
        row["number"],
        float(row["total"]),
    )

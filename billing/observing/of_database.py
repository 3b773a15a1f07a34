"""Figures of the database itself: how large it is, and how many connections are left."""

from billing.database import rows
from billing.observing.figures import Figures


def tables(figures: Figures) -> None:
    """Of our own tables alone; a partitioned one's are its partitions', together."""
    estimate = figures.gauge(
        "billing_table_rows_estimate", "Rows, as the planner estimates them.", "table"
    )
    size = figures.gauge("billing_table_bytes", "Bytes on disk, indexes included.", "table")
    sql = """
        SELECT root.relname AS name, sum(greatest(leaf.reltuples, 0))::bigint AS number,
               sum(pg_total_relation_size(leaf.oid))::bigint AS bytes
        FROM pg_class AS root
        JOIN LATERAL (
            SELECT root.oid AS relid WHERE root.relkind = 'r'
            UNION ALL
            SELECT relid FROM pg_partition_tree(root.oid) WHERE isleaf AND root.relkind = 'p'
        ) AS tree ON true
        JOIN pg_class AS leaf ON leaf.oid = tree.relid
        WHERE root.relnamespace = current_schema()::regnamespace AND root.relkind IN ('r', 'p')
          AND NOT root.relispartition AND root.relname LIKE 'billing\\_%%'
        GROUP BY root.relname
    """
    for row in rows(sql, {}):
        estimate(row["number"], row["name"])
        size(row["bytes"], row["name"])


def connections(figures: Figures) -> None:
    used = figures.gauge("billing_database_connections", "Connections to the whole server.")
    most = figures.gauge("billing_database_connections_max", "As many as it takes.")
    [row] = rows(
        "SELECT sum(numbackends)::bigint AS used,"
        " current_setting('max_connections')::bigint AS most FROM pg_stat_database"
    )
    used(row["used"])
    most(row["most"])

"""What a database holds, in a form in which two of them can be compared.

Left out is what rightly depends on when and in which order things were processed: our own
clock, surrogate ids, counts of attempts, in which request Stripe's state was seen, what was
refused on the way, and what those who watch, compare and add up wrote down of it meanwhile.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
from psycopg import sql

Row = dict[str, Any]
Contents = dict[str, Counter[str]]

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_name ~ %s ORDER BY 1"
OURS = "^(billing|djstripe|lead|credit)_"
REFUSALS = "billing_webhook_rejections"
WATCHERS = "^billing_(alert|watched|reconciliation|findings|request_pace|rate_limits)"
# What the worker reads and derives every ten minutes, whatever it has had until then.
TIMED = (
    "^billing_(balance_|bridge_days|payouts|revenue_(entries|days|hours)|subscription_states"
    "|subscriptions_read|mrr_|invoice_dunning|credit_(lots|uses|spenders|flows|positions|progress))"
)
# References by dj-stripe's surrogate ids: column and parent of a table.
REFERENCES = """
    SELECT own.attname, c.confrelid::regclass::text
    FROM pg_constraint c
    JOIN pg_attribute own ON own.attrelid = c.conrelid AND own.attnum = c.conkey[1]
    JOIN pg_attribute parent ON parent.attrelid = c.confrelid AND parent.attnum = c.confkey[1]
    WHERE c.contype = 'f' AND c.conrelid = %s::regclass AND parent.attname = 'djstripe_id'
"""

SURROGATES = {"djstripe_id", "djstripe_created", "djstripe_updated"}
CLOCK = {"recorded_at", "updated_at", "received_at", "processed_at", "granted_at"}
WORK = {"attempts", "next_attempt_at", "reason"}
SEEN = {"not_before", "not_after", "digest", "rank"}
# What an object has only where it was fetched, and what changes while it is delivered.
EXPANDED = {"payments", "line_items"}
DELIVERY = {"pending_webhooks"}
# What Stripe changes without an event: only a fetch shows it.
SILENT = {"next_invoice_sequence"}


def contents(url: str) -> Contents:
    """Every row of every table of ours and of dj-stripe's, counted, by table."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute(TABLES, [OURS])]
        left_out = re.compile(f"{WATCHERS}|{TIMED}")
        names = [name for name in names if name != REFUSALS and not left_out.match(name)]
        return {
            name: Counter(json.dumps(row, sort_keys=True) for row in prepared(connection, name))
            for name in names
        }


def prepared(connection: psycopg.Connection, table: str) -> list[Row]:
    """The rows of a table as they are compared."""
    resolved = [
        sql.SQL(
            " || jsonb_build_object({}, (SELECT p.id FROM {} p WHERE p.djstripe_id = t.{}))"
        ).format(sql.Literal(column), sql.Identifier(parent), sql.Identifier(column))
        for column, parent in connection.execute(REFERENCES, [table])
    ]
    query = sql.SQL("SELECT to_jsonb(t){} FROM {} t").format(
        sql.Composed(resolved), sql.Identifier(table)
    )
    rows = [row for (row,) in connection.execute(query)]
    prepare = PREPARE.get(table)
    if prepare:
        return prepare(rows)
    if table.startswith("djstripe_"):
        return [stripe_row(row) for row in rows]
    return [leave_out(row, {"id"} | CLOCK) for row in rows]


def leave_out(row: Row, names: Iterable[str]) -> Row:
    return {name: value for name, value in row.items() if name not in names}


def stripe_row(row: Row) -> Row:
    """A row of dj-stripe's: its `id` is Stripe's."""
    kept = leave_out(row, SURROGATES | DELIVERY)
    if isinstance(kept.get("stripe_data"), dict):
        kept["stripe_data"] = leave_out(kept["stripe_data"], EXPANDED | DELIVERY | SILENT)
    return kept


def inbox(rows: list[Row]) -> list[Row]:
    return [
        {
            **leave_out(row, {"id"} | CLOCK | WORK),
            "body": leave_out(json.loads(row["body"]), DELIVERY),
        }
        for row in rows
    ]


def versions(rows: list[Row]) -> list[Row]:
    return [leave_out(row, CLOCK | SEEN) for row in rows]


def ledger(rows: list[Row]) -> list[Row]:
    """What each source gave or took, whatever part of it was owed at that moment.

    What was taken and given back again is as if it had not been: a worker that sees a
    refund only after it has failed takes nothing.
    """
    given: defaultdict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        source = str(row["source"]).replace("_reversed:", ":")
        given[row["user_id"], source] += row["delta"] - row["owed_delta"]
    return [
        {"user_id": user_id, "source": source, "given": amount}
        for (user_id, source), amount in given.items()
        if amount
    ]


PREPARE: dict[str, Callable[[list[Row]], list[Row]]] = {
    "billing_inbox": inbox,
    "billing_stripe_versions": versions,
    "credit_entries": ledger,
}


def differences(left: Contents, right: Contents) -> list[str]:
    """A line for each row that only one of the two has."""
    found = []
    for table in sorted(left.keys() | right.keys()):
        mine, theirs = left.get(table, Counter()), right.get(table, Counter())
        found += [f"{table} < {row}" for row in (mine - theirs)]
        found += [f"{table} > {row}" for row in (theirs - mine)]
    return found

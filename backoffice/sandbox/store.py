"""The sandbox's SQLite file. Objects are kept as the JSON text that is sent."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import orjson

from backoffice.sandbox.due import next_due
from backoffice.sandbox.ids import Ids
from backoffice.sandbox.types import Json

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, created INTEGER NOT NULL,
    json TEXT NOT NULL, status TEXT, type TEXT, customer TEXT, subscription TEXT, invoice TEXT,
    payment_intent TEXT, charge TEXT, email TEXT, parent TEXT, deleted INTEGER NOT NULL DEFAULT 0,
    due INTEGER, clock TEXT, payout TEXT);
CREATE TABLE IF NOT EXISTS secrets (endpoint TEXT PRIMARY KEY, secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rolled_secrets (
    endpoint TEXT NOT NULL, secret TEXT NOT NULL, expires REAL NOT NULL);
CREATE TABLE IF NOT EXISTS failing (
    endpoint TEXT PRIMARY KEY, since REAL NOT NULL, failures INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS emails (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, UNIQUE (event, endpoint));
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, attempt INTEGER NOT NULL,
    status_code INTEGER, error TEXT, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    request_id TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, permissions TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
LINKS = ("subscription", "invoice", "payment_intent", "charge", "email", "parent", "payout")
INDEXES = [
    "CREATE UNIQUE INDEX IF NOT EXISTS object_id ON objects (id)",
    "CREATE INDEX IF NOT EXISTS object_kind ON objects (kind, created, seq)",
    """CREATE INDEX IF NOT EXISTS object_status ON objects (kind, status, created, seq)
    WHERE status IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS object_type ON objects (kind, type, created, seq)
    WHERE type IS NOT NULL""",
    """CREATE INDEX IF NOT EXISTS object_customer ON objects (customer, kind, created, seq)
    WHERE customer IS NOT NULL""",
    *(
        f"CREATE INDEX IF NOT EXISTS object_of_{name} ON objects ({name}, kind, created, seq)"
        f" WHERE {name} IS NOT NULL"
        for name in LINKS
    ),
    """CREATE INDEX IF NOT EXISTS object_not_paid_out ON objects (status)
    WHERE kind = 'balance_transaction' AND payout IS NULL""",
    "CREATE INDEX IF NOT EXISTS object_deleted ON objects (kind) WHERE deleted",
    "CREATE INDEX IF NOT EXISTS object_due ON objects (clock, due, seq) WHERE due IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS object_clock ON objects (clock, kind) WHERE clock IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS idempotency_at ON idempotency (at)",
    "CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due) WHERE state = 'pending'",
]
COLUMNS = (
    "seq, id, kind, created, json, status, type, customer, subscription, invoice,"
    " payment_intent, charge, email, parent, deleted, due, clock"
)
INSERT = f"INSERT INTO objects ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
UPSERT = (
    f"{INSERT}"
    " ON CONFLICT (seq) DO UPDATE SET json = excluded.json, status = excluded.status,"
    " customer = excluded.customer, subscription = excluded.subscription,"
    " invoice = excluded.invoice, payment_intent = excluded.payment_intent,"
    " charge = excluded.charge, email = excluded.email, deleted = excluded.deleted,"
    " due = excluded.due"
)


Row: TypeAlias = tuple[Any, ...]
"""The values of `COLUMNS`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An enabled webhook endpoint, as delivery needs it."""

    id: str
    url: str
    enabled_events: frozenset[str]
    api_version: str | None = None

    def wants(self, kind: str) -> bool:
        """Whether an event of type `kind` goes to this endpoint."""
        return "*" in self.enabled_events or kind in self.enabled_events


class Store:
    """The file with everything of one mode that survives a restart.

    One connection, used from one thread. WAL with `synchronous=NORMAL`: what is committed
    survives SIGKILL.
    """

    livemode = False

    def __init__(self, path: Path, *, livemode: bool = False) -> None:
        self._open(path, journal="WAL", synchronous="NORMAL")
        self._upgrade()
        self.create_indexes()
        self.livemode = livemode
        self.ids = Ids(livemode=livemode)
        self.new_deliveries: Callable[[], None] = lambda: None
        self._seq = self.db.execute("SELECT coalesce(max(seq), 0) FROM objects").fetchone()[0]
        self._endpoints: list[Endpoint] | None = None

    def _open(self, path: Path, *, journal: str, synchronous: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self.db.execute("PRAGMA page_size = 8192")
        self.db.execute(f"PRAGMA journal_mode = {journal}")
        self.db.execute(f"PRAGMA synchronous = {synchronous}")
        self.db.execute("PRAGMA cache_size = -65536")
        self.db.executescript(SCHEMA)

    def _upgrade(self) -> None:
        """Adds what a file of an earlier version lacks: columns, those of `row_of` for time."""
        columns = {column[1] for column in self.rows("PRAGMA table_info(objects)")}
        if "payout" not in columns:
            self.db.execute("ALTER TABLE objects ADD COLUMN payout TEXT")
        if "due" in columns:
            return
        with self.transaction():
            self.db.execute("ALTER TABLE objects ADD COLUMN due INTEGER")
            self.db.execute("ALTER TABLE objects ADD COLUMN clock TEXT")
            for seq, text in self.db.execute("SELECT seq, json FROM objects WHERE NOT deleted"):
                if coming := next_due(orjson.loads(text), int(time.time())):
                    self.db.execute("UPDATE objects SET due = ? WHERE seq = ?", (coming[0], seq))

    @classmethod
    @contextmanager
    def loading(cls, path: Path) -> Iterator[Self]:
        """A new file to load many rows into: no journal and no indexes until it is left.

        Not crash-safe: whoever uses it gives the file its name when it is complete.
        """
        store = cls.__new__(cls)
        store._seq = 0
        store._open(path, journal="OFF", synchronous="OFF")
        try:
            store.db.execute("BEGIN")
            yield store
            store.create_indexes()
            store.db.execute("COMMIT")
        finally:
            store.close()

    def close(self) -> None:
        """Closes the file."""
        self.db.close()

    def create_indexes(self) -> None:
        """Creates the indexes; done last when many rows are loaded."""
        for statement in INDEXES:
            self.db.execute(statement)

    def next_seq(self) -> int:
        """The next place in the order of creation."""
        self._seq += 1
        return int(self._seq)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits on leaving, rolls back on an exception."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            self._endpoints = None
            raise
        self.db.execute("COMMIT")

    @contextmanager
    def undoing(self) -> Iterator[None]:
        """Within a transaction: undoes on an exception what was done since, and no more."""
        self.db.execute("SAVEPOINT step")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK TO step")
            raise
        finally:
            self.db.execute("RELEASE step")

    def load(self, id: str) -> tuple[int, Json, str | None, bool] | None:  # noqa: A002
        """(seq, object, parent, deleted) of the object `id`, or None."""
        row = self.db.execute(
            "SELECT seq, json, parent, deleted FROM objects WHERE id = ?", (id,)
        ).fetchone()
        return row and (row[0], orjson.loads(row[1]), row[2], bool(row[3]))

    def save(self, rows: Iterable[Row]) -> None:
        """Writes rows made by `row_of`."""
        if self.livemode:
            rows = ((*row[:4], as_live(row[4]), *row[5:]) for row in rows)
        self.db.executemany(UPSERT, rows)

    def load_rows(self, rows: Iterable[Row]) -> None:
        """Adds many rows of a new world, numbered in their order."""
        numbered = ((self.next_seq(), *row[1:]) for row in rows)
        self.db.executemany(INSERT, numbered)

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.db.execute(sql, tuple(values)).fetchall()

    def next_due(self, until: int, clock: str | None = None) -> tuple[str, int] | None:
        """(id, time) of what is due first, no later than `until`: of a test clock, or of none."""
        rows = self.rows(
            "SELECT id, due FROM objects WHERE clock IS ? AND due <= ? ORDER BY due, seq LIMIT 1",
            [clock, until],
        )
        return rows[0] if rows else None

    def clock_of(self, ids: Sequence[str]) -> str | None:
        """The test clock that one of the objects `ids` belongs to."""
        marks = ", ".join("?" * len(ids))
        rows = self.rows(
            f"SELECT clock FROM objects WHERE id IN ({marks}) AND clock IS NOT NULL LIMIT 1",  # noqa: S608
            ids,
        )
        return rows[0][0] if rows else None

    def nothing_due(self, id: str) -> None:  # noqa: A002
        """Nothing happens to the object `id` by itself any more, until it is changed."""
        self.db.execute("UPDATE objects SET due = NULL WHERE id = ?", (id,))

    def counts(self) -> dict[str, int]:
        """How many objects there are of each kind, without deleted ones."""
        counted: dict[str, int] = dict(
            self.rows("SELECT kind, count(*) FROM objects GROUP BY kind")
        )
        for kind, deleted in self.rows(
            "SELECT kind, count(*) FROM objects WHERE deleted GROUP BY kind"
        ):
            counted[kind] -= deleted
        return counted

    def endpoints(self) -> list[Endpoint]:
        """The enabled webhook endpoints."""
        if self._endpoints is None:
            found = self.rows(
                "SELECT json FROM objects"
                " WHERE kind = 'webhook_endpoint' AND status = 'enabled' AND NOT deleted"
            )
            self._endpoints = [
                Endpoint(
                    made["id"],
                    made["url"],
                    frozenset(made["enabled_events"]),
                    made["api_version"],
                )
                for made in (orjson.loads(text) for (text,) in found)
            ]
        return self._endpoints

    def endpoints_changed(self) -> None:
        """Forgets the cached endpoints."""
        self._endpoints = None

    def enqueue(self, event: str, endpoint: str) -> None:
        """Plans the delivery of `event` to `endpoint`, now."""
        self.db.execute(
            "INSERT INTO outbox (event, endpoint, state, due) VALUES (?, ?, 'pending', ?)"
            " ON CONFLICT (event, endpoint) DO UPDATE SET state = excluded.state,"
            " due = excluded.due, attempts = 0",
            (event, endpoint, time.time()),
        )

    def count_undelivered(self, event: str) -> int:
        """To how many endpoints the event is still to be delivered, or never was."""
        counted = self.rows(
            "SELECT count(*) FROM outbox WHERE event = ? AND state <> 'succeeded'", [event]
        )
        return int(counted[0][0])

    def secrets(self, endpoint: str, now: float) -> list[str]:
        """What the endpoint's deliveries are signed with: its secret, and unexpired older ones."""
        found = self.rows(
            "SELECT secret FROM secrets WHERE endpoint = ? UNION ALL"
            " SELECT secret FROM rolled_secrets WHERE endpoint = ? AND expires > ?",
            [endpoint, endpoint, now],
        )
        return [secret for (secret,) in found]

    def roll_secret(self, endpoint: str, secret: str, expires: float) -> None:
        """Gives the endpoint a new secret; the one that it had is good until `expires`."""
        self.db.execute(
            "INSERT INTO rolled_secrets SELECT endpoint, secret, ? FROM secrets WHERE endpoint = ?",
            (expires, endpoint),
        )
        self.db.execute("UPDATE secrets SET secret = ? WHERE endpoint = ?", (secret, endpoint))


def as_live(text: str) -> str:
    """The JSON of objects, which are made as those of test mode, as live mode shows them."""
    return text.replace('"livemode":false', '"livemode":true')


def row_of(
    seq: int,
    made: Json,
    parent: str | None,
    deleted: bool,
    *,
    since: int,
    clock: str | None = None,
) -> Row:
    """The row of an object: its JSON, the columns that lists filter by, and when it is due.

    `since` is the time at which it is written. `clock` is the test clock that it belongs to; a
    row that exists keeps its own.
    """
    coming = None if deleted else next_due(made, since)
    time_of = (coming[0] if coming else None, clock)
    kind = made["object"]
    get = made.get
    subscription = get("subscription")
    status = get("status")
    email = get("email")
    if kind == "invoice" and (origin := made["parent"]):
        subscription = origin["subscription_details"]["subscription"]
    elif kind == "checkout.session":
        details = made["customer_details"]
        email = details["email"] if details else made["customer_email"]
    elif kind == "invoice_payment":
        return (
            seq,
            made["id"],
            kind,
            made["created"],
            orjson.dumps(made).decode(),
            status,
            None,
            None,
            None,
            made["invoice"],
            made["payment"].get("payment_intent"),
            None,
            None,
            parent,
            deleted,
            *time_of,
        )
    elif kind == "event":
        status = "delivered" if made["pending_webhooks"] == 0 else "pending"
    return (
        seq,
        made["id"],
        kind,
        get("created") or get("date") or 0,
        orjson.dumps(made).decode(),
        status,
        get("type"),
        get("customer"),
        subscription,
        get("invoice"),
        get("payment_intent"),
        get("charge"),
        email,
        parent or get("product") or get("source"),
        deleted,
        *time_of,
    )

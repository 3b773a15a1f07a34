"""The sandbox's SQLite file. Objects are kept as the JSON text that is sent."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import orjson

from backoffice.sandbox.ids import Ids
from backoffice.sandbox.types import Json

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, created INTEGER NOT NULL,
    json TEXT NOT NULL, status TEXT, type TEXT, customer TEXT, subscription TEXT, invoice TEXT,
    payment_intent TEXT, charge TEXT, email TEXT, parent TEXT, deleted INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS secrets (endpoint TEXT PRIMARY KEY, secret TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, UNIQUE (event, endpoint));
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, attempt INTEGER NOT NULL,
    status_code INTEGER, error TEXT, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,
    request_id TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
LINKS = ("subscription", "invoice", "payment_intent", "charge", "email", "parent")
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
        f"CREATE INDEX IF NOT EXISTS object_{name} ON objects ({name}, kind)"
        f" WHERE {name} IS NOT NULL"
        for name in LINKS
    ),
    "CREATE INDEX IF NOT EXISTS object_deleted ON objects (kind) WHERE deleted",
    "CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due) WHERE state = 'pending'",
]
COLUMNS = (
    "seq, id, kind, created, json, status, type, customer, subscription, invoice,"
    " payment_intent, charge, email, parent, deleted"
)
INSERT = f"INSERT INTO objects ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
UPSERT = (
    f"{INSERT}"
    " ON CONFLICT (seq) DO UPDATE SET json = excluded.json, status = excluded.status,"
    " customer = excluded.customer, subscription = excluded.subscription,"
    " invoice = excluded.invoice, payment_intent = excluded.payment_intent,"
    " charge = excluded.charge, email = excluded.email, deleted = excluded.deleted"
)


Row: TypeAlias = tuple[Any, ...]
"""The values of `COLUMNS`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An enabled webhook endpoint, as delivery needs it."""

    id: str
    url: str
    secret: str
    enabled_events: frozenset[str]

    def wants(self, kind: str) -> bool:
        """Whether an event of type `kind` goes to this endpoint."""
        return "*" in self.enabled_events or kind in self.enabled_events


class Store:
    """The file with everything that survives a restart.

    One connection, used from one thread. WAL with `synchronous=NORMAL`: what is committed
    survives SIGKILL.
    """

    def __init__(self, path: Path) -> None:
        self._open(path, journal="WAL", synchronous="NORMAL")
        self.create_indexes()
        self.ids = Ids()
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

    def load(self, id: str) -> tuple[int, Json, str | None, bool] | None:  # noqa: A002
        """(seq, object, parent, deleted) of the object `id`, or None."""
        row = self.db.execute(
            "SELECT seq, json, parent, deleted FROM objects WHERE id = ?", (id,)
        ).fetchone()
        return row and (row[0], orjson.loads(row[1]), row[2], bool(row[3]))

    def save(self, rows: Iterable[Row]) -> None:
        """Writes rows made by `row_of`."""
        self.db.executemany(UPSERT, rows)

    def load_rows(self, rows: Iterable[Row]) -> None:
        """Adds many rows of a new world, numbered in their order."""
        numbered = ((self.next_seq(), *row[1:]) for row in rows)
        self.db.executemany(INSERT, numbered)

    def rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.db.execute(sql, tuple(values)).fetchall()

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
                "SELECT json, secret FROM objects JOIN secrets ON endpoint = id"
                " WHERE kind = 'webhook_endpoint' AND status = 'enabled' AND NOT deleted"
            )
            self._endpoints = [
                Endpoint(made["id"], made["url"], secret, frozenset(made["enabled_events"]))
                for made, secret in ((orjson.loads(text), secret) for text, secret in found)
            ]
        return self._endpoints

    def endpoints_changed(self) -> None:
        """Forgets the cached endpoints."""
        self._endpoints = None

    def enqueue(self, event: str, endpoint: str, *, state: str = "pending") -> None:
        """Plans the delivery of `event` to `endpoint`, now."""
        self.db.execute(
            "INSERT INTO outbox (event, endpoint, state, due) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (event, endpoint) DO UPDATE SET state = excluded.state,"
            " due = excluded.due, attempts = 0",
            (event, endpoint, state, time.time()),
        )


def row_of(seq: int, made: Json, parent: str | None, deleted: bool) -> Row:
    """The row of an object: its JSON and the columns that lists filter by."""
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
    )

"""Moments at which a command is killed: they depend on what it has done, not on the clock."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from backoffice.drill.stand import Stand

Moment = Callable[[Stand], AbstractContextManager[Callable[[], bool]]]
"""Within it, what it yields says whether the moment has come."""


@contextmanager
def at_list(path: str, stand: Stand) -> Iterator[Callable[[], bool]]:
    """When it has asked for a list, and waits for the answer."""
    with stand.sandbox.fault(path=path, delay_seconds=20, count=1) as fault:
        yield lambda: is_hit(stand, fault["id"])


def is_hit(stand: Stand, fault: int) -> bool:
    faults = stand.sandbox.control("faults", http="GET")["faults"]
    return any(each["id"] == fault and each["hit_count"] for each in faults)


@contextmanager
def in_a_transaction(stand: Stand) -> Iterator[Callable[[], bool]]:
    """When it has begun to write what events bring, and waits for somebody else's lock."""
    with stand.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE billing_stripe_versions IN EXCLUSIVE MODE")
        yield lambda: bool(stand.value(WAITING))


@contextmanager
def half_restored(stand: Stand) -> Iterator[Callable[[], bool]]:
    """When the new database is there under its provisional name, and not under its own."""
    query = "SELECT count(*) FROM pg_database WHERE datname LIKE %s"

    def has_come() -> bool:
        with stand.admin() as connection:
            return connection.execute(query, [f"{stand.database}_restoring%"]).fetchone() != (0,)

    yield has_come


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'"
MOMENTS: dict[str, Moment] = {
    "listing events": partial(at_list, "/v1/events"),
    "listing subscriptions": partial(at_list, "/v1/subscriptions"),
    "listing invoices": partial(at_list, "/v1/invoices"),
    "processing": in_a_transaction,
    "restoring": half_restored,
}
RECOVERING = tuple(name for name in MOMENTS if name != "restoring")

"""Who is writing, told to the database's triggers for the length of a transaction."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


def get_setting(name: str) -> str:
    """A transaction-local setting of the database session, '' where it is not set."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(current_setting(%s, true), '')", [name])
        return str(cursor.fetchone()[0])


def set_setting(name: str, value: str) -> None:
    """Sets it until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [name, value])


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Within it, changes to the billing tables are `actor`'s and not raw SQL.

    `actor` is `stripe` for what events bring, a user name for the admin, or
    `cli:<user>` for a command. It must stand inside a transaction. The previous value
    comes back at the end, since the setting would leak into later statements of the
    same transaction; after an error the transaction is over and takes it along.
    """
    if not actor:
        raise ValueError("An actor is needed: somebody must answer for the change.")
    if not connection.in_atomic_block:
        raise RuntimeError("acting_as() needs an open transaction.")
    before = get_setting("billing.actor")
    set_setting("billing.actor", actor)
    yield
    set_setting("billing.actor", before)

"""A database of a benchmark's own, which Django's connection leads to."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import Database, Databases


@contextmanager
def fresh_database(address: str) -> Iterator[Database]:
    """A migrated database on the server at `address`, connected to, and dropped afterwards."""
    from django.db import connections

    databases = Databases(address)
    database = databases.create()
    try:
        connect(database.url)
        yield database
    finally:
        connections["default"].close()
        databases.drop(database)
        databases.close()


def connect(url: str) -> None:
    """Makes the database at `url` the one that is used, in every thread."""
    from django.db import connections

    connections["default"].close()
    given = Database(url.rsplit("/", 1)[-1], url).django_settings
    connections["default"].settings_dict.update(given)
    connections.settings["default"].update(given)

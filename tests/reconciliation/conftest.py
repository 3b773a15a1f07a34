"""What is reconciled: a shop in which differences are played, and whole worlds.

A world is made once in a process, and every test has its own copy.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.operations.conftest import known_shop, shop
from tests.reconciliation.world import Base, World, make_base
from tests.support.databases import Databases

__all__ = ["known_shop", "shop"]

SMALL = 300  # customers
BEHIND = timedelta(minutes=5)  # Stripe's clock: what is caught up on is no more on its way

Bases = Callable[[int], Base]


@pytest.fixture(scope="session")
def bases(
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bases]:
    """Worlds by their number of customers, to be copied."""
    made: dict[int, Base] = {}

    def base(customers: int) -> Base:
        if customers not in made:
            with django_db_blocker.unblock():
                folder = tmp_path_factory.mktemp("base")
                at = datetime.now(UTC) - BEHIND
                made[customers] = make_base(databases, folder, customers, at=at)
        return made[customers]

    yield base
    for each in made.values():
        databases.drop(each.database)


@pytest.fixture
def small_world(
    bases: Bases, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> Iterator[World]:
    """A world of a few hundred customers, where commits are real."""
    with django_db_blocker.unblock(), bases(SMALL).copy(tmp_path) as world:
        yield world

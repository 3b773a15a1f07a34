"""Two processes that wait for each other: one of them begins again, and both come to their end."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import OperationalError, connection, transaction

from billing.projection.intake import Intake, bring_in
from tests.support.databases import Database


def lock(name: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [name])


def test_both_are_brought_in(real_database: Database) -> None:
    met, tries = Barrier(2), [0, 0]

    def taking(own: int, other: int) -> Callable[[Intake], None]:
        def within(intake: Intake) -> None:
            lock(own)
            tries[own] += 1
            if tries[own] == 1:
                met.wait(timeout=20)
            lock(other)

        return within

    def one(own: int) -> None:
        try:
            bring_in([], actor="ann", within=taking(own, 1 - own))
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        for coming in [pool.submit(one, own) for own in (0, 1)]:
            coming.result()
    assert sorted(tries) == [1, 2]


def test_another_failure_of_the_database_is_no_reason_to_begin_again(
    real_database: Database,
) -> None:
    tries = []

    def fail(intake: Intake) -> None:
        tries.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '10ms'")
            cursor.execute("SELECT pg_sleep(5)")

    with pytest.raises(OperationalError, match="statement timeout"):
        bring_in([], actor="ann", within=fail)
    assert tries == [1]
    with transaction.atomic():
        lock(1)

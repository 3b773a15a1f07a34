"""Threads of one process write Stripe's objects one after the other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, RLock

import pytest
from django.db import connection, transaction

from billing.projection import intake
from billing.projection.intake import Intake, bring_in
from tests.support.databases import Database


@pytest.fixture(autouse=True)
def turns(threads_are_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_turn", RLock())


def test_the_second_begins_when_the_first_has_ended(real_database: Database) -> None:
    """Unless it holds rows itself: the first may be waiting for these."""
    is_within, may_end, order = Event(), Event(), list[str]()

    def first() -> None:
        def within(_: Intake) -> None:
            is_within.set()
            assert may_end.wait(20)
            order.append("first")

        bringing(within)

    def bringing(within: Callable[[Intake], None]) -> None:
        try:
            bring_in([], actor="ann", within=within)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert is_within.wait(20)
        two = pool.submit(bringing, lambda _: order.append("second"))
        with transaction.atomic():
            bring_in([], actor="ann", within=lambda _: order.append("in a transaction"))
        assert not two.done()
        may_end.set()
        one.result()
        two.result()
    assert order == ["in a transaction", "first", "second"]

"""The promise of reconciliation: what was done wrong is found, each thing once, and mended.

In a world that is in order causes of every kind are planted. A daily run must find each of them
exactly once, with the right kind and fix, and nothing else; the safe fixes must mend all that they
can, and the next run must find only what needs a person. Whatever goes on meanwhile.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from pytest_django import DjangoDbBlocker, Settings

from billing.gateway.client import GatewayError
from billing.models import FindingRecord, ReconciliationRun
from billing.operations.base import Actor
from billing.reconciliation import examining, fixing, runs
from tests.reconciliation.bustle import bustling
from tests.reconciliation.causes_payments import agent_s_grant_and_then_the_webhook
from tests.reconciliation.conftest import BEHIND, SMALL, Bases
from tests.reconciliation.planting import SAFE, plant
from tests.reconciliation.town import Expected, Town
from tests.reconciliation.world import World, make_base
from tests.support.databases import Databases

LARGE = 2_000  # customers
SEEDS = 200
NO_GRACE = timedelta(seconds=-2)  # what was lost just now is a difference, too
RITA = Actor.cli("rita")
# A grant by hand is of the database's time, which is not set back along with Stripe's and ours.
BY_THE_DATABASE_S_CLOCK = (agent_s_grant_and_then_the_webhook,)
Found = tuple[str, str, str | None]


def reconcile(*, grace: timedelta = NO_GRACE) -> ReconciliationRun:
    """A daily run, started again for as long as Stripe does not tell all."""
    for _ in range(10):
        try:
            return runs.reconcile("daily", actor=RITA.name, grace=grace)
        except GatewayError as error:
            last = error
    raise last


def found_by(run: ReconciliationRun) -> Counter[Found]:
    """Kind, subject and recommended operation of all that a run found."""
    records = FindingRecord.objects.filter(run=run)
    return Counter((r.kind, r.subject, (r.fix or {}).get("operation")) for r in records)


def wanted(seeds: Iterable[Expected]) -> Counter[Found]:
    return Counter(seed.found for seed in seeds)


def find_each(planted: list[Expected], *, grace: timedelta = NO_GRACE) -> ReconciliationRun:
    """A run that finds each seed once, and nothing else."""
    run = reconcile(grace=grace)
    found, expected = found_by(run), wanted(planted)
    assert found - expected == Counter(), "more than was planted"
    assert expected - found == Counter(), "less than was planted"
    assert run.found == len(planted)
    return run


def mend(run: ReconciliationRun, planted: list[Expected]) -> None:
    """All that is safe is mended, and the rest is left to a person."""
    fixed = fixing.fix(run, RITA, lambda said: None)
    assert not fixed.failed, fixed.lines()
    assert Counter(each.subject for each in fixed.mended) == Counter(
        seed.subject for seed in planted if seed.fix in SAFE
    )
    assert len(fixed.left) == len(left_of(planted))


def left_of(planted: list[Expected]) -> list[Expected]:
    """The seeds that need a person."""
    return [seed for seed in planted if seed.fix not in SAFE]


def find_mend_and_find_the_rest(planted: list[Expected], *, grace: timedelta = NO_GRACE) -> None:
    mend(find_each(planted, grace=grace), planted)
    find_each(left_of(planted), grace=grace)


@pytest.mark.long
def test_of_200_seeds_in_2000_customers_each_is_found_once_and_mended(
    bases: Bases, django_db_blocker: DjangoDbBlocker, tmp_path: Path
) -> None:
    with django_db_blocker.unblock(), bases(LARGE).copy(tmp_path) as world:
        assert reconcile().differences == {}
        planted = plant(Town(world, 1), SEEDS)
        find_mend_and_find_the_rest(planted)


def test_with_stripe_answering_429_and_500_at_random(small_world: World) -> None:
    planted = plant(Town(small_world, 2))
    for status in (429, 500):
        fault = {"status": status, "probability": 0.03, "seed": status}
        small_world.sandbox.control("faults", path="/v1/*", **fault)
    find_mend_and_find_the_rest(planted)
    faults = small_world.sandbox.control("faults", http="GET")["faults"]
    assert all(fault["hit_count"] for fault in faults)


def test_with_rows_changing_while_it_runs(small_world: World) -> None:
    """People buy and renew, and their webhooks are a moment late."""
    town = Town(small_world, 3)
    planted = plant(town)
    small_world.sandbox.advance(seconds=BEHIND.total_seconds())
    with bustling(town, people=8) as bustle:
        find_mend_and_find_the_rest(planted, grace=examining.GRACE)
    assert bustle.done > 10
    find_each(left_of(planted))


def test_across_a_change_of_the_clocks(
    databases: Databases, django_db_blocker: DjangoDbBlocker, tmp_path: Path, settings: Settings
) -> None:
    """Two minutes before the clocks are set back in Berlin half of it happens, and half after."""
    settings.REPORT_TIME_ZONE = "Europe/Berlin"
    change = last_sunday_of_october()
    with django_db_blocker.unblock():
        before = change - timedelta(minutes=2)
        base = make_base(databases, tmp_path, SMALL, at=before)
        (tmp_path / "copy").mkdir()
        with base.copy(tmp_path / "copy") as world, at_the_time_of(world) as clock:
            town = Town(world, 4)
            planted = plant(town, without=BY_THE_DATABASE_S_CLOCK)
            world.sandbox.advance(hours=1)
            clock.shift(timedelta(hours=1))
            find_mend_and_find_the_rest(planted)
        databases.drop(base.database)


def last_sunday_of_october() -> datetime:
    """When the clocks were last set back in Berlin: 01:00 UTC."""
    now = datetime.now(UTC)
    for year in (now.year, now.year - 1):
        last = datetime(year, 10, 31, 1, tzinfo=UTC)
        change = last - timedelta(days=(last.weekday() + 1) % 7)
        if change < now - timedelta(days=1):
            return change
    raise AssertionError("there is one each year")


def at_the_time_of(world: World) -> time_machine.travel:
    """Our clock is the sandbox's."""
    now = world.sandbox.control("clock", http="GET")["now"]
    return time_machine.travel(datetime.fromtimestamp(now, UTC))

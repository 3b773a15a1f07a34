"""How time passes in a running sandbox: what is due happens, one thing after the other.

A few at a time in one transaction, in the order in which they are due. What is due is kept with
the objects, so that a sandbox that was killed, or not used for days, goes on where it stopped.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from backoffice.sandbox.due import next_due
from backoffice.sandbox.lifecycle import clocks, passage
from backoffice.sandbox.store import Store
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

LOGGER = logging.getLogger(__name__)
NAME = "clock"
AT_ONCE = 0.02
"""Seconds after which others get their turn."""
IDLE = 1.0
"""Seconds after which it looks again."""


class Clockwork:
    """The time of a sandbox, and the test clocks in it. `work_at` makes a unit of work."""

    def __init__(self, store: Store, work_at: Callable[[int], Work]) -> None:
        self.store = store
        self.work_at = work_at
        self.ahead = int(work_at(0).remembered(NAME).get("ahead", 0))
        self._wake = asyncio.Event()

    def goal(self) -> int:
        """The real time, and as much later as the sandbox was advanced; epoch seconds."""
        return int(time.time()) + self.ahead

    def now(self) -> int:
        """The sandbox's time: the goal, or before it the time of what has not happened yet."""
        goal = self.goal()
        behind = self.store.next_due(goal)
        return behind[1] if behind else goal

    def is_ready(self) -> bool:
        """Whether everything that is due has happened, test clocks included."""
        return self.store.next_due(self.goal()) is None and self._advancing() is None

    def advance(self, seconds: int) -> None:
        """Lets so much time pass, beginning now; it takes as long as what happens then."""
        self.ahead += seconds
        with self.store.transaction():
            self.work_at(0).remember(NAME, {"ahead": self.ahead})
        self._wake.set()

    async def run(self) -> None:
        """Lets time pass until it is cancelled."""
        while True:
            self._wake.clear()
            if self.pass_for(AT_ONCE):
                self.store.new_deliveries()
                await asyncio.sleep(0)
                continue
            try:
                async with asyncio.timeout(IDLE):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def pass_for(self, seconds: float) -> bool:
        """Lets happen what is due, for so long; whether there was anything."""
        if self.is_ready():
            return False
        until = time.monotonic() + seconds
        with self.store.transaction():
            while self._step() and time.monotonic() < until:
                pass
        return True

    def _step(self) -> bool:
        """Lets happen what is due next; whether there was anything."""
        if coming := self.store.next_due(self.goal()):
            self._happen(*coming)
            return True
        clock = self._advancing()
        if clock is None:
            return False
        target = clock["status_details"]["advancing"]["target_frozen_time"]
        if coming := self.store.next_due(target, clock["id"]):
            self._happen(*coming, clock)
        else:
            self._on_clock(clock, clocks.arrive)
        return True

    def _advancing(self) -> Json | None:
        """A test clock that is on its way."""
        work = self.work_at(0)
        return next(iter(work.select(clocks.KIND, status="advancing")), None)

    def _happen(self, id: str, due: int, clock: Json | None = None) -> None:  # noqa: A002
        """Lets happen what is due for the object `id`. Where that fails, it never happens."""
        work = self.work_at(due)
        if clock:
            work.clock, work.events_at = clock["id"], self.now()
        try:
            with self.store.undoing():
                _let_happen(work, id, due)
        except Exception:
            LOGGER.exception("what was due for %s at %d failed", id, due)
            self.store.nothing_due(id)
            if clock:
                self._on_clock(clock, clocks.break_down)

    def _on_clock(self, clock: Json, change: Callable[[Work, Json], None]) -> None:
        work = self.work_at(self.now())
        change(work, work.find(clocks.KIND, clock["id"]))
        work.flush()


def _let_happen(work: Work, id: str, due: int) -> None:  # noqa: A002
    kept = work.stored(id)
    coming = next_due(kept.value, due) if kept else None
    if kept is None or coming is None:
        raise LookupError("nothing is due")
    passage.happen(work, kept.value, coming[1])
    work.flush()
    left = work.store.rows("SELECT due FROM objects WHERE id = ?", [id])[0][0]
    if left is not None and left <= due and next_due(kept.value, due + 1) == coming:
        raise RuntimeError(f"{coming[1]} changed nothing")

"""What a scenario is: steps in which something breaks, while life goes on between them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from random import Random
from typing import ClassVar

from backoffice.drill.engineer import Engineer
from backoffice.drill.faults import ANY, Names, Place, places
from backoffice.drill.judge import Judge
from backoffice.drill.life import Life
from backoffice.drill.scenarios.moments import MOMENTS
from backoffice.drill.stand import Command, Stand

NAMED = places(Place.FINDING, ANY) | places(Place.RECOVERY, ANY)
"""A finding about it, or an event of it in a recovery's list."""


class Scenario(ABC):
    """Breaks something. Its first line of docstring is what `--help` says of it."""

    name: ClassVar[str]

    def __init__(
        self, stand: Stand, life: Life, judge: Judge, engineer: Engineer, random: Random
    ) -> None:
        self.stand = stand
        self.life = life
        self.judge = judge
        self.engineer = engineer
        self.random = random

    @abstractmethod
    def steps(self) -> Iterator[None]:
        """Breaks things, and lets life go on at each `yield`."""

    def kill_at(self, where: str) -> Callable[[Command], None]:
        """Kills a command of the engineer's at one of the MOMENTS."""

        def kill(command: Command) -> None:
            with MOMENTS[where](self.stand) as has_come:
                self.stand.wait_until(lambda: has_come() or not command.fork.is_alive)
                command.kill()
            self.judge.inject("recovery killed", f"while it is {where}")

        return kill

    def finish(self) -> None:  # noqa: B027 (most have nothing more to do)
        """The last of it, once nothing else goes on: then an engineer is called."""


__all__ = ["Names", "Scenario"]

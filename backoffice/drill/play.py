"""One seed: a life in one database, in which every scenario breaks something and is recovered."""

import time
from collections.abc import Callable, Iterator
from random import Random

from backoffice.drill.engineer import Engineer
from backoffice.drill.judge import Judge
from backoffice.drill.life import Life
from backoffice.drill.model import Model
from backoffice.drill.options import Options
from backoffice.drill.scenarios import SCENARIOS, TWO_AT_ONCE, Scenario
from backoffice.drill.stand import Stand


class Play:
    """The rounds of one seed. `tell` is told of each as it ends."""

    def __init__(
        self, stand: Stand, seed: int, options: Options, tell: Callable[[str], None]
    ) -> None:
        self.stand = stand
        self.seed = seed
        self.options = options
        self.tell = tell
        self.random = Random(seed)  # noqa: S311
        self.life = Life(stand, Random(f"{seed}:life"), Model())  # noqa: S311
        self.judge = Judge(stand, self.life)
        self.engineer = Engineer(stand, self.life, self.judge, frozenset(options.without))
        self.number = 0  # of the round

    def play(self) -> None:
        """All rounds, or those up to the first in which something is not as it must be."""
        until = time.monotonic() + 60 * self.options.minutes
        self.life.begin()
        if "restore" in self.options.scenarios and self.random.random() < 0.5:
            self.engineer.back_up()  # an old one, once it is needed
        for together in self.rounds():
            self.number += 1
            self.round(together)
            is_over = self.number >= self.most and time.monotonic() >= until
            if is_over or not self.judge.is_passed:
                break
        self.engineer.look()
        self.judge.compared.differences += [
            f"assess: {damage}" for damage in self.engineer.assess()
        ]

    @property
    def most(self) -> int:
        """How many rounds are played, unless the time is not over then."""
        if self.options.rounds:
            return self.options.rounds
        return 1 if self.options.minutes else len(self.options.scenarios)

    def rounds(self) -> Iterator[list[str]]:
        """Which scenarios are played in each round, one or two at once, for ever."""
        single = [name for name in self.options.scenarios if name != TWO_AT_ONCE]
        while True:
            order = [[name] for name in self.random.sample(single, len(single))]
            if TWO_AT_ONCE in self.options.scenarios:
                pair = self.random.sample(sorted(SCENARIOS), 2)
                order.insert(self.random.randint(0, len(order)), pair)
            yield from order

    def round(self, together: list[str]) -> None:
        """Breaks, recovers, compares."""
        began = time.monotonic()
        self.judge.round = f"{self.number} {' and '.join(together)}"
        self.stand.say(f"round {self.judge.round}")
        self.break_things([self.scenario(name) for name in together])
        broken = time.monotonic()
        self.engineer.bring_back()
        self.judge.look_before()
        self.engineer.mend()
        self.judge.hear_of_raw_sql()
        self.judge.compare().differences += [
            f"{left['kind']} {left['subject']}: still a finding" for left in self.engineer.left
        ]
        self.judge.settle()
        for line in self.judge.compared.lines():
            self.stand.say(f"  {line}")
        ended = time.monotonic()
        self.tell(
            f"round {self.judge.round}: {self.judge.said_of_round()}; broken in"
            f" {broken - began:.1f} s, recovered in {ended - broken:.1f} s"
        )

    def scenario(self, name: str) -> Scenario:
        chance = Random(f"{self.seed}:{self.number}:{name}")  # noqa: S311
        return SCENARIOS[name](self.stand, self.life, self.judge, self.engineer, chance)

    def break_things(self, scenarios: list[Scenario]) -> None:
        """One step of one of them after the other, with life between the steps."""
        running = [scenario.steps() for scenario in scenarios]
        while running:
            steps = self.random.choice(running)
            if next(steps, "over") == "over":
                running.remove(steps)
            self.life.live(self.random.randint(0, 1))
        self.life.operate()
        for scenario in scenarios:
            scenario.finish()

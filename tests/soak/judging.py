"""What must hold after a soak, and what did not."""

import sys
from collections.abc import Callable, Iterable
from statistics import median

from tests.soak.running import Sample, Soaked

GROWTH = 1.10  # of memory, from the second quarter of the time to the last
DEAD_SHARE = 0.25  # of a table: autovacuum begins at a fifth
FEW = 2_000  # dead rows, below which no table is full of them
MEGABYTE = 1 << 20


def judge(soaked: Soaked, growth: float = GROWTH) -> list[str]:
    """A sentence for each thing that does not hold."""
    wrong = [*soaked.errors]
    if soaked.lost:
        wrong.append(f"{len(soaked.lost)} events were lost: {sorted(soaked.lost)[:5]}")
    if soaked.doubled:
        wrong.append(f"{soaked.doubled} events are in the log twice")
    wrong += [
        f"{user} has {there} credits, and must have {due}"
        for user, (due, there) in sorted(soaked.unequal.items())
    ]
    wrong += [f"waited too long: {line}" for line in soaked.lock_waits]
    return wrong + grown(soaked.samples, growth) + dead(soaked.samples)


def grown(samples: list[Sample], growth: float) -> list[str]:
    """Processes whose memory grew."""
    wrong = []
    for name in samples[-1].memory if samples else ():
        early, late = quarters(samples, lambda each: each.memory.get(name, 0))  # noqa: B023
        if late > early * growth:
            wrong.append(
                f"the memory of {name} grew from {early / MEGABYTE:.0f} to"
                f" {late / MEGABYTE:.0f} MiB"
            )
    return wrong


def dead(samples: list[Sample]) -> list[str]:
    """Tables of which too much is dead, and not just at one moment."""
    wrong = []
    for name in samples[-1].dead if samples else ():
        rows = last_quarter(samples)
        count = median(each.dead.get(name, 0) for each in rows)
        live = median(each.live.get(name, 0) for each in rows)
        if count > max(FEW, DEAD_SHARE * live):
            wrong.append(f"{name} has {count:.0f} dead rows and {live:.0f} living ones")
    return wrong


def quarters(samples: list[Sample], of: Callable[[Sample], int]) -> tuple[float, float]:
    """The medians of the second quarter of the time, and of the last."""
    size = max(len(samples) // 4, 1)
    early: Iterable[Sample] = samples[size : 2 * size] or samples
    return median(map(of, early)), median(map(of, last_quarter(samples)))


def last_quarter(samples: list[Sample]) -> list[Sample]:
    return samples[-max(len(samples) // 4, 1) :]


def show(soaked: Soaked, wrong: list[str]) -> None:
    """Prints the figures, the memory early and late, and what is wrong."""
    write = sys.stdout.write
    for name, value in soaked.figures.items():
        write(f"{name:36} {value:>10}\n")
    for name in soaked.samples[-1].memory:
        early, late = quarters(soaked.samples, lambda each: each.memory.get(name, 0))  # noqa: B023
        write(f"memory of {name:26} {early / MEGABYTE:7.0f} to {late / MEGABYTE:.0f} MiB\n")
    last = soaked.samples[-1]
    for name in sorted(last.dead, key=lambda each: -last.dead[each])[:3]:
        write(f"dead rows of {name:23} {last.dead[name]:>10} of {last.live[name]}\n")
    if soaked.lock_waits:
        write("".join(f"long transaction: {each}\n" for s in soaked.samples for each in s.long))
    write("".join(f"WRONG: {each}\n" for each in wrong) or "Everything holds.\n")

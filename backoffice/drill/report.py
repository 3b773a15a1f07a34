"""What a seed came to, for people."""

from collections.abc import Iterator

from backoffice.drill.judge import Judge
from backoffice.drill.options import Options

MOST_SHOWN = 30  # differences


def report(judge: Judge, seed: int, options: Options, seconds: float) -> Iterator[str]:
    """A line for each fault, one for each thing that is not as it must be, and the sums."""
    yield f"Seed {seed}"
    yield from (f"  {fault}" for fault in judge.faults)
    yield from (f"  wrongly reported: {word}" for word in judge.unexplained)
    lines = judge.compared.lines()
    yield from (f"  {line}" for line in lines[:MOST_SHOWN])
    if len(lines) > MOST_SHOWN:
        yield f"  and {len(lines) - MOST_SHOWN} more"
    sums = judge.document(seed)
    del sums["seed"]
    said = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sums.items())
    verdict = "passed" if judge.is_passed else "FAILED"
    yield f"  {verdict} in {seconds:.0f} s: {said}"


def replay(seed: int, options: Options, rounds: int) -> str:
    """How to play exactly this again."""
    parts = [f"manage.py drill --seed {seed} --scenario {','.join(options.scenarios)}"]
    parts += [f"--rounds {rounds}"] if options.minutes or options.rounds else []
    parts += [f"--without {','.join(options.without)}"] if options.without else []
    return " ".join([*parts, "--keep"])

"""`manage.py drill`."""

import random
import signal
import subprocess
import sys
from argparse import RawDescriptionHelpFormatter
from textwrap import indent
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from backoffice.drill.engineer import STEPS
from backoffice.drill.environment import scratch
from backoffice.drill.options import Options
from backoffice.drill.scenarios import NAMES, explained
from backoffice.processes import BASE_DIR

USAGE = 2  # exit code
MOST_SEEDS = 10_000
LARGEST_SEED = 2**31
ALL = "all"
EPILOG = """\
Scenarios:
{scenarios}

The engineer's steps, for --without: {steps}

Example: manage.py drill --seed 7 --scenario outage,restore
"""


class Command(BaseCommand):
    help = (
        "Rehearse emergencies. In a scratch database with a Stripe sandbox, a web server and a"
        " worker of its own it plays the life of a marketplace, breaks things, recovers with the"
        " product's commands alone, and compares every billing row, balance and ledger entry with"
        " what must be true. Your database and your Stripe account are never touched. The same seed"
        " breaks the same things in the same order on any machine; how far the back office has come"
        " by then is for each machine to say. Ends with 0 if all was found and repaired and"
        " nothing else was reported, with 1 if not, with 2 for wrong usage."
    )
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        scenarios = "\n".join(f"{name:16} {text}" for name, text in explained())
        epilog = EPILOG.format(scenarios=indent(scenarios, "  "), steps=", ".join(STEPS))
        parser = super().create_parser(prog_name, subcommand, epilog=epilog, **kwargs)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, help="The first seed (default: one by chance).")
        parser.add_argument(
            "--seeds", type=int, default=1, metavar="K", help="So many seeds, one after the other."
        )
        parser.add_argument(
            "--minutes",
            type=float,
            default=0,
            metavar="M",
            help="Play rounds until these are over, one at least (default: each scenario once).",
        )
        parser.add_argument(
            "--rounds", type=int, default=0, metavar="N", help="Play the first N rounds only."
        )
        parser.add_argument(
            "--scenario",
            default=ALL,
            metavar="NAME[,NAME]",
            help="Which are played: see below (default: all).",
        )
        parser.add_argument(
            "--without",
            default="",
            metavar="STEP[,STEP]",
            help="Leave steps of the recovery out, to see that the drill notices.",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="One JSON document on stdout for each seed, one a line.",
        )
        parser.add_argument("--keep", action="store_true", help="Keep the logs, and say where.")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = read(options)
        command = [sys.executable, "-m", "backoffice.drill", asked.as_text()]
        with subprocess.Popen(  # noqa: S603
            command, cwd=BASE_DIR, env=scratch(), stdout=subprocess.PIPE, text=True
        ) as drill:
            before = [signal.signal(n, lambda *_: drill.terminate()) for n in SIGNALS]
            try:
                for line in drill.stdout or ():
                    self.stdout.write(line, ending="")
                    self.stdout.flush()
                code = drill.wait()
            finally:
                for number, handler in zip(SIGNALS, before, strict=True):
                    signal.signal(number, handler)
        if code:
            sys.exit(code)


SIGNALS = (signal.SIGINT, signal.SIGTERM)


def read(options: dict[str, Any]) -> Options:
    """What the command line asks for. Raises CommandError where that makes no sense."""
    seed, seeds = options["seed"], options["seeds"]
    if seed is None:
        seed = random.randrange(1_000_000)  # noqa: S311
    if not 0 <= seed < LARGEST_SEED:
        raise CommandError(
            f"A seed is a whole number from 0 to {LARGEST_SEED:,}.", returncode=USAGE
        )
    if not 1 <= seeds <= MOST_SEEDS:
        raise CommandError(f"--seeds is 1 to {MOST_SEEDS:,}.", returncode=USAGE)
    if options["minutes"] < 0 or options["rounds"] < 0:
        raise CommandError("--minutes and --rounds are not below 0.", returncode=USAGE)
    return Options(
        seeds=tuple(range(seed, seed + seeds)),
        scenarios=chosen(options["scenario"], NAMES, "--scenario"),
        minutes=options["minutes"],
        rounds=options["rounds"],
        as_json=options["as_json"],
        keep=options["keep"],
        verbosity=options["verbosity"],
        without=chosen(options["without"], STEPS, "--without") if options["without"] else (),
    )


def chosen(text: str, names: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The names that an option has, in the order in which they always stand."""
    if text == ALL:
        return names
    asked = {name.strip() for name in text.split(",") if name.strip()}
    if not asked or asked - set(names):
        wrong = ", ".join(sorted(asked - set(names))) or "nothing"
        raise CommandError(
            f"{option}: there is no {wrong}. There are: {', '.join(names)}.", returncode=USAGE
        )
    return tuple(name for name in names if name in asked)

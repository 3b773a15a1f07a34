"""`make soak`, `python -m tests.soak --minutes 60`: an hour of mixed load, with faults.

Buyers act at the sandbox, whose webhooks come in; the marketplace claims leads by SQL; operators
open pages and grant credits in the admin; the books are reconciled and exported. Meanwhile Stripe
fails, deliveries are lost and doubled, a worker is killed and sessions are ended. In the end
`recover_outage` brings in what never came; then nothing may be lost or doubled, the memory of what
ran all the time is flat, nobody waited for a lock for over a second, and no table is full of dead
rows. It prints its figures, and exits with 1 where one of these does not hold. Example:

    python -m tests.soak --minutes 2 --json
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import django


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1, help="of what buyers do")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two stories")
    parser.add_argument(
        "--lock-wait", type=float, default=1, help="seconds that nobody may wait for a lock"
    )
    parser.add_argument(
        "--growth", type=float, default=1.1, help="of memory, from the second quarter to the last"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.soak.judging import judge, show
    from tests.soak.running import soak

    with tempfile.TemporaryDirectory(prefix="billing-soak-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        soaked = soak(
            Path(folder), options.minutes * 60, seed=options.seed, pause=options.pause,
            lock_wait=options.lock_wait,
        )  # fmt: skip
    wrong = judge(soaked, options.growth)
    if options.json:
        sys.stdout.write(json.dumps({"figures": soaked.figures, "wrong": wrong}, indent=2) + "\n")
    else:
        show(soaked, wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

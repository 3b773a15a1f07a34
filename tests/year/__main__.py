"""`python -m tests.year`: a year of 1,000 customers, with a back office attached.

Prints how long it takes and how many events it makes. The database server and all files are
temporary. Exit code 0: every subscription, invoice and credit is as the sandbox has it.
"""

import argparse
import shutil
import sys
import time

from backoffice.postgres import EmbeddedServer
from backoffice.scratch import make_scratch_folder
from tests.support.databases import migrate
from tests.year.run import run_year


def main() -> int:
    """Runs the year; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--customers", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of what they do (1)")
    parser.add_argument("--patience", type=float, default=3600, help="seconds to wait (3600)")
    parser.add_argument("--keep", action="store_true", help="keep all files, and say where")
    options = parser.parse_args()

    folder = make_scratch_folder("year-")
    server = EmbeddedServer(folder / "postgres")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)  # noqa: T201

    try:
        server.ensure_running()
        migrate(server.url())
        outcome = run_year(
            server.url(),
            folder,
            customers=options.customers,
            seed=options.seed,
            patience=options.patience,
            say=say,
        )
    except AssertionError as error:
        say(f"FAILED: {error}")
        return 1
    finally:
        server.destroy()
        if options.keep:
            say(f"the files are in {folder}")
        else:
            shutil.rmtree(folder)
    say(
        f"passed: {outcome.rows} rows are as at Stripe: {outcome.subscriptions} subscriptions,"
        f" {outcome.invoices} invoices, {outcome.entries} grants; {outcome.events} events"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

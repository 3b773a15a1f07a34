"""`python -m tests.durability`: the drill at length; takes some minutes.

Of 1,000 deliveries, a worker, PostgreSQL or the web server dies after each hundred. The
database server and all files are temporary. Exit code 0: every row is right.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from backoffice.postgres import EmbeddedServer
from tests.durability.drill import run_drill
from tests.support.databases import migrate


def main() -> int:
    """Runs the drill; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.durability", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1000, help="at least (1000)")
    parser.add_argument("--every", type=int, default=100, help="deliveries between kills (100)")
    parser.add_argument("--seed", type=int, default=1, help="of the traffic (1)")
    parser.add_argument("--keep", action="store_true", help="keep the logs, and say where")
    options = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="drill-", dir="/tmp"))
    folder.chmod(0o711)  # the database server is another system user where this one is root
    server = EmbeddedServer(folder / "postgres")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", flush=True)  # noqa: T201

    try:
        server.ensure_running()
        migrate(server.url())
        run_drill(
            server,
            folder,
            deliveries=options.deliveries,
            every=options.every,
            seed=options.seed,
            say=say,
        )
    except AssertionError as error:
        say(f"FAILED: {error}")
        return 1
    finally:
        server.destroy()
        if options.keep:
            say(f"the logs are in {folder}")
        else:
            shutil.rmtree(folder)
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The drill's own process: `manage.py drill` starts it, in an environment of its own."""

import gc
import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from backoffice.drill.environment import scratch
from backoffice.drill.options import Options
from backoffice.postgres import EmbeddedServer
from backoffice.scratch import make_scratch_folder

if TYPE_CHECKING:
    from backoffice.drill.play import Play

INTERRUPTED = 130  # exit code


def main() -> int:
    options = Options.from_text(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    folder = make_scratch_folder("drill-")
    server = EmbeddedServer(folder / "postgres", durable=False)
    try:
        prepare(server)
        return play_all(server, folder, options)
    except KeyboardInterrupt:
        tell("Interrupted.")
        return INTERRUPTED
    finally:
        server.destroy()
        if options.keep:
            tell(f"The logs are in {folder}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Begin the end of the drill; further signals would only disturb it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def prepare(server: EmbeddedServer) -> None:
    """Django on a migrated database of the drill's own server. No connection stays open."""
    os.environ |= {**scratch(), "DATABASE_URL": server.url()}
    server.ensure_running()
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0, skip_checks=True)
    connections.close_all()
    warm_up()


def warm_up() -> None:
    """Imports what the forked processes would each import again, and lets them share it."""
    from django.conf import settings
    from django.core.management import get_commands, load_command_class
    from django.urls import get_resolver

    for name, app in get_commands().items():
        if app == "billing":
            load_command_class(app, name)
    len(get_resolver().url_patterns)  # imports the admin
    settings.DEBUG = False  # it was for the settings' sake; from now on it would note each query
    gc.collect()
    gc.freeze()


def play_all(server: EmbeddedServer, folder: Path, options: Options) -> int:
    """Every seed; 1 if one of them has failed."""
    from backoffice.drill.play import Play
    from backoffice.drill.report import replay, report
    from backoffice.drill.stand import Stand

    code = 0
    for seed in options.seeds:
        began = time.monotonic()
        say = tell if options.verbosity > 1 else hush
        progress = hush if options.as_json and options.verbosity < 2 else tell
        is_kept = "restore" in options.scenarios
        stand = Stand(server, folder / f"seed-{seed}", say, is_kept=is_kept)
        try:
            play = Play(stand, seed, options, progress)
            is_passed = played(play)
        finally:
            stand.close()
        if options.as_json:
            write(json.dumps(play.judge.document(seed)))
        else:
            write("\n".join(report(play.judge, seed, options, time.monotonic() - began)))
        if not is_passed:
            code = 1
            if options.as_json:
                tell("\n".join(report(play.judge, seed, options, time.monotonic() - began)))
            tell(f"To play it again: {replay(seed, options, play.number)}")
        if not options.keep:
            shutil.rmtree(stand.folder, ignore_errors=True)
    return code


def played(play: "Play") -> bool:
    """Whether a seed has passed; one in which the drill itself broke down has not."""
    try:
        play.play()
    except KeyboardInterrupt:
        raise
    except Exception:
        tell(traceback.format_exc())
        return False
    return play.judge.is_passed


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def hush(text: str) -> None:
    """Says nothing."""


if __name__ == "__main__":
    sys.exit(main())

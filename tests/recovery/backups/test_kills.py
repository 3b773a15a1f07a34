"""Killed at any moment, nothing half-made looks whole, and the next run puts it right."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from backoffice.postgres import BASE_DIR
from billing.models import Backup
from billing.recovery.backups import contents, folder, making, restoring
from tests.recovery.backups.conftest import Saved, beside
from tests.support.databases import Database
from tests.support.waiting import wait_until


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`manage.py` in a process of its own, which is dead in the end."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    assert process.poll() is None, "it had ended already"
    process.send_signal(signal.SIGKILL)
    process.wait()


def wait(condition: object) -> None:
    """Looks often: what is waited for may be over soon."""
    wait_until(condition, seconds=120, pause=0.002)  # type: ignore[arg-type]


def open_(address: restoring.Address) -> bool:
    return restoring.standing(address).is_open


def test_a_backup_killed_while_it_dumps(
    own: Saved, copy: Database, environment: dict[str, str], server: psycopg.Connection
) -> None:
    with psycopg.connect(copy.url) as holder:
        holder.execute("LOCK TABLE lead_claims IN ACCESS EXCLUSIVE MODE")
        with running(environment, "backup", "--reason", "Try") as process:
            wait(lambda: dumps_under_way(server, copy))
            [partial] = own.where.glob("*.partial")
            kill(process)
        assert folder.manifests() == [own.manifest]  # no half-made one
    made = making.make(actor="schedule", verifying=False)
    assert not partial.exists()
    assert not dumps_under_way(server, copy)
    assert {each.name for each in folder.manifests()} == {made.manifest.name, own.manifest.name}


def dumps_under_way(server: psycopg.Connection, database: Database) -> bool:
    found = server.execute(
        "SELECT FROM pg_stat_activity WHERE datname = %s AND application_name = %s",
        [database.name, "billing backup program"],
    )
    return found.fetchone() is not None


def test_a_backup_killed_while_it_is_verified(
    own: Saved, copy: Database, environment: dict[str, str], server: psycopg.Connection
) -> None:
    with running(environment, "backup", "--reason", "Try") as process:
        wait(lambda: "verifying" in beside(server, copy))
        kill(process)
    killed = next(each for each in folder.manifests() if each.name != own.manifest.name)
    assert killed.verified_at is None
    assert Backup.objects.get(name=killed.name).verified_at is None
    assert folder.named("latest", copy.name) == own.manifest
    making.make(actor="schedule", verifying=False)
    assert beside(server, copy) == {}


def test_a_backup_killed_while_it_is_made_public(own: Saved, copy: Database) -> None:
    """Its manifest is written, and its dump has not got its name yet; or it was being deleted."""
    name = folder.name_of(copy.name, own.manifest.taken_at)
    own.dump.rename(folder.partial_file(name, own.where))
    folder.manifest_file(own.manifest.name, own.where).rename(folder.manifest_file(name, own.where))
    (own.where / f".{name}.json.unfinished").write_text("{")
    foreign = own.where / "other-20260301T023005123Z.dump.partial"
    foreign.write_text("somebody else's")
    assert folder.manifests() == []
    made = making.make(actor="schedule", verifying=False)
    assert {file.name for file in own.where.iterdir()} == {
        foreign.name,
        f"{made.manifest.name}.dump",
        f"{made.manifest.name}.json",
    }


def test_a_restore_killed_while_it_loads(
    own: Saved, copy: Database, environment: dict[str, str], server: psycopg.Connection
) -> None:
    connection.close()
    with running(environment, "restore", own.manifest.name, "--yes") as process:
        wait(lambda: "restoring" in beside(server, copy))
        kill(process)
    assert open_(own.address)
    assert "damaged" not in beside(server, copy)
    finish(own, copy, server)


def test_a_restore_killed_between_the_two_renames(
    own: Saved, copy: Database, environment: dict[str, str], server: psycopg.Connection
) -> None:
    """Both are one transaction: what is under the name then is the old one."""
    connection.close()
    with running(environment, "restore", own.manifest.name, "--yes") as process:
        wait(lambda: "restoring" in beside(server, copy))
        with own.address.at("postgres").connect() as holder:
            holder.execute("BEGIN")
            holder.execute(
                sql.SQL("COMMENT ON DATABASE {} IS 'held'").format(
                    sql.Identifier(beside(server, copy)["restoring"])
                )
            )
            wait(lambda: waits_for_rename(server))
            kill(process)
            wait(lambda: not waits_for_rename(server))
    assert restoring.standing(own.address).exists
    finish(own, copy, server)


def waits_for_rename(server: psycopg.Connection) -> bool:
    found = server.execute(
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
        ["ALTER DATABASE%_restoring_%RENAME TO%"],
    )
    return found.fetchone() is not None


def finish(own: Saved, copy: Database, server: psycopg.Connection) -> None:
    """The next call does it as if nothing had been."""
    note = restoring.restore(own.address, own.manifest, own.where, actor="cli:sue").note
    with own.address.connect() as held:
        assert contents.measure(held) == own.manifest.contents
    assert beside(server, copy) == {"damaged": note.damaged}
    assert folder.restores(own.where) == [note]
    assert open_(own.address.at(note.damaged))


@pytest.fixture
def full_disk(tmp_path: Path) -> list[str]:
    """What runs a shell's script with a place that has no room for a backup: a tiny disk of its
    own where the machine lets us mount one, else a limit on the size of files."""
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        if can_mount([*unshare, "sh", "-c"], tmp_path) and os.geteuid() == 0:
            return [*unshare, "sh", "-c", f"mount -t tmpfs -o size=1m none {tmp_path}; $0"]
    return ["sh", "-c", "ulimit -f 1000; $0"]


def can_mount(shell: list[str], place: Path) -> bool:
    if not shutil.which(shell[0]):
        return False
    tried = [*shell, f"mount -t tmpfs -o size=1m none {place}"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def test_a_full_disk(
    own: Saved, environment: dict[str, str], full_disk: list[str], tmp_path: Path
) -> None:
    *shell, script = full_disk
    place = tmp_path / "full"
    command = f"{sys.executable} manage.py backup --reason Try"
    done = subprocess.run(
        [*shell, script.replace("$0", f"{command}; code=$?; ls -A {place}; exit $code")],
        cwd=BASE_DIR,
        env={**environment, "BACKUP_FOLDER": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""  # nothing lies there
    assert "No space left on device" in done.stderr or "signal 25" in done.stderr, done.stderr
    assert Backup.objects.latest("taken_at").error

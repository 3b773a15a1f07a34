"""pgbouncer in transaction mode, before a database of the tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backoffice.processes import HOST, listen
from tests.support.databases import Database
from tests.support.tools import find_pgbouncer
from tests.support.waiting import wait_until

CONFIGURATION = """
[databases]
{name} = {server}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
server_reset_query_always = 0
"""


@contextmanager
def run_pgbouncer(database: Database, *, sessions: int) -> Iterator[str]:
    """A pool of so many sessions; the address that DATABASE_POOL_URL takes.

    As root it becomes another user: it refuses to run as root.
    """
    program = find_pgbouncer()
    if program is None:
        raise AssertionError("pgbouncer is missing")
    with listen(0) as found:
        port = found.getsockname()[1]
    known = conninfo_to_dict(database.url)
    known.setdefault("user", "postgres")
    server = " ".join(f"{name}={value}" for name, value in known.items())
    folder = Path(tempfile.mkdtemp(prefix="billing-pool-"))
    configured = folder / "pgbouncer.ini"
    configured.write_text(
        CONFIGURATION.format(
            name=database.name, server=server, host=HOST, port=port, sessions=sessions
        )
    )
    folder.chmod(0o755)
    become = []
    if os.geteuid() == 0:
        become = ["--user", next(n for n in ("postgres", "nobody") if n in names_of_users())]
    url = f"postgres://{known['user']}@{HOST}:{port}/{database.name}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, *become, configured], stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(url) or process.poll() is not None, seconds=60)
        assert process.poll() is None, (folder / "log").read_text()
        yield url
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def names_of_users() -> set[str]:
    return {user.pw_name for user in pwd.getpwall()}


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url) as connection:
            return connection.execute("SELECT 1").fetchone() is not None
    except psycopg.OperationalError:
        return False

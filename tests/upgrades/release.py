"""The previous release: its code, where the history has it, and its schema in any case.

It is the newest tag, or else the commit in release.json. At a release, the file is written anew
from a database that it migrated:

    python -m tests.upgrades.release postgres://... COMMIT
"""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import psycopg

from backoffice.postgres import BASE_DIR
from tests.upgrades.schema import Table, read

FILE = Path(__file__).parent / "release.json"


def recorded() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(FILE.read_text())
    return document


def schema() -> dict[str, Table]:
    return {name: Table.of_json(value) for name, value in recorded()["tables"].items()}


def code(folder: Path) -> Path | None:
    """A checkout of it; None where the history does not go back so far (a shallow clone)."""
    tags = git("tag", "--sort=-creatordate").stdout.decode().split()
    commit = [*tags, recorded()["commit"]][0]
    archive = git("archive", "--format=tar", commit)
    if archive.returncode:
        return None
    tar = folder / "release.tar"
    tar.write_bytes(archive.stdout)
    with tarfile.open(tar) as packed:
        packed.extractall(folder / "release", filter="data")
    return folder / "release"


def git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *arguments], cwd=BASE_DIR, capture_output=True, check=False)


def main(url: str, commit: str) -> None:
    with psycopg.connect(url) as connection:
        tables = {name: table.as_json() for name, table in read(connection).items()}
    lines = ",\n".join(f"  {json.dumps(n)}: {json.dumps(t)}" for n, t in tables.items())
    FILE.write_text(f'{{"commit": {json.dumps(commit)}, "tables": {{\n{lines}\n}}}}\n')


if __name__ == "__main__":
    main(*sys.argv[1:])

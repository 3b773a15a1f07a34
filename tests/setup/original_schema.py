"""How dj-stripe's own migrations leave its tables, which the shortcut of `migrate` must match.

They take minutes, so that the tests compare with a digest that was noted once for each version of
dj-stripe. To note it again, which first compares the two:

    python -m tests.setup.original_schema
"""

import difflib
import hashlib
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from backoffice.postgres import LOCAL_DIR, EmbeddedServer
from tests.support.back_office import run_manage
from tests.support.databases import Database, Databases, shared_server
from tests.support.environment import child_environment

NOTED = Path(__file__).with_name("original_schema.json")
AGAIN = "python -m tests.setup.original_schema"


def run_migrate(database: Database, *options: str) -> str:
    """What `manage.py migrate` says on standard output."""
    environment = child_environment(DATABASE_URL=database.url)
    return run_manage("migrate", "--skip-checks", *options, env=environment).stdout


def schema(database: Database) -> list[str]:
    """The statements that make dj-stripe's tables, without what pg_dump says of itself."""
    dumped = subprocess.run(
        [
            EmbeddedServer(LOCAL_DIR / "tests").binary("pg_dump"),
            *("--schema-only", "--no-owner", "--table=djstripe_*", database.url),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    of_itself = ("--", "\\", "SET ", "SELECT pg_catalog.")
    return [line for line in dumped.splitlines() if line and not line.startswith(of_itself)]


def note_of(statements: list[str]) -> dict[str, str]:
    """A digest of a schema, and of which dj-stripe it is."""
    digest = hashlib.sha256("\n".join(statements).encode()).hexdigest()
    return {"dj-stripe": version("dj-stripe"), "sha256": digest}


def noted() -> dict[str, str]:
    """What was noted of the original migrations."""
    note: dict[str, str] = json.loads(NOTED.read_text())
    return note


def main() -> int:
    """Runs the original migrations and the shortcut; notes the former if both are alike."""
    with shared_server() as address:
        databases = Databases(address)
        made = []
        for options in (["--no-shortcut"], []):
            database = databases.create(empty=True)
            run_migrate(database, "djstripe", *options)
            made.append(schema(database))
            databases.drop(database)
        databases.close()
    original, shortened = made
    if original != shortened:
        differing = difflib.unified_diff(original, shortened, "original", "shortened", lineterm="")
        sys.stdout.writelines(f"{line}\n" for line in differing)
        return 1
    NOTED.write_text(json.dumps(note_of(original), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    sys.exit(main())

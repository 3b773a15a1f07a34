"""Pages that the disk lost: PostgreSQL cannot read one, and does not notice that one is empty."""

import json
from pathlib import Path

import psycopg

from backoffice.postgres import EmbeddedServer
from tests.support.back_office import run_manage
from tests.support.environment import child_environment

BLOCK = 8192  # bytes
GARBAGE, EMPTY = 1, 3  # blocks of the ledger
FILL = """
    INSERT INTO lead_credits (user_id, balance)
    SELECT 'u_' || lpad(n::text, 3, '0'), 5 FROM generate_series(1, 400) n
"""
# Until then what it knows is only in the log, from which it could repair a page.
SETTLE = "VACUUM FREEZE credit_entries"


def fill(server: EmbeddedServer) -> tuple[Path, dict[int, list[str]]]:
    """A ledger of some pages: its file, and the users of each page."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute(SETTLE)
        connection.execute("CHECKPOINT")
        [path] = connection.execute("SELECT pg_relation_filepath('credit_entries')").fetchone() or (
            "",
        )
        users = connection.execute(
            "SELECT (ctid::text::point)[0]::int, array_agg(user_id ORDER BY user_id)"
            " FROM credit_entries GROUP BY 1"
        ).fetchall()
    return server.data / path, dict(users)


def damage(file: Path) -> None:
    """As a dying disk leaves it."""
    with file.open("r+b") as pages:
        pages.seek(GARBAGE * BLOCK)
        pages.write(b"\xde\xad" * (BLOCK // 2))
        pages.seek(EMPTY * BLOCK)
        pages.write(b"\x00" * BLOCK)


def test_a_page_that_cannot_be_read_stops_no_check_and_its_users_are_named(
    postgres_server: EmbeddedServer,
) -> None:
    file, users = fill(postgres_server)
    postgres_server.stop()
    damage(file)
    postgres_server.ensure_running()

    environment = child_environment(DATABASE_URL=postgres_server.url())
    ran = run_manage("assess", "--json", env=environment, check=False)
    said = json.loads(ran.stdout)
    assert (ran.returncode, said["whole"], said["not_kept"]) == (1, False, None)
    found = {check["name"]: check for check in said["checks"]}

    assert found["readable"]["verdict"] == "damaged"
    assert f"credit_entries: invalid page in block {GARBAGE}" in found["readable"]["detail"]
    [row] = found["readable"]["rows"]
    assert row["id"].startswith(f"credit_entries, block {GARBAGE}, about ids ")
    assert found["checksums"]["verdict"] == "damaged"
    assert found["amcheck"]["verdict"] == "damaged"
    assert "credit_entries" in found["amcheck"]["detail"]

    lost = sorted(users[GARBAGE] + users[EMPTY])
    assert found["ledger sums"]["users"] == lost
    assert said["users"] == lost
    assert found["triggers"]["verdict"] == "ok"
    assert found["ledger line"]["verdict"] == "ok"
    assert found["unique"]["is_blind"]

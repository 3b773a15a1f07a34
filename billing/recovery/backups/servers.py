"""A database on its server: how to reach it, how it was made, and making another one like it.

None of it goes through Django's connections, so that it works for a scratch database as for our
own, and where ours is gone.
"""

import json
import logging
import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
from django.db import connections
from psycopg import errors, pq, sql
from psycopg.rows import dict_row

from billing.recovery.backups.folder import BackupError

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]

# As the server's list of connections names us, and the programs that we start.
APPLICATION, PROGRAM = "billing backup", "billing backup program"
CONNECT_SECONDS = 20
LONGEST_NAME = 63  # bytes of a database's name
# Timeouts that would end a long dump, or the transaction that keeps its snapshot.
TIMEOUTS = dict.fromkeys(
    [
        "statement_timeout",
        "lock_timeout",
        "idle_session_timeout",
        "idle_in_transaction_session_timeout",
        "transaction_timeout",
    ],
    "0",
)
# So that what a killed process has locked is free again soon, whatever its statement was.
SETTINGS = TIMEOUTS | {"client_connection_check_interval": "1s"}
TURN = "2s"  # for which a lock is waited for: a killed process's is free within it
PROVIDERS = {"b": ("builtin", "BUILTIN_LOCALE"), "i": ("icu", "ICU_LOCALE"), "c": ("libc", "")}
# Settings whose value is a list of names (GUC_LIST_QUOTE in PostgreSQL's sources).
LISTS = ("local_preload_libraries", "search_path", "session_preload_libraries", "temp_tablespaces")
PRIVILEGES = {name: name for name in ("CONNECT", "CREATE", "TEMPORARY")}
MAY_CREATE = "SELECT rolcreatedb OR rolsuper, rolname FROM pg_roles WHERE rolname = current_user"

PROPERTIES = """
    SELECT
        pg_encoding_to_char(d.encoding) AS encoding,
        d.datcollate AS collate,
        d.datctype AS ctype,
        coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
        coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
        d.datconnlimit AS connection_limit,
        pg_get_userbyid(d.datdba) AS owner,
        coalesce((
            SELECT json_agg(json_build_object(
                'role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
                'settings', s.setconfig))
            FROM pg_db_role_setting s WHERE s.setdatabase = d.oid), '[]') AS settings,
        (SELECT json_agg(json_build_object(
                'role', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                'privilege', a.privilege_type,
                'grantable', a.is_grantable))
         FROM aclexplode(d.datacl) a) AS privileges
    FROM pg_database d WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Address:
    """How to reach a database: libpq's parameters, without its name. They hold a password."""

    database: str
    parameters: Mapping[str, str] = field(repr=False)

    def at(self, database: str) -> "Address":
        """Another database of the same server."""
        return replace(self, database=database)

    def connect(self) -> Connection:
        """A new connection, which commits each statement. Raises psycopg.OperationalError."""
        said = {
            "connect_timeout": str(CONNECT_SECONDS),
            **self.parameters,
            "dbname": self.database,
            "application_name": APPLICATION,
        }
        connection: Connection = psycopg.connect(**said, autocommit=True)  # type: ignore[arg-type]
        connection.execute(
            "SELECT set_config(s.name, w.value, false) FROM pg_settings s"
            " JOIN json_each_text(%s::json) AS w(name, value) USING (name)",
            [json.dumps(SETTINGS)],
        )
        return connection

    def environment(self) -> dict[str, str]:
        """The whole environment of a program of PostgreSQL's that is to connect there.

        A command line could be read by every user of the machine; the environment cannot.
        """
        said = {**self.parameters, "dbname": self.database, "application_name": PROGRAM}
        variables = {
            "PATH": os.defpath,
            "LC_ALL": "C",
            "HOME": pwd.getpwuid(os.geteuid()).pw_dir,
        }
        for option in pq.Conninfo.get_defaults():
            # What the caller's environment says holds for parameters that are not given.
            inherited = option.val if option.val != option.compiled else None
            value = said.get(option.keyword.decode()) or (inherited or b"").decode()
            if option.envvar and value:
                variables[option.envvar.decode()] = value
        return variables


def of_django(alias: str = "default") -> Address:
    """Where Django's connection leads."""
    said = connections[alias].settings_dict
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    parameters = {name: str(value) for name, value in said["OPTIONS"].items() if name in known}
    named = {"user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    parameters |= {name: str(said[key]) for name, key in named.items() if said.get(key)}
    return Address(str(said["NAME"]), parameters)


@contextmanager
def telling(doing: str) -> Iterator[None]:
    """Turns what the database refuses into a sentence. Raises BackupError."""
    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise BackupError(f"{doing} is not permitted: {first_line(error)}.") from error
    except psycopg.Error as error:
        raise BackupError(f"{doing} failed: {first_line(error)}.") from error


def hold(connection: Connection, subject: str, number: int) -> bool:
    """Whether the lock on a subject is ours now, for as long as the connection lives."""
    connection.execute("SELECT set_config('lock_timeout', %s, false)", [TURN])
    try:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, %s))", [subject, number])
    except errors.LockNotAvailable:
        return False
    finally:
        connection.execute("SET lock_timeout = 0")
    return True


def first_line(error: psycopg.Error) -> str:
    """What the server said, without the details, which may hold data."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".") if lines else type(error).__name__


def properties(connection: Connection) -> dict[str, Any]:
    """How the database was made, and what stands at it from outside: settings and privileges."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return dict(cursor.execute(PROPERTIES).fetchone() or {})


def create(connection: Connection, name: str, made: Mapping[str, Any]) -> None:
    """An empty database with the same encoding and locale. Raises BackupError.

    `made` is of `properties`; where it says nothing, the server's own defaults hold.
    """
    allowed = connection.execute(MAY_CREATE).fetchone()
    may, user = allowed or (False, connection.info.user)
    if not may:
        raise BackupError(
            f"The database's user {user} may not create databases, which is needed to restore a"
            f" backup. Let an administrator run: ALTER ROLE {user} CREATEDB."
        )
    parts: list[sql.Composable] = [
        sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    ]
    if made:
        words = {"ENCODING": "encoding", "LC_COLLATE": "collate", "LC_CTYPE": "ctype"}
        parts += [sql.SQL(f"{word} {{}}").format(made[key]) for word, key in words.items()]
        provider, locale = PROVIDERS[made["provider"]]
        if connection.info.server_version >= 150000:
            parts.append(sql.SQL(f"LOCALE_PROVIDER {provider}"))
        if locale and made["locale"]:
            parts.append(sql.SQL(f"{locale} {{}}").format(made["locale"]))
    with telling(f"Creating the database {name}"):
        connection.execute(sql.SQL(" ").join(parts))


def adopt(connection: Connection, name: str, made: Mapping[str, Any]) -> None:
    """Gives a database the owner, settings and privileges of `made`. Raises BackupError."""
    with telling(f"Giving {name} its settings and privileges"):
        for statement in _adopting(sql.Identifier(name), made):
            connection.execute(statement)


def _adopting(name: sql.Identifier, made: Mapping[str, Any]) -> Iterator[sql.Composed]:
    if made.get("connection_limit", -1) != -1:
        limit = sql.Literal(made["connection_limit"])
        yield sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(name, limit)
    for each in made.get("settings") or []:
        for setting in each["settings"]:
            yield _setting(name, each["role"], setting)
    if made.get("privileges") is not None:
        yield sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name)
    for each in made.get("privileges") or []:
        role = sql.Identifier(each["role"]) if each["role"] else sql.SQL("PUBLIC")
        yield sql.SQL("GRANT {} ON DATABASE {} TO {} {}").format(
            sql.SQL(PRIVILEGES[each["privilege"]]),
            name,
            role,
            sql.SQL("WITH GRANT OPTION" if each["grantable"] else ""),
        )
    if made.get("owner"):
        yield sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(made["owner"]))


def _setting(name: sql.Identifier, role: str | None, setting: str) -> sql.Composed:
    key, _, value = setting.partition("=")
    values = [value]
    if key in LISTS:
        values = [each.strip().strip('"') for each in value.split(",")]
    whose = (
        sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), name)
        if role
        else sql.SQL("DATABASE {}").format(name)
    )
    return sql.SQL("ALTER {} SET {} TO {}").format(
        whose, sql.Identifier(key), sql.SQL(", ").join(map(sql.Literal, values))
    )


def drop(connection: Connection, name: str) -> None:
    """Drops a database, ending the connections to it. Raises psycopg.Error."""
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def beside(database: str, what: str, now: datetime) -> str:
    """The name of a database that stands for another one: `billing_damaged_20260301T120005`."""
    ending = f"_{what}_{now.astimezone(UTC):%Y%m%dT%H%M%S}"
    room = LONGEST_NAME - len(ending)
    return database.encode()[:room].decode(errors="ignore") + ending


def those_beside(connection: Connection, database: str, what: str) -> list[str]:
    """The databases of this kind, by the names that `beside` gives them."""
    sample = beside(database, what, datetime.now(UTC))
    rows = connection.execute(
        "SELECT datname FROM pg_database WHERE left(datname, -15) = left(%s, -15)"
        r" AND right(datname, 15) ~ '^\d{8}T\d{6}$' ORDER BY datname",
        [sample],
    )
    return [str(name) for (name,) in rows]

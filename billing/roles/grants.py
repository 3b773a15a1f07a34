"""From what the roles may do to what they should: the statements between."""

from collections.abc import Iterator

from django.db import connection

from billing.adoption import journal
from billing.adoption.catalog import MODELS, THEIRS, quoted
from billing.database import rows
from billing.roles.wanted import (
    APPLICATION,
    BACKOFFICE,
    EVERYTHING,
    FUNCTIONS,
    OWNER,
    ROLES,
    Grant,
    of_backoffice,
    on_models,
)

ADOPTED = tuple(model._meta.db_table for model in MODELS)


def schema() -> str:
    """The schema that our tables are in."""
    return journal.schema() if journal.exists() else THEIRS


def statements() -> list[str]:
    """What is to be done, in this order; nothing where all is as it should be."""
    places, things = ("schema", "database"), ("table", "column", "sequence", "function")
    # An owner must be able to make tables where it is to own some.
    return [*_roles(), *_rights(places), *_owners(), *_functions(), *_rights(things)]


def _roles() -> Iterator[str]:
    """Groups: nobody logs in as one, so that there is no password to keep."""
    known = {
        row["name"]: row["login"]
        for row in rows(
            "SELECT rolname AS name, rolcanlogin AS login FROM pg_roles WHERE rolname = ANY(%s)",
            [list(ROLES)],
        )
    }
    for role in ROLES:
        if role not in known:
            yield f"CREATE ROLE {quoted(role)} NOLOGIN"
        elif known[role]:
            yield f"ALTER ROLE {quoted(role)} NOLOGIN"
    yield from _memberships()


def _memberships() -> Iterator[str]:
    """Whoever runs this goes on being able to; migrations may alter what was adopted."""
    wanted = [(OWNER, "current_user", _current_user())]
    wanted += [(owner, OWNER, OWNER) for owner in _adopted_owners()]
    for group, member, name in wanted:
        exists = rows(
            "SELECT FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid"
            " JOIN pg_roles u ON u.oid = a.member WHERE g.rolname = %s AND u.rolname = %s"
            " AND a.inherit_option",
            [group, name],
        )
        if not exists and not (group == OWNER and _is_superuser()):
            yield f"GRANT {quoted(group)} TO {member if group == OWNER else quoted(member)}"


def _current_user() -> str:
    return str(rows("SELECT current_user AS name")[0]["name"])


def _is_superuser() -> bool:
    return bool(
        rows("SELECT rolsuper AS it_is FROM pg_roles WHERE rolname = current_user")[0]["it_is"]
    )


def _adopted_owners() -> list[str]:
    """Who owns the application's own tables, where they were adopted.

    No superuser: a member of its role could do anything.
    """
    if schema() == THEIRS:
        return []
    found = rows(
        "SELECT DISTINCT pg_get_userbyid(c.relowner) AS name FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner"
        " WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind = 'r' AND NOT r.rolsuper"
        " ORDER BY 1",
        [THEIRS, list(ADOPTED)],
    )
    return [row["name"] for row in found if row["name"] != OWNER]


# --- Who owns what --------------------------------------------------------------------------

_OWNED = """
    SELECT c.relname AS name, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
           ELSE 'TABLE' END AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'S')
      AND pg_get_userbyid(c.relowner) <> %(owner)s
      AND (NOT %(shared)s OR c.relname = ANY(%(ours)s))
      AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid
               AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
    ORDER BY 1
"""


def _owners() -> Iterator[str]:
    """Our tables, views and functions belong to the owner; the application's stay its own."""
    own, owner = schema(), quoted(OWNER)
    shared = own == THEIRS
    names = {"owner": OWNER, "shared": shared, "ours": _tables()}
    for each in (own,) if shared else (own, journal.shapes()):
        for row in rows(_OWNED, names | {"schema": each}):
            yield f"ALTER {row['kind']} {quoted(each, row['name'])} OWNER TO {owner}"
    for row in _owned_functions():
        yield f"ALTER ROUTINE {row['signature']} OWNER TO {owner}"
    for row in _owned_types():
        yield f"ALTER TYPE {row['name']} OWNER TO {owner}"
    for each in () if shared else (own, journal.shapes()):
        found = rows(
            "SELECT FROM pg_namespace WHERE nspname = %s AND pg_get_userbyid(nspowner) <> %s",
            [each, OWNER],
        )
        if found:
            yield f"ALTER SCHEMA {quoted(each)} OWNER TO {owner}"


def _tables() -> list[str]:
    """Every table of ours, of Django's and of the packages', by name."""
    own = schema()
    found = rows(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v') ORDER BY 1",
        [own],
    )
    names = [row["name"] for row in found]
    if own != THEIRS:
        return names
    ours = set(connection.introspection.django_table_names(only_existing=True))
    ours |= {"django_migrations"}
    return [name for name in names if name in ours or name.startswith("procrastinate_")]


def _owned_functions() -> list[dict[str, str]]:
    """Functions of ours with another owner: in a schema that we share, those of our triggers."""
    return rows(
        """
        SELECT p.oid::regprocedure::text AS signature FROM pg_proc p
        JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = %(schema)s AND pg_get_userbyid(p.proowner) <> %(owner)s
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                          AND d.objid = p.oid AND d.deptype = 'e')
          AND (%(schema)s <> 'public' OR p.proname = 'claim_lead'
               OR p.proname ~ '^(billing|pgtrigger|procrastinate)_')
        ORDER BY 1
        """,
        {"schema": schema(), "owner": OWNER},
    )


def _owned_types() -> list[dict[str, str]]:
    """Enumerations of the job queue's."""
    return rows(
        "SELECT t.oid::regtype::text AS name FROM pg_type t JOIN pg_namespace n"
        " ON n.oid = t.typnamespace WHERE n.nspname = %s AND t.typtype = 'e'"
        " AND starts_with(t.typname, 'procrastinate_') AND pg_get_userbyid(t.typowner) <> %s"
        " ORDER BY 1",
        [schema(), OWNER],
    )


def _functions() -> Iterator[str]:
    """The triggers of the tables that the application writes run with our rights, not its own."""
    path = f"{quoted(schema())}, public, pg_temp" if schema() != THEIRS else "public, pg_temp"
    for row in rows(
        """
        SELECT DISTINCT p.oid::regprocedure::text AS signature
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %s AND c.relname = ANY(%s) AND NOT t.tgisinternal AND NOT p.prosecdef
          AND starts_with(p.proname, 'pgtrigger_')
        ORDER BY 1
        """,
        [schema(), list(ADOPTED)],
    ):
        yield f"ALTER FUNCTION {row['signature']} SECURITY DEFINER SET search_path = {path}"


# --- Rights ---------------------------------------------------------------------------------


def wanted() -> set[Grant]:
    """Every right that the roles should have."""
    own, database = schema(), str(connection.settings_dict["NAME"])
    found = {Grant(role, "schema", own, "USAGE") for role in ROLES[1:]}
    found |= {Grant(role, "database", database, "CONNECT") for role in ROLES}
    found.add(Grant(BACKOFFICE, "database", database, "TEMPORARY"))
    found |= {Grant(OWNER, "schema", own, "CREATE"), Grant(OWNER, "schema", own, "USAGE")}
    for function, callers in FUNCTIONS.items():
        found |= {Grant(role, "function", function, "EXECUTE") for role in callers}
    names = set(_tables())
    found |= {each for each in on_models() if each.name in names}
    for name in names:
        rights = of_backoffice(name)
        found |= {Grant(BACKOFFICE, "table", name, right) for right in rights}
    for row in rows(
        "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass"
        "   AND d.deptype IN ('a', 'i')"
        " WHERE n.nspname = %s AND c.relkind = 'S'"
        "   AND (%s <> 'public' OR d.refobjid::regclass::text = ANY(%s))",
        [own, own, sorted(names)],
    ):
        found |= {Grant(BACKOFFICE, "sequence", row["name"], r) for r in ("SELECT", "USAGE")}
    return found | _on_theirs()


def _on_theirs() -> set[Grant]:
    """In an adopted database, the application writes its own tables: those in `public`.

    The back office reads them, to name the rows that were set apart.
    """
    if schema() == THEIRS:
        return set()
    found: set[Grant] = set()
    columns = rows(
        "SELECT c.relname AS name, array_agg(a.attname::text) AS columns FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE n.nspname = %s AND c.relname = ANY(%s) AND c.relkind = 'r' AND a.attnum > 0"
        " AND NOT a.attisdropped GROUP BY 1",
        [THEIRS, list(ADOPTED)],
    )
    for row in columns:
        name = f"{THEIRS}.{row['name']}"
        found.add(Grant(BACKOFFICE, "table", name, "SELECT"))
        found |= {Grant(OWNER, "table", name, right) for right in EVERYTHING}  # for the views
        for each in on_models():
            if each.role != APPLICATION or each.name != row["name"]:
                continue
            if not each.column or each.column in row["columns"]:
                found.add(Grant(each.role, each.kind, name, each.right, each.column))
    for row in rows(
        "SELECT s.relname AS name FROM pg_class s JOIN pg_depend d ON d.objid = s.oid"
        " AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')"
        " JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE s.relkind = 'S' AND n.nspname = %s AND c.relname = ANY(%s)",
        [THEIRS, list(ADOPTED)],
    ):
        # A default is looked up with the rights of whoever inserts, through a view, too.
        found.add(Grant(BACKOFFICE, "sequence", f"{THEIRS}.{row['name']}", "USAGE"))
    return found


_HELD = """
    SELECT r.rolname AS role, 'table' AS kind, n.nspname AS schema, c.relname AS name, '' AS column,
           a.privilege_type AS right
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s) AND c.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT r.rolname, 'sequence', n.nspname, c.relname, '', a.privilege_type
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s) AND c.relkind = 'S'
    UNION ALL
    SELECT r.rolname, 'column', n.nspname, c.relname, t.attname, a.privilege_type
    FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    CROSS JOIN aclexplode(t.attacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s) AND NOT t.attisdropped
    UNION ALL
    SELECT r.rolname, 'schema', '', n.nspname, '', a.privilege_type
    FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s)
    UNION ALL
    SELECT r.rolname, 'database', '', d.datname, '', a.privilege_type
    FROM pg_database d CROSS JOIN aclexplode(d.datacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s) AND d.datname = current_database()
    UNION ALL
    SELECT r.rolname, 'function', n.nspname,
           format('%%s(%%s)', p.proname, (
               SELECT string_agg(format_type(t, NULL), ',' ORDER BY place)
               FROM unnest(p.proargtypes) WITH ORDINALITY AS g(t, place))),
           '', a.privilege_type
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    CROSS JOIN aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY(%(roles)s) AND a.grantee <> p.proowner
"""


def held() -> set[Grant]:
    """Every right that the roles have by themselves. What an owner may is not granted."""
    own = schema()
    found: set[Grant] = set()
    for row in rows(_HELD, {"roles": list(ROLES)}):
        is_elsewhere = row["schema"] not in ("", own)
        name = f"{row['schema']}.{row['name']}" if is_elsewhere else row["name"]
        is_granted = row["kind"] in ("schema", "database") or is_elsewhere
        if row["role"] != OWNER or is_granted:
            found.add(Grant(row["role"], row["kind"], name, row["right"], row["column"]))
    return found


def _rights(kinds: tuple[str, ...]) -> Iterator[str]:
    should, have = ({g for g in found if g.kind in kinds} for found in (wanted(), held()))
    owns_schema = rows(
        "SELECT FROM pg_namespace WHERE nspname = %s AND pg_get_userbyid(nspowner) = %s",
        [schema(), OWNER],
    )
    if owns_schema:  # an owner's rights are its own, granted or not
        is_its = {g for g in should | have if g.role == OWNER and g.kind == "schema"}
        should, have = should - is_its, have - is_its
    for verb, word, grants in (("REVOKE", "FROM", have - should), ("GRANT", "TO", should - have)):
        yield from _said(verb, word, grants)


def _said(verb: str, word: str, grants: set[Grant]) -> Iterator[str]:
    """One statement for each object, role and set of rights."""
    by_object: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for each in sorted(grants):
        rights = by_object.setdefault((each.role, each.kind, each.name), {})
        rights.setdefault(each.right, []).append(each.column)
    for (role, kind, name), rights in by_object.items():
        said = ", ".join(
            f"{right} ({', '.join(map(quoted, columns))})" if kind == "column" else right
            for right, columns in rights.items()
        )
        yield f"{verb} {said} ON {_object(kind, name)} {word} {quoted(role)}"


def _object(kind: str, name: str) -> str:
    if kind in ("schema", "database"):
        return f"{kind.upper()} {quoted(name)}"
    if kind == "function":
        return f"FUNCTION {quoted(schema())}.{name}"
    first, dot, rest = name.partition(".")
    qualified = quoted(first, rest) if dot else quoted(schema(), name)
    return f"{'SEQUENCE' if kind == 'sequence' else 'TABLE'} {qualified}"

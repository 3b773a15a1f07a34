"""How PostgreSQL would answer a statement."""

from django.db import connection


def plan(sql: str, *unwanted: str) -> list[str]:
    """The lines of its plan, without ways of which it would rather have none: `seqscan`, `sort`.

    Needs an open transaction; what is said of them ends with this.
    """
    with connection.cursor() as cursor:
        for way in unwanted:
            cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {sql}")
        lines = [line for (line,) in cursor.fetchall()]
        for way in unwanted:
            cursor.execute(f"SET LOCAL enable_{way} = on")
    return lines

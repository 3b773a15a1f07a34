"""Is every sequence beyond its column, and are ids missing in what is only ever added to?"""

from django.db import connection

from billing.recovery.assessment.outcomes import (
    SHOWN,
    Check,
    Look,
    Outcome,
    Verdict,
    list_page,
)

# Ids are burnt by transactions that are rolled back, by a crash (32 of each sequence), and of the
# event log by events that were there already. So many in a row in the ledger no rollback burns.
MANY = 1_000
OF_ONE_ROW = (0, 1)  # a table that has only row 1, whose id our code gives it itself
SEQUENCES = """
    SELECT s.oid::regclass::text, t.oid::regclass::text, quote_ident(a.attname)
    FROM pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_class t ON t.oid = d.refobjid
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.deptype IN ('a', 'i') AND t.relnamespace = current_schema()::regnamespace
    ORDER BY 2
"""


def sequences(look: Look) -> Outcome:
    """The next id of every table must be a new one, else the next row is refused."""
    with connection.cursor() as cursor:
        cursor.execute(SEQUENCES)
        found = cursor.fetchall()
        behind = []
        for sequence, table, column in found:
            cursor.execute(
                f"SELECT max({column}), coalesce(pg_sequence_last_value(%s::regclass), 0)"  # noqa: S608
                f" FROM {table}",
                [sequence],
            )
            highest, last = cursor.fetchone()
            is_taken = highest is not None and last < highest
            if is_taken and (last, highest) != OF_ONE_ROW:
                behind.append((sequence, highest))
    numbers = {"sequences": len(found), "behind": len(behind)}
    if not behind:
        said = f"All {len(found):,} sequences are beyond the ids of their tables."
        return Outcome("sequences", Verdict.OK, said, numbers=numbers)
    mended = "; ".join(f"SELECT setval('{name}', {highest})" for name, highest in behind[:SHOWN])
    return Outcome(
        "sequences",
        Verdict.DAMAGED,
        f"{len(behind):,} of {len(found):,} sequences give ids that are taken: "
        + ", ".join(name for name, _ in behind[:SHOWN]),
        f"Set them: {mended}.",
        numbers=numbers,
        rows=[{"id": name, "page": ""} for name, _ in behind[:SHOWN]],
    )


def gaps(look: Look) -> Outcome:
    """Ids that are missing in the ledger, in its midst or at its end.

    A hint and no proof: the ledger's sums, and its line, prove what is lost.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT before + 1, id - 1 FROM (
                SELECT id, lag(id, 1, 0::bigint) OVER (ORDER BY id) AS before
                FROM {look.readable("credit_entries")} AS e
                UNION ALL
                SELECT coalesce(pg_sequence_last_value(
                           pg_get_serial_sequence('credit_entries', 'id')::regclass), 0) + 1,
                       coalesce((SELECT max(id) FROM {look.readable("credit_entries")} AS e), 0)
            ) AS pairs WHERE id > before + 1 ORDER BY id - before DESC LIMIT {SHOWN}
            """  # noqa: S608  (the table is named above)
        )
        found = cursor.fetchall()
    wide = [(first, last) for first, last in found if last - first + 1 >= MANY]
    numbers = {"widest": max((last - first + 1 for first, last in found), default=0)}
    if not wide:
        return Outcome(
            "ledger gaps",
            Verdict.OK,
            f"The widest gap in the ids of the ledger is {numbers['widest']:,}: rollbacks leave"
            " such.",
            numbers=numbers,
        )
    said = "; ".join(f"{first:,} to {last:,}" for first, last in wide)
    return Outcome(
        "ledger gaps",
        Verdict.UNSURE,
        f"Ids of the ledger are missing, {MANY:,} or more in a row: {said}.",
        "If the sums and the line of the ledger are right, many transactions were rolled back."
        " Else rows are lost: compare with a backup, and with the export.",
        list_page("billing.CreditEntry"),
        numbers,
        [{"id": f"{first} to {last}", "page": ""} for first, last in wide],
    )


CHECKS = (Check("sequences", sequences), Check("ledger gaps", gaps))

"""Database triggers that several tables share.

They keep DESIGN's rule 7: raw SQL stays possible, and is never invisible. They are
guards, not security: a table's owner can disable them.
"""

import pgtrigger

# What the writer says of itself, for the length of its transaction (billing.models.context).
IS_RAW_SQL = "coalesce(current_setting('billing.actor', true), '') = ''"


def append_only() -> pgtrigger.Trigger:
    """Refuses UPDATE, DELETE and TRUNCATE, whoever asks."""
    return pgtrigger.Trigger(
        name="append_only",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate,
        func=(
            "RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP "
            "USING ERRCODE = 'integrity_constraint_violation', "
            "HINT = 'Write a new row that corrects the old one.';"
        ),
    )


def no_truncate() -> pgtrigger.Trigger:
    """Refuses TRUNCATE, which no row trigger would see."""
    return pgtrigger.Trigger(
        name="no_truncate",
        level=pgtrigger.Statement,
        when=pgtrigger.Before,
        operation=pgtrigger.Truncate,
        func=(
            "RAISE EXCEPTION '% keeps the books: TRUNCATE is refused', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation', HINT = 'Use DELETE.';"
        ),
    )


_AUDIT = """
    IF {is_raw_sql} THEN
        INSERT INTO billing_events (type, payload)
        SELECT 'sql.' || TG_TABLE_NAME || '.{verb}', jsonb_strip_nulls(jsonb_build_object(
            'user_id', coalesce({subject}->>'user_id', ''),
            'subscription', {subject}->>'stripe_subscription_id',
            'customer', nullif({subject}->>'stripe_customer_id', ''),
            'database_user', session_user,
            'application', current_setting('application_name', true),
            'before', {before}, 'after', {after}))
        FROM {rows};
    END IF;
    RETURN NULL;
"""


def audit_raw_sql(key: str = "id") -> list[pgtrigger.Trigger]:
    """Writes one `sql.<table>.<verb>` audit event a row for changes made by raw SQL.

    `key` is the column that pairs a row's old and new state.
    """

    def trigger(
        verb: str, operation: pgtrigger.Operation, referencing: pgtrigger.Referencing, **parts: str
    ) -> pgtrigger.Trigger:
        return pgtrigger.Trigger(
            name=f"audit_{verb}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=referencing,
            func=_AUDIT.format(is_raw_sql=IS_RAW_SQL, verb=verb, **parts),
        )

    return [
        trigger(
            "insert",
            pgtrigger.Insert,
            pgtrigger.Referencing(new="new_rows"),
            subject="to_jsonb(n)",
            before="NULL::jsonb",
            after="to_jsonb(n)",
            rows="new_rows n",
        ),
        trigger(
            "update",
            pgtrigger.Update,
            pgtrigger.Referencing(old="old_rows", new="new_rows"),
            subject="to_jsonb(coalesce(n, o))",
            before="to_jsonb(o)",
            after="to_jsonb(n)",
            rows=f"old_rows o FULL JOIN new_rows n ON o.{key} = n.{key}",
        ),
        trigger(
            "delete",
            pgtrigger.Delete,
            pgtrigger.Referencing(old="old_rows"),
            subject="to_jsonb(o)",
            before="to_jsonb(o)",
            after="NULL::jsonb",
            rows="old_rows o",
        ),
    ]


# Whether somebody exports (billing.recovery.export): else nobody would take the notes away.
IS_EXPORTED = "EXISTS (SELECT FROM billing_export_progress)"
# Stripe can tell again what its own events have written, and nothing else.
NOT_BY_STRIPE = "coalesce(current_setting('billing.actor', true), '') <> 'stripe'"
NOTED_AT_ONCE = 200  # rows in one note


def note_changes(*, unless_by_stripe: bool = False) -> list[pgtrigger.Trigger]:
    """Notes which rows a statement wrote, so that the export takes them out as they are then.

    With `unless_by_stripe`, what Stripe's events write is left out.
    """
    when = f"{IS_EXPORTED} AND {NOT_BY_STRIPE}" if unless_by_stripe else IS_EXPORTED

    def trigger(verb: str, operation: pgtrigger.Operation, rows: str) -> pgtrigger.Trigger:
        is_new = rows == "new_rows"
        return pgtrigger.Trigger(
            name=f"export_{verb}",
            level=pgtrigger.Statement,
            when=pgtrigger.After,
            operation=operation,
            referencing=pgtrigger.Referencing(
                new=rows if is_new else None, old=None if is_new else rows
            ),
            func=f"""
                IF {when} THEN
                    INSERT INTO billing_export_changes (table_name, row_ids)
                    SELECT TG_TABLE_NAME, array_agg(id ORDER BY id)
                    FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / {NOTED_AT_ONCE}
                          FROM {rows}) AS n(id, note)
                    GROUP BY note;
                END IF;
                RETURN NULL;
            """,  # noqa: S608  (the parts stand above)
        )

    return [
        trigger("insert", pgtrigger.Insert, "new_rows"),
        trigger("update", pgtrigger.Update, "new_rows"),
        trigger("delete", pgtrigger.Delete, "old_rows"),
    ]

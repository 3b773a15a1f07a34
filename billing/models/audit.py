"""The audit log's hash chain: each audit event is linked to the one before it."""

import pgtrigger
from django.db import models

from billing.models.guards import append_only

# What is hashed of an event, after the hash before it. `billing.diagnosis.audit` reads the same.
CONTENT = (
    "concat_ws('|', e.id, e.type, e.actor, extract(epoch FROM e.created_at),"
    " extract(epoch FROM e.recorded_at), e.payload::text)"
)
IS_AUDIT = "(type LIKE 'manual.%' OR type LIKE 'system.%' OR type LIKE 'sql.%')"


def link_audit_events() -> pgtrigger.Trigger:
    """Adds a link for every audit event that a statement wrote, in the order of their ids.

    One lock keeps the chain one chain; it is held until the writer's transaction ends.
    """
    return pgtrigger.Trigger(
        name="audit_chain",
        level=pgtrigger.Statement,
        when=pgtrigger.After,
        operation=pgtrigger.Insert,
        referencing=pgtrigger.Referencing(new="n"),
        declare=[("e", "record"), ("last_position", "bigint"), ("last_hash", "text")],
        func=f"""
            FOR e IN SELECT * FROM n WHERE {IS_AUDIT} ORDER BY id LOOP
                IF last_hash IS NULL THEN
                    PERFORM pg_advisory_xact_lock(hashtextextended('billing.audit_chain', 0));
                    SELECT position, hash INTO last_position, last_hash
                    FROM billing_audit_chain ORDER BY position DESC LIMIT 1;
                    last_position := coalesce(last_position, 0);
                    last_hash := coalesce(last_hash, '');
                END IF;
                last_position := last_position + 1;
                last_hash := encode(sha256(convert_to(last_hash || {CONTENT}, 'UTF8')), 'hex');
                INSERT INTO billing_audit_chain (position, event_id, hash)
                VALUES (last_position, e.id, last_hash);
            END LOOP;
            RETURN NULL;
        """,  # noqa: S608  (the expressions stand above)
    )


class AuditLink(models.Model):
    """One link: `hash` is that of the link before it and of the event's own content."""

    position = models.BigIntegerField(primary_key=True)
    event_id = models.BigIntegerField(unique=True)
    hash = models.TextField()

    class Meta:
        db_table = "billing_audit_chain"
        ordering = ["position"]
        default_permissions = ()
        triggers = [append_only()]

    def __str__(self) -> str:
        return f"{self.position}: {self.hash[:12]}"

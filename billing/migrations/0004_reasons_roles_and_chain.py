"""The reasons to choose from, the roles' new permissions, and links for older audit events."""

from importlib import import_module

from django.db import migrations

from billing.models.audit import CONTENT, IS_AUDIT

REASONS = (
    ("webhook_missed", "A webhook was missed or failed"),
    ("paid_elsewhere", "Paid outside of Stripe"),
    ("customer_request", "The customer asked for it"),
    ("failed_claim", "A lead claim failed"),
    ("goodwill", "Goodwill"),
    ("our_mistake", "We made a mistake"),
    ("data_repair", "Our data was wrong"),
    ("fraud", "Fraud or abuse"),
    ("incident", "Part of an incident"),
    ("other", "Something else"),
)

create_roles = import_module("billing.migrations.0002_roles").create_roles


def create_reasons(apps, schema_editor):
    reasons = apps.get_model("billing", "ReasonCode").objects
    for position, (code, label) in enumerate(REASONS, start=1):
        reasons.get_or_create(code=code, defaults={"label": label, "position": 10 * position})


LINK_OLDER_EVENTS = f"""
    DO $$
    DECLARE e record; place bigint := 0; last text := '';
    BEGIN
        FOR e IN SELECT * FROM billing_events WHERE {IS_AUDIT} ORDER BY id LOOP
            place := place + 1;
            last := encode(sha256(convert_to(last || {CONTENT}, 'UTF8')), 'hex');
            INSERT INTO billing_audit_chain (position, event_id, hash)
            VALUES (place, e.id, last);
        END LOOP;
    END $$
"""  # noqa: S608  (the expressions stand in billing.models.audit)


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_operations")]

    operations = [
        migrations.RunPython(create_reasons, migrations.RunPython.noop),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
        migrations.RunSQL(LINK_OLDER_EVENTS, migrations.RunSQL.noop),
    ]

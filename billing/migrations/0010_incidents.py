"""Incidents, with the triggers that see raw SQL, and the roles' permissions for them."""

from importlib import import_module

import billing.models.events
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


create_roles = import_module("billing.migrations.0002_roles").create_roles


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0009_saved_views'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('take_finding', 'Can take a finding on, or hand it to somebody'), ('snooze_finding', 'Can put a finding off'), ('accept_finding', 'Can accept a finding as it is'), ('reopen_finding', 'Can open a finding again'), ('fix_finding', 'Can run what a finding recommends'), ('reconcile', 'Can start a reconciliation'), ('sign_off_run', 'Can sign a reconciliation off'), ('open_incident', 'Can open an incident'), ('hand_over_incident', 'Can hand an incident over'), ('close_incident', 'Can close an incident'), ('approve_operation', 'Can approve what others ask for'), ('view_finance', 'Can view the reports of finance')], 'verbose_name': 'operation'},
        ),
        migrations.CreateModel(
            name='Incident',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('title', models.TextField()),
                ('started_at', models.DateTimeField()),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
                ('owner', models.TextField(help_text='The user who looks after it.')),
                ('opened_by', models.TextField()),
                ('opened_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('closed_by', models.TextField(blank=True, db_default='')),
                ('closing_report', models.TextField(blank=True, db_default='')),
                ('operation_key', models.TextField(unique=True)),
                ('alert', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='incidents', to='billing.alert')),
            ],
            options={
                'verbose_name': 'incident',
                'db_table': 'billing_incidents',
                'ordering': ['-started_at', '-id'],
                'default_permissions': ('view',),
                'indexes': [models.Index(models.F('started_at'), condition=models.Q(('ended_at__isnull', True)), name='billing_incidents_open')],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='incident',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='c87e4e0e0450960978acf5652934b6cef4a0280f', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_ae742', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_incidents', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='incident',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='75181f8c238ae5105eaec7246428d4bc12c77206', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_b0841', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_incidents', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='incident',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='4ab39d8025521a6553e598a022ed8d083f8e050b', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_b8ff4', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_incidents', when='AFTER')),
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]

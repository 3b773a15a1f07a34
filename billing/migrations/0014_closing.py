"""Months that are closed: their figures, their frozen rows, and who signed and reviewed them."""

from importlib import import_module

import django.db.models.deletion
import django.db.models.functions.datetime
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models

create_roles = import_module("billing.migrations.0002_roles").create_roles


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0013_invoice_times'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('take_finding', 'Can take a finding on, or hand it to somebody'), ('snooze_finding', 'Can put a finding off'), ('accept_finding', 'Can accept a finding as it is'), ('reopen_finding', 'Can open a finding again'), ('fix_finding', 'Can run what a finding recommends'), ('reconcile', 'Can start a reconciliation'), ('sign_off_run', 'Can sign a reconciliation off'), ('open_incident', 'Can open an incident'), ('hand_over_incident', 'Can hand an incident over'), ('close_incident', 'Can close an incident'), ('check_month', 'Can check a month against Stripe'), ('sign_month', 'Can sign a month'), ('review_month', 'Can review a month that somebody signed, and close it'), ('reopen_month', 'Can open a closed month again'), ('approve_operation', 'Can approve what others ask for'), ('view_finance', 'Can view the reports of finance')], 'verbose_name': 'operation'},
        ),
        migrations.CreateModel(
            name='BridgeDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('zone', models.TextField()),
                ('currency', models.TextField(blank=True, db_default='')),
                ('part', models.TextField()),
                ('items', models.JSONField(default=dict)),
                ('remainder', models.BigIntegerField(db_default=0)),
                ('causes', models.JSONField(default=list)),
                ('read_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_bridge_days',
                'ordering': ['day', 'part', 'currency'],
                'default_permissions': (),
                'constraints': [models.UniqueConstraint(fields=('zone', 'day', 'part', 'currency'), name='billing_bridge_days_once')],
            },
        ),
        migrations.CreateModel(
            name='MonthClose',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('month', models.DateField()),
                ('timezone', models.TextField()),
                ('state', models.TextField(choices=[('open', 'Open'), ('signed', 'Signed'), ('closed', 'Closed'), ('reopened', 'Opened again')], db_default='open')),
                ('signed_by', models.TextField(blank=True, db_default='')),
                ('signed_at', models.DateTimeField(blank=True, null=True)),
                ('signed_word', models.TextField(blank=True, db_default='')),
                ('explanation', models.TextField(blank=True, db_default='')),
                ('reviewed_by', models.TextField(blank=True, db_default='')),
                ('reviewed_at', models.DateTimeField(blank=True, null=True)),
                ('reviewed_word', models.TextField(blank=True, db_default='')),
                ('reopened_by', models.TextField(blank=True, db_default='')),
                ('reopened_at', models.DateTimeField(blank=True, null=True)),
                ('reopened_word', models.TextField(blank=True, db_default='')),
                ('figures', models.JSONField(default=dict)),
                ('checklist', models.JSONField(default=list)),
                ('entries', models.BigIntegerField(db_default=0)),
                ('hash', models.TextField(blank=True, db_default='')),
                ('later', models.JSONField(default=dict, help_text='What has come since it was closed.')),
                ('checked_at', models.DateTimeField(blank=True, help_text='Against Stripe.', null=True)),
                ('stage', models.TextField(blank=True, db_default='')),
            ],
            options={
                'verbose_name': 'month',
                'db_table': 'billing_month_closes',
                'ordering': ['-month', '-id'],
                'default_permissions': ('view',),
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'reopened'), _negated=True), fields=('month',), name='billing_month_closes_one')],
            },
        ),
        migrations.CreateModel(
            name='ClosedEntry',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('source', models.TextField()),
                ('line', models.IntegerField()),
                ('at', models.DateTimeField()),
                ('item', models.TextField(choices=[('gross', 'Gross'), ('refunds', 'Refunds'), ('disputes', 'Disputes'), ('other', 'Other'), ('out_of_band', 'Paid out of band')])),
                ('currency', models.TextField()),
                ('amount', models.BigIntegerField()),
                ('fee', models.BigIntegerField()),
                ('settled_currency', models.TextField()),
                ('settled_amount', models.BigIntegerField()),
                ('settled_fee', models.BigIntegerField()),
                ('tax', models.BigIntegerField()),
                ('kind', models.TextField(choices=[('subscription', 'Subscription'), ('pack', 'Credit pack'), ('other', 'Other')])),
                ('price_id', models.TextField(blank=True, db_default='')),
                ('product_id', models.TextField(blank=True, db_default='')),
                ('country', models.TextField(blank=True, db_default='')),
                ('customer_id', models.TextField(blank=True, db_default='')),
                ('user_id', models.TextField(blank=True, db_default='')),
                ('charge_id', models.TextField(blank=True, db_default='')),
                ('invoice_id', models.TextField(blank=True, db_default='')),
                ('close', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='frozen', to='billing.monthclose')),
            ],
            options={
                'db_table': 'billing_closed_entries',
                'ordering': ['close', 'at', 'id'],
                'default_permissions': (),
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='monthclose',
            trigger=pgtrigger.compiler.Trigger(name='closed_stays', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD."state" IN (\'closed\', \'reopened\'))', func="\n                    IF TG_OP = 'UPDATE' AND NEW.state IN (OLD.state, 'reopened')\n                       AND to_jsonb(NEW) - ARRAY['state', 'reopened_by', 'reopened_at', 'reopened_word', 'later', 'checked_at', 'stage'] = to_jsonb(OLD) - ARRAY['state', 'reopened_by', 'reopened_at', 'reopened_word', 'later', 'checked_at', 'stage'] THEN\n                        RETURN NEW;\n                    END IF;\n                    RAISE EXCEPTION 'A closed month stays as it was signed: % is refused', TG_OP\n                    USING ERRCODE = 'integrity_constraint_violation',\n                    HINT = 'Open it again: what was closed is kept, and the month is signed anew.';\n                ", hash='ae0013ace4284b31c4ad6184dafe53a18227aaeb', operation='UPDATE OR DELETE', pgid='pgtrigger_closed_stays_8206c', table='billing_month_closes', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='monthclose',
            trigger=pgtrigger.compiler.Trigger(name='no_truncate', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION '% keeps the books: TRUNCATE is refused', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation', HINT = 'Use DELETE.';", hash='a3cad027d7f4ee3024ab15442fcf7ed71b6045ed', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_no_truncate_3fc38', table='billing_month_closes', when='BEFORE')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='monthclose',
            trigger=pgtrigger.compiler.Trigger(name='audit_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.insert', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(n)->>'user_id', ''),\n            'subscription', to_jsonb(n)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(n)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', NULL::jsonb, 'after', to_jsonb(n)))\n        FROM new_rows n;\n    END IF;\n    RETURN NULL;\n", hash='877dc2f6c0c3584d0f197da7fd0ed1a84e24c6d6', level='STATEMENT', operation='INSERT', pgid='pgtrigger_audit_insert_00512', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_month_closes', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='monthclose',
            trigger=pgtrigger.compiler.Trigger(name='audit_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.update', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(coalesce(n, o))->>'user_id', ''),\n            'subscription', to_jsonb(coalesce(n, o))->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(coalesce(n, o))->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', to_jsonb(n)))\n        FROM old_rows o FULL JOIN new_rows n ON o.id = n.id;\n    END IF;\n    RETURN NULL;\n", hash='b7dcd0ed2c21a4b79311f8412a08d98803685c00', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_audit_update_69d97', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_month_closes', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='monthclose',
            trigger=pgtrigger.compiler.Trigger(name='audit_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    IF coalesce(current_setting('billing.actor', true), '') = '' THEN\n        INSERT INTO billing_events (type, payload)\n        SELECT 'sql.' || TG_TABLE_NAME || '.delete', jsonb_strip_nulls(jsonb_build_object(\n            'user_id', coalesce(to_jsonb(o)->>'user_id', ''),\n            'subscription', to_jsonb(o)->>'stripe_subscription_id',\n            'customer', nullif(to_jsonb(o)->>'stripe_customer_id', ''),\n            'database_user', session_user,\n            'application', current_setting('application_name', true),\n            'before', to_jsonb(o), 'after', NULL::jsonb))\n        FROM old_rows o;\n    END IF;\n    RETURN NULL;\n", hash='7626a049a79e0a5ddbf1f8ef5092c9ecc40870df', level='STATEMENT', operation='DELETE', pgid='pgtrigger_audit_delete_1ee88', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_month_closes', when='AFTER')),
        ),
        migrations.AddIndex(
            model_name='closedentry',
            index=models.Index(models.F('charge_id'), name='billing_closed_entries_charge'),
        ),
        migrations.AddConstraint(
            model_name='closedentry',
            constraint=models.UniqueConstraint(fields=('close', 'source', 'line'), name='billing_closed_entries_once'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='closedentry',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation', HINT = 'Write a new row that corrects the old one.';", hash='6e87761b9e6392d99ff6a3448711ed30f918c0f7', level='STATEMENT', operation='UPDATE OR DELETE OR TRUNCATE', pgid='pgtrigger_append_only_02e94', table='billing_closed_entries', when='BEFORE')),
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]

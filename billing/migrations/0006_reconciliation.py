"""Reconciliation runs with their parts, findings, alerts, and the roles' permissions for them."""

from importlib import import_module

import billing.models.events
import django.db.models.deletion
from django.db import migrations, models


create_roles = import_module("billing.migrations.0002_roles").create_roles


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0005_payments_and_search'),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rule', models.TextField()),
                ('key', models.TextField(blank=True, db_default='')),
                ('severity', models.TextField()),
                ('title', models.TextField()),
                ('detail', models.TextField(blank=True, db_default='')),
                ('page', models.TextField(blank=True, db_default='')),
                ('opened_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('last_seen_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('told_at', models.DateTimeField(blank=True, null=True)),
                ('over_told_at', models.DateTimeField(blank=True, null=True)),
                ('delivery_error', models.TextField(blank=True, db_default='')),
            ],
            options={
                'verbose_name': 'alert',
                'db_table': 'billing_alerts',
                'ordering': ['-opened_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='FindingRecord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField()),
                ('subject', models.TextField()),
                ('severity', models.TextField()),
                ('rank', models.SmallIntegerField(help_text='Of the severity: 0 is the gravest.')),
                ('verdict', models.TextField()),
                ('evidence', models.JSONField(default=list)),
                ('fix', models.JSONField(blank=True, null=True)),
                ('amount', models.BigIntegerField(blank=True, null=True)),
                ('currency', models.TextField(blank=True, db_default='')),
                ('credits', models.BigIntegerField(blank=True, null=True)),
                ('user_id', models.TextField(blank=True, db_default='')),
                ('stripe_customer_id', models.TextField(blank=True, db_default='')),
                ('state', models.TextField(choices=[('open', 'Open'), ('snoozed', 'Put off'), ('accepted', 'Accepted'), ('resolved', 'Resolved')], db_default='open')),
                ('owner', models.TextField(blank=True, db_default='')),
                ('snoozed_until', models.DateTimeField(blank=True, null=True)),
                ('state_reason', models.TextField(blank=True, db_default='')),
                ('state_by', models.TextField(blank=True, db_default='')),
                ('first_seen_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('last_seen_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('resolved_by', models.TextField(blank=True, db_default='')),
                ('operation_key', models.TextField(blank=True, db_default='')),
            ],
            options={
                'verbose_name': 'finding',
                'db_table': 'billing_findings',
                'ordering': ['rank', '-amount', '-credits', 'first_seen_at', 'id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='ReconciliationRun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(choices=[('daily', 'Daily'), ('weekly', 'Weekly'), ('full', 'Full')])),
                ('status', models.TextField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed')], db_default='running')),
                ('since', models.DateTimeField(blank=True, null=True)),
                ('until', models.DateTimeField()),
                ('timezone', models.TextField(db_default='UTC')),
                ('actor', models.TextField(help_text='Who started it.')),
                ('started_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('seconds', models.FloatField(db_default=0, help_text='Worked on, interruptions left out.')),
                ('stage', models.TextField(blank=True, db_default='', help_text='What it is at.')),
                ('error', models.TextField(blank=True, db_default='')),
                ('counts', models.JSONField(default=dict)),
                ('differences', models.JSONField(default=dict)),
                ('at_stake', models.JSONField(default=dict)),
                ('measures', models.JSONField(default=dict)),
                ('report', models.JSONField(default=dict)),
                ('api_calls', models.PositiveIntegerField(db_default=0)),
                ('in_flight', models.PositiveIntegerField(db_default=0, help_text='Objects left out: an event about them was still on its way.')),
                ('signed_off_by', models.TextField(blank=True, db_default='')),
                ('signed_off_at', models.DateTimeField(blank=True, null=True)),
                ('sign_off', models.TextField(blank=True, db_default='', help_text="Finance's own words.")),
            ],
            options={
                'verbose_name': 'reconciliation run',
                'db_table': 'billing_reconciliation_runs',
                'ordering': ['-started_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='ReconciliationSlice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('list', models.TextField()),
                ('since', models.DateTimeField(null=True)),
                ('until', models.DateTimeField()),
                ('done', models.BooleanField(db_default=False)),
                ('counts', models.JSONField(default=dict)),
            ],
            options={
                'db_table': 'billing_reconciliation_slices',
                'ordering': ['id'],
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='ReconciliationSuspect',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(blank=True, db_default='')),
                ('object_id', models.TextField(blank=True, db_default='')),
                ('stripe_customer_id', models.TextField(blank=True, db_default='')),
                ('user_id', models.TextField(blank=True, db_default='')),
                ('event', models.JSONField(null=True)),
                ('person', models.TextField(blank=True, db_default='')),
                ('examined', models.BooleanField(db_default=False)),
                ('in_flight', models.BooleanField(db_default=False)),
            ],
            options={
                'db_table': 'billing_reconciliation_suspects',
                'ordering': ['id'],
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='RequestPace',
            fields=[
                ('name', models.TextField(primary_key=True, serialize=False)),
                ('next_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
            ],
            options={
                'db_table': 'billing_request_pace',
                'default_permissions': (),
            },
        ),
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('take_finding', 'Can take a finding on, or hand it to somebody'), ('snooze_finding', 'Can put a finding off'), ('accept_finding', 'Can accept a finding as it is'), ('reopen_finding', 'Can open a finding again'), ('fix_finding', 'Can run what a finding recommends'), ('reconcile', 'Can start a reconciliation'), ('sign_off_run', 'Can sign a reconciliation off'), ('approve_operation', 'Can approve what others ask for')], 'verbose_name': 'operation'},
        ),
        migrations.AddIndex(
            model_name='billinginvoice',
            index=models.Index(models.F('paid_at'), name='billing_invoices_paid'),
        ),
        migrations.AddIndex(
            model_name='inboxevent',
            index=models.Index(models.F('stripe_created_at'), name='billing_inbox_created'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('resolved_at__isnull', True)), fields=('rule', 'key'), name='billing_alerts_one_open'),
        ),
        migrations.AddIndex(
            model_name='reconciliationrun',
            index=models.Index(models.F('kind'), models.F('started_at'), name='billing_runs_kind'),
        ),
        migrations.AddField(
            model_name='findingrecord',
            name='run',
            field=models.ForeignKey(blank=True, help_text='The last one that found it.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='findings', to='billing.reconciliationrun'),
        ),
        migrations.AddField(
            model_name='reconciliationslice',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slices', to='billing.reconciliationrun'),
        ),
        migrations.AddField(
            model_name='reconciliationsuspect',
            name='run',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='suspects', to='billing.reconciliationrun'),
        ),
        migrations.AddIndex(
            model_name='findingrecord',
            index=models.Index(models.F('state'), models.F('rank'), models.F('first_seen_at'), name='billing_findings_state'),
        ),
        migrations.AddIndex(
            model_name='findingrecord',
            index=models.Index(models.F('user_id'), name='billing_findings_user'),
        ),
        migrations.AddIndex(
            model_name='findingrecord',
            index=models.Index(models.F('stripe_customer_id'), name='billing_findings_customer'),
        ),
        migrations.AddConstraint(
            model_name='findingrecord',
            constraint=models.UniqueConstraint(fields=('kind', 'subject'), name='billing_findings_same'),
        ),
        migrations.AddIndex(
            model_name='reconciliationsuspect',
            index=models.Index(models.F('run'), models.F('person'), condition=models.Q(('examined', False)), name='billing_suspects_open'),
        ),
        migrations.AddIndex(
            model_name='leadcredits',
            index=models.Index(models.F('user_id'), condition=models.Q(('owed__gt', 0)), name='lead_credits_owing'),
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]

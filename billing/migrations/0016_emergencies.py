"""Emergencies: recoveries, backups, assessments, exports, smoke tests, and what belongs to an incident."""

from importlib import import_module

import billing.models.events
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


create_roles = import_module("billing.migrations.0002_roles").create_roles


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0015_finance_speed'),
    ]

    operations = [
        migrations.CreateModel(
            name='Assessment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('actor', models.TextField()),
                ('started_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('is_whole', models.BooleanField(blank=True, null=True)),
                ('checks', models.JSONField(default=list)),
                ('users', models.JSONField(default=list)),
            ],
            options={
                'verbose_name': 'assessment',
                'db_table': 'billing_assessments',
                'ordering': ['-started_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='Backup',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.TextField(unique=True)),
                ('taken_at', models.DateTimeField()),
                ('actor', models.TextField()),
                ('location', models.TextField()),
                ('size', models.BigIntegerField()),
                ('seconds', models.FloatField()),
                ('verified_at', models.DateTimeField(blank=True, null=True)),
                ('error', models.TextField(blank=True, db_default='')),
                ('manifest', models.JSONField(default=dict)),
                ('deleted_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'verbose_name': 'backup',
                'db_table': 'billing_backups',
                'ordering': ['-taken_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='ExportProgress',
            fields=[
                ('stream', models.TextField(primary_key=True, serialize=False)),
                ('last_id', models.BigIntegerField(db_default=0)),
                ('next_id', models.BigIntegerField(db_default=0)),
                ('next_xid', models.BigIntegerField(db_default=0)),
                ('segment', models.BigIntegerField(db_default=0, help_text='The number of the newest one.')),
                ('exported_at', models.DateTimeField(null=True)),
                ('error', models.TextField(blank=True, db_default='')),
            ],
            options={
                'db_table': 'billing_export_progress',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='SmokeTest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('actor', models.TextField()),
                ('mode', models.TextField(help_text='Where: the sandbox, a test account, or live.')),
                ('started_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('watched_until', models.DateTimeField(blank=True, null=True)),
                ('ok', models.BooleanField(blank=True, null=True)),
                ('steps', models.JSONField(default=list)),
            ],
            options={
                'verbose_name': 'smoke test',
                'db_table': 'billing_smoke_tests',
                'ordering': ['-started_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.AlterModelOptions(
            name='operationrecord',
            options={'default_permissions': ('view',), 'ordering': ['-created_at', '-id'], 'permissions': [('grant_purchase', 'Can grant a purchase what it is worth'), ('take_back_credits', 'Can take back a grant or a correction'), ('refund_claim', 'Can give back the credits of a failed claim'), ('resend_invoice', 'Can send an invoice again'), ('mark_invoice_paid', 'Can mark an invoice as paid elsewhere'), ('pay_invoice', 'Can retry the payment of an invoice'), ('void_invoice', 'Can void an invoice'), ('record_subscription', 'Can record a subscription from Stripe'), ('cancel_at_period_end', 'Can cancel a subscription at the end of its period'), ('override_status', "Can set a subscription's status by hand"), ('end_override', 'Can end a status override'), ('create_portal_link', 'Can create a link to the billing portal'), ('create_checkout_link', 'Can create a link to checkout'), ('attribute_payment', 'Can say whose a payment is'), ('merge_customers', 'Can merge two customers of one person'), ('add_note_to_customer', 'Can add a note to a customer'), ('withdraw_note', 'Can withdraw a note'), ('tie_out_balance', 'Can bring a balance and its ledger together'), ('create_billing_link', "Can create a link to the customer's own billing page"), ('take_finding', 'Can take a finding on, or hand it to somebody'), ('snooze_finding', 'Can put a finding off'), ('accept_finding', 'Can accept a finding as it is'), ('reopen_finding', 'Can open a finding again'), ('fix_finding', 'Can run what a finding recommends'), ('reconcile', 'Can start a reconciliation'), ('sign_off_run', 'Can sign a reconciliation off'), ('open_incident', 'Can open an incident'), ('hand_over_incident', 'Can hand an incident over'), ('close_incident', 'Can close an incident'), ('note_incident', 'Can write a note into an incident'), ('tell_of_incident', 'Can tell others of an incident'), ('start_recovery', 'Can recover what an outage or a restore lost'), ('make_backup', 'Can make a backup of the database'), ('assess_database', 'Can look whether the database is whole'), ('check_month', 'Can check a month against Stripe'), ('sign_month', 'Can sign a month'), ('review_month', 'Can review a month that somebody signed, and close it'), ('reopen_month', 'Can open a closed month again'), ('approve_operation', 'Can approve what others ask for'), ('view_finance', 'Can view the reports of finance')], 'verbose_name': 'operation'},
        ),
        migrations.AddField(
            model_name='alert',
            name='incident',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='alerts', to='billing.incident'),
        ),
        migrations.AddField(
            model_name='bulkjob',
            name='incident',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='bulk_jobs', to='billing.incident'),
        ),
        migrations.AddField(
            model_name='operationrecord',
            name='incident',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='operations', to='billing.incident'),
        ),
        migrations.AddField(
            model_name='reconciliationrun',
            name='incident',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='billing.incident'),
        ),
        migrations.CreateModel(
            name='Recovery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(choices=[('outage', 'Outage'), ('restore', 'Restore')])),
                ('status', models.TextField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed')], db_default='running')),
                ('since', models.DateTimeField()),
                ('until', models.DateTimeField()),
                ('critical_only', models.BooleanField(db_default=False)),
                ('actor', models.TextField(help_text='Who started it.')),
                ('started_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('finished_at', models.DateTimeField(blank=True, null=True)),
                ('seconds', models.FloatField(db_default=0, help_text='Worked on, interruptions left out.')),
                ('stage', models.TextField(blank=True, db_default='', help_text='What it is at.')),
                ('cursor', models.TextField(blank=True, db_default='')),
                ('error', models.TextField(blank=True, db_default='')),
                ('counts', models.JSONField(default=dict)),
                ('report', models.JSONField(default=dict)),
                ('api_calls', models.PositiveIntegerField(db_default=0)),
                ('incident', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='recoveries', to='billing.incident')),
                ('run', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.reconciliationrun')),
            ],
            options={
                'verbose_name': 'recovery',
                'verbose_name_plural': 'recoveries',
                'db_table': 'billing_recoveries',
                'ordering': ['-started_at', '-id'],
                'default_permissions': ('view',),
            },
        ),
        migrations.CreateModel(
            name='MissedEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.BigIntegerField()),
                ('stripe_event_id', models.TextField()),
                ('type', models.TextField()),
                ('object_id', models.TextField(blank=True, db_default='')),
                ('customer_id', models.TextField(blank=True, db_default='')),
                ('created_at', models.DateTimeField(help_text="Stripe's time.")),
                ('body', models.TextField()),
                ('missed_as', models.TextField(choices=[('undelivered', 'Not delivered'), ('unstored', 'Answered, never stored'), ('unprocessed', 'Stored, not processed')])),
                ('rank', models.PositiveSmallIntegerField()),
                ('status', models.TextField(choices=[('waiting', 'Waiting'), ('done', 'Done'), ('failed', 'Failed')], db_default='waiting')),
                ('said', models.TextField(blank=True, db_default='')),
                ('recovery', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='events', to='billing.recovery')),
            ],
            options={
                'verbose_name': 'missed event',
                'db_table': 'billing_missed_events',
                'ordering': ['-position'],
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='IncidentEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.TextField(choices=[('note', 'Note'), ('told', 'Told')])),
                ('text', models.TextField()),
                ('told', models.JSONField(default=list, help_text='Who was told.')),
                ('by', models.TextField(blank=True, db_default='')),
                ('actor', models.TextField()),
                ('operation_key', models.TextField(unique=True)),
                ('created_at', models.DateTimeField(db_default=billing.models.events.ClockTimestamp())),
                ('incident', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='entries', to='billing.incident')),
            ],
            options={
                'verbose_name': 'incident entry',
                'verbose_name_plural': 'incident entries',
                'db_table': 'billing_incident_entries',
                'ordering': ['-created_at', '-id'],
                'default_permissions': (),
                'indexes': [models.Index(models.F('incident'), models.F('created_at'), name='billing_incident_entries_of')],
            },
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='incidententry',
            trigger=pgtrigger.compiler.Trigger(name='append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation', HINT = 'Write a new row that corrects the old one.';", hash='a80a49a8c6c14f950e9150ace10c4415ef3dd90a', level='STATEMENT', operation='UPDATE OR DELETE OR TRUNCATE', pgid='pgtrigger_append_only_e6de4', table='billing_incident_entries', when='BEFORE')),
        ),
        migrations.AddIndex(
            model_name='missedevent',
            index=models.Index(models.F('recovery'), models.F('status'), models.OrderBy(models.F('position'), descending=True), name='billing_missed_events_order'),
        ),
        migrations.AddIndex(
            model_name='missedevent',
            index=models.Index(models.F('recovery'), models.F('rank'), models.OrderBy(models.F('position'), descending=True), condition=models.Q(('status', 'waiting')), name='billing_missed_events_rank'),
        ),
        migrations.AddConstraint(
            model_name='missedevent',
            constraint=models.UniqueConstraint(fields=('recovery', 'stripe_event_id'), name='billing_missed_events_once'),
        ),
        migrations.AddField(
            model_name='incident',
            name='figures',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='alertmessage',
            name='entry',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='billing.incidententry'),
        ),
        migrations.AlterField(
            model_name='alertmessage',
            name='alert',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='billing.alert'),
        ),
        migrations.AlterField(
            model_name='alertmessage',
            name='occasion',
            field=models.TextField(choices=[('opened', 'Opened'), ('resolved', 'Resolved'), ('written', 'Written by hand')]),
        ),
        migrations.AddConstraint(
            model_name='alertmessage',
            constraint=models.UniqueConstraint(fields=('entry', 'way'), name='billing_entry_messages_once'),
        ),
        migrations.AddConstraint(
            model_name='alertmessage',
            constraint=models.CheckConstraint(condition=models.Q(('alert__isnull', True), ('entry__isnull', True), _connector='XOR'), name='billing_alert_messages_of_one'),
        ),
        migrations.RunPython(create_roles, migrations.RunPython.noop),
    ]

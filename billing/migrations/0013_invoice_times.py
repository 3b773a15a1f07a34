"""When an invoice was finalised, voided and written off, and which ones failed to be paid."""

import billing.models.accounts
import django.contrib.postgres.indexes
from django.db import migrations, models


# The invoices that were mirrored before: billing.projection.accounts.invoice_row, in SQL.
FROM_MIRROR = """
    SET LOCAL billing.actor = 'migration';
    UPDATE billing_invoices AS i
    SET finalized_at = to_timestamp((t->>'finalized_at')::bigint),
        voided_at = to_timestamp((t->>'voided_at')::bigint),
        uncollectible_at = to_timestamp((t->>'marked_uncollectible_at')::bigint)
    FROM (SELECT id, stripe_data->'status_transitions' AS t FROM djstripe_invoice) d
    WHERE d.id = i.stripe_invoice_id AND jsonb_typeof(t) = 'object';
    RESET billing.actor
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0012_credit_lots'),
        ('djstripe', '0003_2_11'),
    ]

    operations = [
        migrations.CreateModel(
            name='InvoiceDunning',
            fields=[
                ('stripe_invoice_id', models.TextField(primary_key=True, serialize=False)),
                ('stripe_customer_id', models.TextField(blank=True, db_default='')),
                ('currency', models.TextField(blank=True, db_default='')),
                ('amount', models.BigIntegerField()),
                ('entered_at', models.DateTimeField()),
                ('charge_id', models.TextField(blank=True, db_default='')),
                ('decline_reason', models.TextField(blank=True, db_default='')),
                ('recovered_at', models.DateTimeField(blank=True, null=True)),
                ('lost_at', models.DateTimeField(blank=True, null=True)),
                ('lost_by', models.TextField(blank=True, choices=[('void', 'Voided'), ('uncollectible', 'Marked uncollectible'), ('canceled', 'Its subscription was canceled'), ('unpaid', 'Its subscription became unpaid')], db_default='')),
            ],
            options={
                'db_table': 'billing_invoice_dunning',
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='billinginvoice',
            name='finalized_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='billinginvoice',
            name='uncollectible_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='billinginvoice',
            name='voided_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.RunSQL(FROM_MIRROR, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name='billinginvoice',
            index=django.contrib.postgres.indexes.GistIndex(billing.models.accounts.WhileOpen(), condition=models.Q(('finalized_at__isnull', False)), name='billing_invoices_while_open'),
        ),
        migrations.AddIndex(
            model_name='billingpayment',
            index=models.Index(models.F('updated_at'), condition=models.Q(('status', 'failed')), name='billing_payments_failed'),
        ),
        migrations.AddIndex(
            model_name='invoicedunning',
            index=models.Index(models.F('entered_at'), name='billing_dunning_entered'),
        ),
    ]

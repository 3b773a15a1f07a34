"""Stripe's balance and payouts, and the entries of revenue."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_alerts'),
    ]

    operations = [
        migrations.CreateModel(
            name='BalanceReading',
            fields=[
                ('what', models.TextField(primary_key=True, serialize=False)),
                ('read_up_to', models.DateTimeField()),
                ('finished_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'db_table': 'billing_balance_readings',
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='BalanceTransaction',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('stripe_id', models.TextField(unique=True)),
                ('type', models.TextField()),
                ('category', models.TextField()),
                ('currency', models.TextField()),
                ('amount', models.BigIntegerField()),
                ('fee', models.BigIntegerField()),
                ('net', models.BigIntegerField()),
                ('created_at', models.DateTimeField()),
                ('available_on', models.DateTimeField()),
                ('source_id', models.TextField(blank=True, db_default='')),
                ('charge_id', models.TextField(blank=True, db_default='')),
                ('charged_currency', models.TextField()),
                ('charged_amount', models.BigIntegerField()),
                ('exchange_rate', models.DecimalField(blank=True, decimal_places=12, max_digits=24, null=True)),
                ('country', models.TextField(blank=True, db_default='')),
                ('payout_id', models.TextField(blank=True, db_default='')),
                ('description', models.TextField(blank=True, db_default='')),
                ('livemode', models.BooleanField(db_default=False)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': 'balance transaction',
                'db_table': 'billing_balance_transactions',
                'ordering': ['-created_at', '-id'],
                'default_permissions': ('view',),
                'indexes': [models.Index(models.F('created_at'), models.F('id'), name='billing_balance_created'), models.Index(models.F('charge_id'), name='billing_balance_charge'), models.Index(models.F('source_id'), name='billing_balance_source'), models.Index(models.F('payout_id'), name='billing_balance_payout'), models.Index(models.F('updated_at'), name='billing_balance_updated')],
            },
        ),
        migrations.CreateModel(
            name='Payout',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('stripe_id', models.TextField(unique=True)),
                ('status', models.TextField()),
                ('amount', models.BigIntegerField()),
                ('currency', models.TextField()),
                ('created_at', models.DateTimeField()),
                ('arrival_date', models.DateTimeField()),
                ('automatic', models.BooleanField()),
                ('method', models.TextField(blank=True, db_default='')),
                ('description', models.TextField(blank=True, db_default='')),
                ('failure_code', models.TextField(blank=True, db_default='')),
                ('failure_message', models.TextField(blank=True, db_default='')),
                ('reconciliation_status', models.TextField(blank=True, db_default='')),
                ('livemode', models.BooleanField(db_default=False)),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'verbose_name': 'payout',
                'db_table': 'billing_payouts',
                'ordering': ['-created_at', '-id'],
                'default_permissions': ('view',),
                'indexes': [models.Index(models.F('created_at'), models.F('id'), name='billing_payouts_created'), models.Index(models.F('arrival_date'), name='billing_payouts_arrival')],
            },
        ),
        migrations.CreateModel(
            name='RevenueEntry',
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
            ],
            options={
                'verbose_name': 'revenue entry',
                'verbose_name_plural': 'revenue entries',
                'db_table': 'billing_revenue_entries',
                'ordering': ['-at', '-id'],
                'default_permissions': ('view',),
                'indexes': [models.Index(models.F('at'), models.F('id'), name='billing_revenue_at'), models.Index(models.F('customer_id'), models.F('at'), name='billing_revenue_customer')],
                'constraints': [models.UniqueConstraint(fields=('source', 'line'), name='billing_revenue_line')],
            },
        ),
    ]

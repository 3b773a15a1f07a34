"""The days of Stripe's balance, added up as it moves, and indexes for the pages of finance."""

import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


ADD_UP = """
    INSERT INTO billing_balance_days (day, currency, category, count, fee, net)
    SELECT date_trunc('day', created_at, 'UTC'), currency, category, count(*), sum(fee), sum(net)
    FROM billing_balance_transactions GROUP BY 1, 2, 3
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0014_closing'),
    ]

    operations = [
        migrations.CreateModel(
            name='BalanceDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateTimeField()),
                ('currency', models.TextField()),
                ('category', models.TextField()),
                ('count', models.BigIntegerField()),
                ('fee', models.BigIntegerField()),
                ('net', models.BigIntegerField()),
            ],
            options={
                'db_table': 'billing_balance_days',
                'ordering': ['day', 'currency', 'category'],
                'default_permissions': (),
            },
        ),
        migrations.AddIndex(
            model_name='balancetransaction',
            index=models.Index(models.F('created_at'), condition=models.Q(('category__in', ('payout', 'payout_minimum_balance_hold', 'payout_minimum_balance_release', 'payout_reversal', 'topup', 'topup_reversal'))), name='billing_balance_paid_out'),
        ),
        migrations.AddIndex(
            model_name='revenueentry',
            index=models.Index(models.F('at'), condition=models.Q(('item__in', ['refunds', 'disputes'])), include=('charge_id',), name='billing_revenue_taken_back'),
        ),
        migrations.RunSQL(ADD_UP, migrations.RunSQL.noop),
        pgtrigger.migrations.AddTrigger(
            model_name='balancetransaction',
            trigger=pgtrigger.compiler.Trigger(name='days_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n            INSERT INTO billing_balance_days AS d (day, currency, category, count, fee, net)\n            SELECT date_trunc('day', created_at, 'UTC'), currency, category, sum(n), sum(n * fee),\n                   sum(n * net)\n            FROM (SELECT 1 AS n, t.* FROM new_rows t) moved GROUP BY 1, 2, 3\n            HAVING sum(n) <> 0 OR sum(n * fee) <> 0 OR sum(n * net) <> 0\n            ORDER BY 1, 2, 3\n            ON CONFLICT (day, currency, category) DO UPDATE SET\n                count = d.count + excluded.count, fee = d.fee + excluded.fee,\n                net = d.net + excluded.net;\n            RETURN NULL;\n        ", hash='2535ec1576dff476a189539ee217d3e0451ba59d', level='STATEMENT', operation='INSERT', pgid='pgtrigger_days_insert_79ae4', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_balance_transactions', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='balancetransaction',
            trigger=pgtrigger.compiler.Trigger(name='days_update', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n            INSERT INTO billing_balance_days AS d (day, currency, category, count, fee, net)\n            SELECT date_trunc('day', created_at, 'UTC'), currency, category, sum(n), sum(n * fee),\n                   sum(n * net)\n            FROM (SELECT 1 AS n, t.* FROM new_rows t UNION ALL SELECT -1 AS n, t.* FROM old_rows t) moved GROUP BY 1, 2, 3\n            HAVING sum(n) <> 0 OR sum(n * fee) <> 0 OR sum(n * net) <> 0\n            ORDER BY 1, 2, 3\n            ON CONFLICT (day, currency, category) DO UPDATE SET\n                count = d.count + excluded.count, fee = d.fee + excluded.fee,\n                net = d.net + excluded.net;\n            RETURN NULL;\n        ", hash='97829be2a4d2c59dbd15b0587dd9dfa54e3ef843', level='STATEMENT', operation='UPDATE', pgid='pgtrigger_days_update_e5aa6', referencing='REFERENCING OLD TABLE AS old_rows  NEW TABLE AS new_rows ', table='billing_balance_transactions', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='balancetransaction',
            trigger=pgtrigger.compiler.Trigger(name='days_delete', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n            INSERT INTO billing_balance_days AS d (day, currency, category, count, fee, net)\n            SELECT date_trunc('day', created_at, 'UTC'), currency, category, sum(n), sum(n * fee),\n                   sum(n * net)\n            FROM (SELECT -1 AS n, t.* FROM old_rows t) moved GROUP BY 1, 2, 3\n            HAVING sum(n) <> 0 OR sum(n * fee) <> 0 OR sum(n * net) <> 0\n            ORDER BY 1, 2, 3\n            ON CONFLICT (day, currency, category) DO UPDATE SET\n                count = d.count + excluded.count, fee = d.fee + excluded.fee,\n                net = d.net + excluded.net;\n            RETURN NULL;\n        ", hash='4d1d9fc0e71d4515ee39e2b447086753fc9fd842', level='STATEMENT', operation='DELETE', pgid='pgtrigger_days_delete_cb591', referencing='REFERENCING OLD TABLE AS old_rows ', table='billing_balance_transactions', when='AFTER')),
        ),
        migrations.AddConstraint(
            model_name='balanceday',
            constraint=models.UniqueConstraint(fields=('day', 'currency', 'category'), name='billing_balance_days_once'),
        ),
    ]

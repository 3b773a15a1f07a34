import django.contrib.postgres.fields
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


# No use comes from here until the trigger counts it.
ADD_UP = """
    LOCK TABLE billing_credit_uses IN SHARE ROW EXCLUSIVE MODE;
    INSERT INTO billing_credit_spenders (user_id, first_month, last_month, spent)
    WITH months AS (
        SELECT user_id, extract(year FROM at AT TIME ZONE 'UTC')::int * 12
               + extract(month FROM at AT TIME ZONE 'UTC')::int AS month, sum(credits) AS credits
        FROM billing_credit_uses WHERE purpose IN ('claim', 'sql') GROUP BY 1, 2
    ), bounds AS (
        SELECT user_id, min(month) AS first_month, max(month) AS last_month
        FROM months GROUP BY user_id
    )
    SELECT user_id, first_month, last_month, array_agg(spent ORDER BY month)
    FROM (
        SELECT user_id, first_month, last_month, month,
               sum(credits) OVER (PARTITION BY user_id ORDER BY month)::float8 AS spent
        FROM bounds CROSS JOIN LATERAL generate_series(first_month, last_month) AS month
        LEFT JOIN months USING (user_id, month)
    ) by_month
    GROUP BY user_id, first_month, last_month ORDER BY user_id
"""


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0027_trials_under_way'),
    ]

    operations = [
        migrations.CreateModel(
            name='CreditSpender',
            fields=[
                ('user_id', models.TextField(primary_key=True, serialize=False)),
                ('first_month', models.IntegerField()),
                ('last_month', models.IntegerField()),
                ('spent', django.contrib.postgres.fields.ArrayField(base_field=models.FloatField(), size=None)),
            ],
            options={
                'db_table': 'billing_credit_spenders',
                'default_permissions': (),
            },
        ),
        migrations.RunSQL(ADD_UP, migrations.RunSQL.noop),
        pgtrigger.migrations.AddTrigger(
            model_name='credituse',
            trigger=pgtrigger.compiler.Trigger(name='spenders_insert', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    INSERT INTO billing_credit_spenders AS s (user_id, first_month, last_month, spent)\n    SELECT * FROM (\n    WITH months AS (\n        SELECT user_id, \n    (extract(year FROM at AT TIME ZONE 'UTC')::int * 12\n     + extract(month FROM at AT TIME ZONE 'UTC')::int)\n AS month, sum(credits) AS credits\n        FROM billing_credit_uses\n        WHERE purpose IN ('claim', 'sql') AND user_id IN (SELECT user_id FROM new_rows)\n        GROUP BY 1, 2\n    ), bounds AS (\n        SELECT user_id, min(month) AS first_month, max(month) AS last_month\n        FROM months GROUP BY user_id\n    )\n    SELECT user_id, first_month, last_month, array_agg(spent ORDER BY month) AS spent\n    FROM (\n        SELECT user_id, first_month, last_month, month,\n               sum(credits) OVER (PARTITION BY user_id ORDER BY month)::float8 AS spent\n        FROM bounds CROSS JOIN LATERAL generate_series(first_month, last_month) AS month\n        LEFT JOIN months USING (user_id, month)\n    ) by_month\n    GROUP BY user_id, first_month, last_month\n) found\n    ORDER BY user_id\n    ON CONFLICT (user_id) DO UPDATE SET first_month = excluded.first_month,\n        last_month = excluded.last_month, spent = excluded.spent\n    WHERE (s.first_month, s.last_month, s.spent)\n          IS DISTINCT FROM (excluded.first_month, excluded.last_month, excluded.spent);\n    RETURN NULL;\n", hash='7b55e3fd77c9f2712f9a67cef70ed9d499c1c299', level='STATEMENT', operation='INSERT', pgid='pgtrigger_spenders_insert_a9d78', referencing='REFERENCING NEW TABLE AS new_rows ', table='billing_credit_uses', when='AFTER')),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='credituse',
            trigger=pgtrigger.compiler.Trigger(name='spenders_truncate', sql=pgtrigger.compiler.UpsertTriggerSql(func='DELETE FROM billing_credit_spenders; RETURN NULL;', hash='d8e68462544345817809dd4f72563bae951d3bd6', level='STATEMENT', operation='TRUNCATE', pgid='pgtrigger_spenders_truncate_0bbd8', table='billing_credit_uses', when='AFTER')),
        ),
        migrations.AddIndex(
            model_name='creditspender',
            index=models.Index(models.F('last_month'), name='billing_credit_spenders_last'),
        ),
    ]

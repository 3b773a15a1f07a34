from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0017_export'),
    ]

    operations = [
        migrations.CreateModel(
            name='RateLimit',
            fields=[
                ('key', models.TextField(primary_key=True, serialize=False)),
                ('due_at', models.DateTimeField()),
            ],
            options={
                'db_table': 'billing_rate_limits',
                'default_permissions': (),
            },
        ),
        migrations.RunSQL(
            'ALTER TABLE billing_rate_limits SET UNLOGGED',
            'ALTER TABLE billing_rate_limits SET LOGGED',
        ),
    ]

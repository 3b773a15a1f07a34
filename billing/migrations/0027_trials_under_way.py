import django.contrib.postgres.indexes
from django.db import migrations, models

import billing.models.mrr
from billing.resumable import AddIndexResumably


class Migration(migrations.Migration):
    atomic = False  # an index of millions of rows is made beside those who write

    dependencies = [
        ('billing', '0026_revenue_hours'),
    ]

    operations = [
        AddIndexResumably(
            model_name='subscriptionstate',
            index=django.contrib.postgres.indexes.GistIndex(billing.models.mrr.WhileItLasted(), condition=models.Q(('status', 'trialing')), name='billing_sub_states_in_trial'),
        ),
    ]

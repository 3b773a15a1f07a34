from django.db import migrations, models

from billing.resumable import AddIndexResumably


class Migration(migrations.Migration):
    atomic = False  # an index of millions of rows is made beside those who write

    dependencies = [
        ('billing', '0024_revenue_days'),
    ]

    operations = [
        AddIndexResumably(
            model_name='leadclaim',
            index=models.Index(models.F('claimed_at'), condition=models.Q(('status', 'succeeded')), include=('credits_spent',), name='lead_claims_succeeded'),
        ),
    ]

import django.db.models.functions.comparison
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
        AddIndexResumably(
            model_name='invoicedunning',
            index=models.Index(models.F('recovered_at'), name='billing_dunning_recovered'),
        ),
        AddIndexResumably(
            model_name='invoicedunning',
            index=models.Index(models.F('lost_at'), name='billing_dunning_lost'),
        ),
        AddIndexResumably(
            model_name='invoicedunning',
            index=models.Index(django.db.models.functions.comparison.Coalesce(django.db.models.functions.comparison.Least('recovered_at', 'lost_at'), django.db.models.functions.comparison.Cast(models.Value('infinity'), models.DateTimeField())), name='billing_dunning_ended'),
        ),
        AddIndexResumably(
            model_name='invoicedunning',
            index=models.Index(models.F('currency'), models.F('amount'), condition=models.Q(('lost_at', None), ('recovered_at', None)), name='billing_dunning_now'),
        ),
        AddIndexResumably(
            model_name='invoicedunning',
            index=models.Index(models.F('decline_reason'), name='billing_dunning_reason'),
        ),
    ]

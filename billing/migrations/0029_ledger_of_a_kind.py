from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models

from billing.resumable import AddIndexResumably


class Migration(migrations.Migration):
    atomic = False  # an index of millions of rows is made beside those who write

    dependencies = [
        ('billing', '0028_credit_spenders'),
    ]

    operations = [
        AddIndexResumably(
            model_name='creditentry',
            index=models.Index(models.F('kind'), models.F('created_at'), models.F('id'), name='credit_entries_of_kind'),
        ),
        RemoveIndexConcurrently(
            model_name='creditentry',
            name='credit_entries_kind',
        ),
    ]

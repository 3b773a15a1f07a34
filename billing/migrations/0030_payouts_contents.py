from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations, models

from billing.resumable import AddIndexResumably


class Migration(migrations.Migration):
    atomic = False  # an index of millions of rows is made beside those who write

    dependencies = [
        ('billing', '0029_ledger_of_a_kind'),
    ]

    operations = [
        AddIndexResumably(
            model_name='balancetransaction',
            index=models.Index(fields=['payout_id'], include=('net',), name='billing_balance_in_payout'),
        ),
        RemoveIndexConcurrently(
            model_name='balancetransaction',
            name='billing_balance_payout',
        ),
    ]

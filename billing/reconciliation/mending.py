"""After findings were fixed together: each is looked at again, so that the list shows it."""

import logging
import time

from billing.gateway.client import GatewayError
from billing.models import BulkItem, BulkJob, FindingRecord
from billing.operations.fixing import FixFinding
from billing.reconciliation import looking

logger = logging.getLogger(__name__)


def is_to_be_looked_at(job_id: int) -> bool:
    """Whether a job has fixed findings and come to its end."""
    done = BulkJob.objects.filter(pk=job_id, name=FixFinding.name, status=BulkJob.Status.DONE)
    return done.exists()


def look_again(job_id: int, *, after: int, seconds: float) -> int | None:
    """Looks at the findings of a job's items beyond `after`, for so long at most.

    The last item that it came to; None where it came to the end. Where Stripe does not say, the
    finding stays as it is, for the next run.
    """
    until = time.monotonic() + seconds
    items = BulkItem.objects.filter(job=job_id, pk__gt=after, status=BulkItem.Status.DONE)
    for item in items.order_by("pk").iterator():
        if time.monotonic() >= until:
            return after
        after = item.pk
        finding = FindingRecord.objects.filter(pk=int(item.target)).first()
        if finding is None or finding.state == FindingRecord.State.RESOLVED:
            continue
        try:
            looking.look_again(finding)
        except GatewayError:
            logger.info("Stripe did not say whether finding %s is still so", item.target)
    return None

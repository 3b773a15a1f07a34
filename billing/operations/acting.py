"""What operations that act at Stripe have in common: the request's key, and its traces."""

from billing.models import OperationRecord
from billing.operations.base import Operation


def stripe_key(operation: Operation, record: OperationRecord, step: str) -> str:
    """The idempotency key of an operation's request at Stripe; `step` tells its requests apart.

    Stripe repeats its first answer to a key, refusals included. After a failure that the
    operator may have mended (a new card), a further try needs a new one; what is to be done
    is read from Stripe just before, so it cannot be done twice. A try that broke off has no
    end, and is repeated with the key it had.
    """
    key = f"{operation.key}-{step}"
    return f"{key}-{round(record.finished_at.timestamp() * 1000)}" if record.finished_at else key


def acted_before(operation: Operation) -> bool:
    """Whether an earlier try with this key may have acted at Stripe, and broke off then."""
    started = OperationRecord.objects.filter(key=operation.key).values_list("plan", flat=True)
    return any(plan.get("calls") for plan in started)

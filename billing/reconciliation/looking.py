"""Looking at one finding again: is it still so?"""

from django.db import transaction

from billing.gateway.client import Gateway, gateway
from billing.models import FindingRecord
from billing.reconciliation import adopted, examining, groups, worklist
from billing.reconciliation.subjects import suspects_of


def look_again(record: FindingRecord, stripe: Gateway | None = None) -> bool:
    """Examines the finding's person anew, with what it is about at Stripe; whether it is still so.

    The record then says it: as it is now, or resolved. Raises a GatewayError where Stripe does
    not answer.
    """
    if record.kind in adopted.KINDS:
        if not (is_so := adopted.is_so(record)):
            worklist.resolve(record)
        return is_so
    suspects = list(suspects_of(record))
    one = examining.examine(groups.name_of(record), suspects, stripe or gateway())
    with transaction.atomic():
        same = [f for f in one.found if (f.kind, f.subject) == (record.kind, record.subject)]
        worklist.keep(same, one.person, None)
        # An event that another finding speaks for by now has not come all the same.
        is_so = bool(same) or any(record.subject in each.events for each in one.found)
        if not is_so:
            worklist.resolve(record)
    record.refresh_from_db()
    return is_so

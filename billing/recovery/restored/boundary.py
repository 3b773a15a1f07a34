"""From where on things are missing: what the restored database and the export have in common."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Max

from billing.models import AuditLink, CreditEntry, ExportProgress
from billing.recovery.export import reading
from billing.recovery.export.store import Store
from billing.recovery.export.streams import AUDIT, LEDGER, RECORDS


@dataclass(frozen=True, slots=True)
class Boundary:
    """Up to where both are the same, by stream; what the export has beyond that was lost.

    `position` is a link of the audit chain, `entry` an id of the ledger, `record` a number of the
    export's own. `is_forked` where something was written since the restore: then the audit chain
    goes on otherwise than the lost one. All in the export was committed by `until` (UTC), null
    where it does not say.
    """

    position: int
    entry: int
    record: int
    is_forked: bool
    until: datetime | None


def find(store: Store) -> Boundary:
    """Raises StoreError."""
    here = AuditLink.objects.order_by("-position").first()
    position = _common(store, here.position if here else 0)
    exported = ExportProgress.objects.filter(stream__in=(LEDGER.name, RECORDS.name))
    last = dict(exported.values_list("stream", "last_id"))
    return Boundary(
        position=position,
        entry=_common_entry(store, last.get(LEDGER.name, 0)),
        record=last.get(RECORDS.name, 0),
        is_forked=position < min(here.position if here else 0, _newest(store)),
        until=reading.exported_until(store),
    )


def _newest(store: Store) -> int:
    head = reading.audit_head(store)
    return head.position if head else 0


def _common(store: Store, ours: int) -> int:
    """The last link that both chains have: what follows a link that differs differs, too."""
    low, high = 0, min(ours, _newest(store))
    while low < high:
        middle = (low + high + 1) // 2
        if _is_same(store, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _is_same(store: Store, position: int) -> bool:
    exported = next(reading.rows(AUDIT.name, position - 1, store), None)
    ours = AuditLink.objects.filter(position=position).values_list("hash", flat=True).first()
    return exported is not None and (exported["position"], exported["hash"]) == (position, ours)


def _common_entry(store: Store, exported: int) -> int:
    """The newest entry that we know to be in both: older ones need not be looked at again.

    What was exported before the backup is in it. Later entries are looked at one by one, since ids
    may be missing among them that were given and never written.
    """
    highest = CreditEntry.objects.aggregate(Max("id"))["id__max"] or 0
    return min(exported, int(highest))

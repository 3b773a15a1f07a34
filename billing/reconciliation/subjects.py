"""From a finding back to what has to be looked at to see whether it is still so."""

from collections.abc import Iterator

from billing.diagnosis.terms import kind_of
from billing.gateway.client import PATHS
from billing.models import FindingRecord, ReconciliationSuspect


def suspects_of(record: FindingRecord) -> Iterator[ReconciliationSuspect]:
    """The finding's person, with the object at Stripe and the events that it names."""
    kind = kind_of(record.subject)
    about = record.subject if kind in PATHS else ""
    yield _suspect(record, kind if about else "", about)
    named = [str(item.get("id") or "") for item in record.evidence]
    named += record.fix_params.get("event_ids", [])
    for event_id in dict.fromkeys(named):
        if kind_of(event_id) == "event" and event_id != about:
            yield _suspect(record, "event", event_id)


def _suspect(record: FindingRecord, kind: str, object_id: str) -> ReconciliationSuspect:
    return ReconciliationSuspect(
        kind=kind,
        object_id=object_id,
        stripe_customer_id=record.stripe_customer_id,
        user_id=record.user_id,
    )

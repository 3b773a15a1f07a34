"""Mending what is safe to mend without a person: what follows from Stripe's word alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from billing.diagnosis.kinds import label_of
from billing.gateway.client import Gateway, GatewayError, gateway
from billing.models import FindingRecord, InboxEvent, ReconciliationRun
from billing.operations.base import Actor, OperationError
from billing.operations.registry import named
from billing.reconciliation import worklist
from billing.reconciliation.looking import look_again

SAFE = ("replay_events", "sync_from_stripe", "grant_purchase")
"""Operations that converge on Stripe's word and grant by source: twice is as good as once."""
REASON = "Reconciliation found it, and Stripe's word mends it"
REASON_CODE = "data_repair"


@dataclass(slots=True)
class Fixed:
    """What was mended, what was tried in vain (with why), and what is left to a person."""

    mended: list[FindingRecord] = field(default_factory=list)
    failed: list[tuple[FindingRecord, str]] = field(default_factory=list)
    left: list[FindingRecord] = field(default_factory=list)

    def as_dicts(self) -> list[dict[str, Any]]:
        return [
            {"kind": each.kind, "subject": each.subject, "operation": each.operation_key}
            for each in self.mended
        ]

    def lines(self) -> list[str]:
        mended = [f"mended  {_named(each)}, {_by(each)}" for each in self.mended]
        failed = [f"failed  {_named(each)}: {why}" for each, why in self.failed]
        left = [f"left    {_named(each)}, {_left_to(each)}" for each in self.left]
        return [*mended, *failed, *left]


def _named(record: FindingRecord) -> str:
    return f"{record.pk}  {label_of(record.kind)}: {record.subject}"


def _by(record: FindingRecord) -> str:
    return f"by {record.fix['operation']}" if record.operation_key and record.fix else "with others"


def _left_to(record: FindingRecord) -> str:
    """What a person has to do about it."""
    return f"needs a person: {record.fix['operation']}" if record.fix else "needs a person"


def fix(run: ReconciliationRun, actor: Actor, tell: Callable[[str], None]) -> Fixed:
    """Applies the safe fixes of what a run found and is open, each as an operation of its own.

    Replays come first, since they bring most; what one fix has mended along with its own finding
    needs none any more.
    """
    fixed = Fixed()
    found = worklist.open_findings().filter(run=run).order_by(*worklist.GRAVEST_FIRST)
    safe: list[FindingRecord] = []
    for each in found:
        (safe if _is_safe(each) else fixed.left).append(each)
    safe.sort(key=lambda each: SAFE.index(each.fix["operation"]) if each.fix else 0)
    stripe = gateway()
    for number, record in enumerate(safe, start=1):
        try:
            if not look_again(record, stripe) and not _lacks_events(record):
                fixed.mended.append(record)
                continue
            if not _is_safe(record):  # any more: it is recommended otherwise by now
                fixed.left.append(record)
                continue
            _apply(record, actor)
            if look_again(record, stripe):
                fixed.failed.append((record, "it was done, and the difference is still there"))
            else:
                fixed.mended.append(record)
        except (OperationError, GatewayError) as error:
            fixed.failed.append((record, str(error)))
        tell(f"{number:,} of {len(safe):,} fixes are tried.")
    if fixed.mended:
        _look_at_the_rest(fixed, stripe)
    return fixed


def _lacks_events(record: FindingRecord) -> bool:
    """Whether events that it would replay have not come: another fix has brought their object."""
    if record.fix is None or record.fix["operation"] != "replay_events":
        return False
    wanted = set(record.fix_params["event_ids"])
    came = InboxEvent.objects.filter(stripe_event_id__in=wanted, processed_at__isnull=False)
    return came.count() < len(wanted)


def _look_at_the_rest(fixed: Fixed, stripe: Gateway) -> None:
    """What is left to a person was found before all this, and so was what is recommended for it:
    a balance to correct, say, to which credits have been granted since."""
    left, fixed.left = fixed.left, []
    for record in left:
        try:
            (fixed.left if look_again(record, stripe) else fixed.mended).append(record)
        except GatewayError:
            fixed.left.append(record)


def _is_safe(record: FindingRecord) -> bool:
    """Whether what is recommended needs no person."""
    return record.fix is not None and record.fix["operation"] in SAFE


def _apply(record: FindingRecord, actor: Actor) -> None:
    """Does what the finding recommends now."""
    assert record.fix is not None  # noqa: S101  (narrows the type)
    operation = named(record.fix["operation"])(
        **record.fix_params, actor=actor, reason=REASON, reason_code=REASON_CODE
    )
    operation.apply()
    record.operation_key = operation.key
    record.save(update_fields=["operation_key"])

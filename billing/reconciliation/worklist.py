"""The findings as rows: kept when they are found again, resolved when they are true no more."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Q, QuerySet, Sum
from django.utils import timezone

from billing.diagnosis.facts import Person
from billing.diagnosis.findings import Finding
from billing.models import FindingRecord, OperationRecord, ReconciliationRun, reconciliation

State = FindingRecord.State

OPEN = FindingRecord.OPEN
GRAVEST_FIRST = reconciliation.GRAVEST_FIRST


def open_findings() -> QuerySet[FindingRecord]:
    return FindingRecord.objects.filter(OPEN)


def keep(found: Sequence[Finding], person: Person, run: ReconciliationRun | None) -> None:
    """Writes what was found of a person, each finding to its one row. Inside a transaction."""
    if not found:
        return
    wanted = {(each.kind, each.subject): each for each in found}
    same = Q()
    for kind, subject in wanted:
        same |= Q(kind=kind, subject=subject)
    known = {
        (record.kind, record.subject): record
        for record in FindingRecord.objects.select_for_update().filter(same).order_by("id")
    }
    new: list[FindingRecord] = []
    for key, finding in sorted(wanted.items()):
        record = known.get(key)
        if record is None:
            record = FindingRecord(kind=finding.kind, subject=finding.subject)
            record.first_seen_at = timezone.now()
            new.append(record)
        elif record.state == State.RESOLVED or _is_accepted_no_more(record, finding):
            _open_again(record)
        _take_over(record, finding, person, run)
    FindingRecord.objects.bulk_create(new)
    FindingRecord.objects.bulk_update(known.values(), KEPT)


def _is_accepted_no_more(record: FindingRecord, finding: Finding) -> bool:
    """What was accepted was what was at stake then."""
    return record.state == State.ACCEPTED and _stake(record) != _stake(finding)


def _stake(found: FindingRecord | Finding) -> tuple[int | None, str, int | None]:
    return found.amount, found.currency, found.credits


def _open_again(record: FindingRecord) -> None:
    record.state = State.OPEN
    record.first_seen_at = timezone.now()
    record.resolved_at = None
    record.resolved_by = record.state_reason = record.state_by = record.operation_key = ""


KEPT = (
    "severity", "rank", "verdict", "evidence", "fix", "amount", "currency", "credits", "user_id",
    "stripe_customer_id", "state", "state_reason", "state_by", "first_seen_at", "last_seen_at",
    "resolved_at", "resolved_by", "operation_key", "run",
)  # fmt: skip


def _take_over(
    record: FindingRecord, finding: Finding, person: Person, run: ReconciliationRun | None
) -> None:
    said = finding.as_dict()
    record.severity, record.rank = finding.severity.value, finding.severity.rank
    record.verdict, record.evidence, record.fix = finding.verdict, said["evidence"], said["fix"]
    record.amount, record.currency, record.credits = _stake(finding)
    record.user_id = person.user_id or ""
    record.stripe_customer_id = person.customer_ids[-1] if person.customer_ids else ""
    record.last_seen_at = timezone.now()
    record.run = run or record.run


def resolve_the_rest(run: ReconciliationRun) -> int:
    """Resolves what a run has looked at and not found again; how many there were.

    What was left out of the run because an event was on its way stays as it is, and so does what
    was seen since the run began, but not by it: while it was interrupted, another run may have
    found what this one has never looked at.
    """
    left_out = set(
        run.suspects.filter(in_flight=True).values_list(
            "user_id", "stripe_customer_id", "object_id"
        )
    )
    users, customers, objects = ({each[column] for each in left_out} - {""} for column in range(3))
    gone = FindingRecord.objects.exclude(state=State.RESOLVED).exclude(run=run)
    gone = gone.filter(last_seen_at__lt=run.started_at)
    gone = gone.exclude(user_id__in=users).exclude(stripe_customer_id__in=customers)
    records = list(gone.exclude(subject__in=objects))
    for record in records:
        resolve(record)
    return len(records)


def resolve(record: FindingRecord) -> None:
    """Says that a finding is true no more, and by what."""
    record.state = State.RESOLVED
    record.resolved_at = timezone.now()
    record.resolved_by = _mended_by(record) or FindingRecord.ITSELF
    record.save(update_fields=["state", "resolved_at", "resolved_by"])


def _mended_by(record: FindingRecord) -> str:
    """The newest operation on what the finding is about since it was first seen; '' for none."""
    if not record.fix:
        return ""
    subjects = {record.subject, record.user_id, record.stripe_customer_id, *_named(record)} - {""}
    applied = OperationRecord.objects.filter(
        status=OperationRecord.Status.APPLIED,
        subject__in=subjects,
        created_at__gte=record.first_seen_at,
    )
    newest = applied.order_by("-created_at").values_list("key", flat=True).first()
    return newest or record.operation_key


def _named(record: FindingRecord) -> Iterable[str]:
    """The ids that its recommended operation names."""
    for value in record.fix_params.values():
        yield from (str(each) for each in (value if isinstance(value, list) else [value]))


def differences(run: ReconciliationRun) -> tuple[dict[str, int], dict[str, int]]:
    """How many findings of each kind a run left, and what is at stake: by currency, and credits."""
    found = FindingRecord.objects.filter(run=run).order_by()
    kinds: dict[str, int] = {}
    for kind in found.values_list("kind", flat=True):
        kinds[kind] = kinds.get(kind, 0) + 1
    money = found.exclude(amount=None).values_list("currency").annotate(total=Sum("amount"))
    stake = {currency: int(total) for currency, total in money if currency and total}
    if credits_ := found.aggregate(total=Sum("credits"))["total"]:
        stake["credits"] = int(credits_)
    return dict(sorted(kinds.items())), stake


def as_dict(record: FindingRecord) -> dict[str, Any]:
    """A finding for programs, as `diagnose` has it, with what has become of it."""
    return {
        "number": record.pk,
        "kind": record.kind,
        "severity": record.severity,
        "subject": record.subject,
        "verdict": record.verdict,
        "evidence": record.evidence,
        "fix": record.fix,
        "at_stake": {
            "amount": record.amount,
            "currency": record.currency or None,
            "credits": record.credits,
        },
        "state": record.state,
        "owner": record.owner or None,
        "user_id": record.user_id or None,
        "customer": record.stripe_customer_id or None,
    }

"""What a check found: a verdict in plain words, its evidence, and the operation that mends it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from billing.diagnosis.facts import Facts
from billing.models import FindingRecord


class Severity(StrEnum):
    """What is at stake, the gravest first.

    `ACCESS`: somebody lacks what they paid for, or has what they did not. `MONEY`: money or
    credits are not where they belong. `WARNING`: nothing is lost, and somebody should look.
    `INFO`: all is as it should be, and this explains it (a cancellation the customer asked for).
    """

    ACCESS = "access"
    MONEY = "money"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Evidence:
    """One fact that the verdict rests on: what it is, its value in words, whose id, and when.

    `id` is Stripe's or ours, of the row that says so; '' where the value says it all. UTC.
    """

    label: str
    value: str
    id: str = ""
    time: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "value": self.value,
            "id": self.id or None,
            "time": self.time.isoformat() if self.time else None,
        }

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """The fact that `as_dict` said."""
        time = kept.get("time")
        return cls(
            str(kept.get("label", "")),
            str(kept.get("value", "")),
            str(kept.get("id") or ""),
            datetime.fromisoformat(time) if time else None,
        )


@dataclass(frozen=True, slots=True)
class Fix:
    """The operation that mends it, by its name, and its constructor's own arguments."""

    operation: str
    params: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"operation": self.operation, "params": dict(self.params)}

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """The fix that `as_dict` said."""
        return cls(str(kept["operation"]), dict(kept.get("params") or {}))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or explains what a customer sees.

    `kind` and `subject` (a Stripe id, a user, `claim:<id>`, `entry:<id>`) together are the
    same whenever the same thing is found again. `events` are Stripe events that the verdict
    names as its cause: no finding of their own is needed then. `for_customer` says it to the
    customer, free of ids and jargon; '' where it is none of their business. What is at stake
    is `amount` (minor units of `currency`) and `credits`, where they are known.
    """

    kind: str
    severity: Severity
    subject: str
    verdict: str
    evidence: tuple[Evidence, ...] = ()
    fix: Fix | None = None
    events: frozenset[str] = frozenset()
    for_customer: str = ""
    amount: int | None = None
    currency: str = ""
    credits: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "severity": self.severity.value,
            "subject": self.subject,
            "verdict": self.verdict,
            "evidence": [item.as_dict() for item in self.evidence],
            "fix": self.fix.as_dict() if self.fix else None,
            "at_stake": {
                "amount": self.amount,
                "currency": self.currency or None,
                "credits": self.credits,
            },
        }

    @classmethod
    def of_record(cls, record: FindingRecord) -> Self:
        """The finding that a record keeps, as the check last said it."""
        return cls(
            record.kind,
            Severity(record.severity),
            record.subject,
            record.verdict,
            tuple(Evidence.read(kept) for kept in record.evidence),
            Fix.read(record.fix) if record.fix else None,
            amount=record.amount,
            currency=record.currency,
            credits=record.credits,
        )


Check = Callable[[Facts], Iterator[Finding]]


@dataclass(slots=True)
class Report:
    """All findings about one person, the gravest first.

    `asked_at` (UTC) is when Stripe was asked; None where it was not. `silence` says why it
    did not answer: the findings are those of our own rows alone then. `api_calls` is how many
    requests it took.
    """

    findings: list[Finding] = field(default_factory=list)
    asked_at: datetime | None = None
    silence: str = ""
    api_calls: int = 0

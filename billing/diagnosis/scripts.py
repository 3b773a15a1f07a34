"""Support scripts: what a customer says, step by step, and the one thing to do about it.

A script is a pure function of the facts and the report about a person. The three that there are
stand in billing.diagnosis.runbook. What a step says is for the agent; what the customer is told
is in billing.diagnosis.replies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from billing.diagnosis.facts import Facts
from billing.diagnosis.findings import Evidence, Finding, Report
from billing.diagnosis.kinds import Kind
from billing.gateway.observation import StripeDict


class State(StrEnum):
    """What came of a step: all is well, something was found, or nobody could look."""

    FINE = "fine"
    FOUND = "found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step came to, in words, and what that rests on."""

    state: State
    said: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """A person as a script looks at them; `fitting` are the findings it is about."""

    facts: Facts
    report: Report
    fitting: tuple[Finding, ...]

    @property
    def is_silent(self) -> bool:
        return self.facts.stripe is None or bool(self.report.silence)

    def of(self, kinds: Sequence[Kind]) -> list[Finding]:
        return [finding for finding in self.fitting if finding.kind in kinds]

    def at_stripe(self, kind: str) -> list[StripeDict]:
        """Stripe's objects of a kind, the newest first."""
        objects = self.facts.stripe.of(kind).values() if self.facts.stripe else ()
        return sorted(objects, key=lambda each: int(each.get("created") or 0), reverse=True)


Look = Callable[[Case], Outcome]


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the runbook, in its own words, and what came of it."""

    line: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Script:
    """What a customer says, the runbook's lines about it, and the findings that would explain it.

    `kinds` are those, what fits the customer's words best first. `well` says to the agent why
    the customer may not see that all is well.
    """

    slug: str
    complaint: str
    kinds: tuple[Kind, ...]
    lines: tuple[tuple[str, Look], ...]
    well: Callable[[Case], str]


@dataclass(frozen=True, slots=True)
class Followed:
    """A script that was followed for a person: its steps, and the finding to act on, if any."""

    script: Script
    case: Case
    steps: tuple[Step, ...]

    @property
    def recommended(self) -> Finding | None:
        return next(iter(self.case.fitting), None)

    @property
    def others(self) -> int:
        """How many findings there are that do not explain what the customer says."""
        return len(self.case.report.findings) - len(self.case.fitting)

    @property
    def well(self) -> str:
        """Why they may not see that all is well; '' where it is not, or nobody knows."""
        known = not self.case.fitting and not self.case.is_silent
        return self.script.well(self.case) if known else ""


def follow(script: Script, facts: Facts, report: Report) -> Followed:
    """The script, step by step. Findings of one severity are ordered as the script has them."""
    fitting = [finding for finding in report.findings if finding.kind in script.kinds]
    order = [kind.value for kind in script.kinds]
    fitting.sort(key=lambda each: (each.severity.rank, order.index(each.kind)))
    case = Case(facts, report, tuple(fitting))
    return Followed(script, case, tuple(Step(line, look(case)) for line, look in script.lines))

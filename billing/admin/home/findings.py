"""The findings that reconciliation left open, by kind, with what is at stake."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Min, Sum

from billing.admin import cells
from billing.admin.findings import AT_STAKE, TONES
from billing.admin.home.figures import Figure, Section
from billing.admin.related import Table
from billing.diagnosis.findings import Severity
from billing.diagnosis.kinds import label_of
from billing.formatting import format_money
from billing.models import FindingRecord
from billing.reconciliation.worklist import open_findings

SHOWN = (Severity.ACCESS, Severity.MONEY, Severity.WARNING)
MOST = 10  # kinds


@dataclass(frozen=True, slots=True)
class Group:
    """Open findings of one kind, severity and currency. The amount is in its minor units."""

    kind: str
    severity: str
    rank: int
    currency: str
    count: int
    amount: int | None
    credits: int | None
    oldest: datetime


@dataclass(slots=True)
class Pile:
    """Groups together; amounts in minor units by currency."""

    rank: int = len(Severity) - 1
    count: int = 0
    credits: int = 0
    amounts: Counter[str] = field(default_factory=Counter)
    oldest: datetime | None = None

    def add(self, group: Group) -> None:
        self.rank = min(self.rank, group.rank)
        self.count += group.count
        self.credits += group.credits or 0
        self.amounts[group.currency] += group.amount or 0
        self.oldest = min(self.oldest or group.oldest, group.oldest)

    @property
    def severity(self) -> Severity:
        """The gravest."""
        return list(Severity)[self.rank]

    @property
    def worth(self) -> str:
        return worth(self.amounts, self.credits)


def worth(amounts: Mapping[str, int], credits_: int) -> str:
    """What is at stake: each currency by itself, and the credits, as far as known."""
    said = [format_money(amounts[c], c) for c in sorted(amounts) if amounts[c]]
    return ", ".join(said + ([f"{credits_:,} credits"] if credits_ else [])) or cells.EMPTY


def open_groups() -> list[Group]:
    found = (
        open_findings()
        .order_by()
        .values_list("kind", "severity", "rank", "currency")
        .annotate(Count("id"), Sum("amount"), Sum("credits"), Min("first_seen_at"))
    )
    return [Group(*row) for row in found]


def piled(groups: Iterable[Group], by: str) -> dict[str, Pile]:
    """The groups by their `kind` or `severity`."""
    piles: dict[str, Pile] = {}
    for group in groups:
        piles.setdefault(getattr(group, by), Pile()).add(group)
    return piles


def section() -> Section:
    """What differs from Stripe, and waits for somebody."""
    groups = open_groups()
    piles = piled(groups, "severity")
    return Section(
        "Findings",
        {
            "success": "No difference is open",
            "warning": "Some are worth a look",
            "danger": "Some need you",
        },
        figures=[figure(severity, piles.get(severity)) for severity in SHOWN],
        table=table(piled(groups, "kind")) if groups else None,
    )


def figure(severity: Severity, pile: Pile | None) -> Figure:
    """How many of a severity are open, and what they are worth."""
    url = cells.changelist_url(FindingRecord, severity=severity)
    if pile is None:
        return Figure(AT_STAKE[severity], "0", url, "None, as it should be.")
    known = pile.worth != cells.EMPTY
    verdict = f"{pile.worth} at stake." if known else "What is at stake is not known in money."
    return Figure(AT_STAKE[severity], f"{pile.count:,}", url, verdict, TONES[severity])


def table(piles: Mapping[str, Pile]) -> Table:
    """By kind: the gravest first, then the most."""
    ordered = sorted(piles.items(), key=lambda item: (item[1].rank, -item[1].count, item[0]))
    return Table(
        title="Open findings by kind",
        headers=["What", "Open", "At stake", "Severity", "Oldest (UTC)"],
        rows=[
            (
                cells.changelist_url(FindingRecord, kind=kind),
                [
                    label_of(kind),
                    f"{pile.count:,}",
                    pile.worth,
                    cells.label(AT_STAKE[pile.severity], TONES[pile.severity]),
                    cells.time(pile.oldest),
                ],
            )
            for kind, pile in ordered[:MOST]
        ],
        empty="",
        more=cells.changelist_url(FindingRecord) if len(ordered) > MOST else "",
    )

"""Looking at what a recovery would work on, with nothing stored and nothing changed."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from billing.gateway.client import gateway
from billing.models import MissedEvent
from billing.recovery import events, queue

SHOWN = 20  # of the queue


@dataclass(slots=True)
class Look:
    """What Stripe lists of a window, how much of it was missed and how, and the top of the queue.

    The queue is ranked: the most critical first, the oldest of each first.
    """

    counts: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    missed_as: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    by_rank: Counter[int] = field(default_factory=Counter)
    top: list[MissedEvent] = field(default_factory=list)

    def add(self, found: events.Compared) -> None:
        self.counts.update(found.counts)
        for each in found.missed:
            self.missed += 1
            self.missed_as[each.missed_as] += 1
            self.types[each.type] += 1
            self.by_rank[each.rank] += 1
        critical = [each for each in found.missed if each.rank < queue.REST]
        in_order = sorted([*self.top, *critical], key=lambda each: (each.rank, -each.position))
        self.top = in_order[:SHOWN]


def look(
    since: datetime,
    until: datetime,
    *,
    critical_only: bool = False,
    tell: events.Tell = lambda said: None,
) -> Look:
    """Lists a window of Stripe's events. Raises a GatewayError."""
    made = Look()
    params = events.request(since, until, critical_only=critical_only)
    for page in events.pages(gateway(), params):
        made.add(events.compare(page, made.counts[events.LISTED]))
        tell(f"{made.counts[events.LISTED]:,} events listed.")
    return made

"""A unit of work in the past: everything in memory, on a clock that is set."""

import random
from dataclasses import dataclass, field

from backoffice.sandbox.ids import Ids
from backoffice.sandbox.store import Row, Store, row_of
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Stored, Work

EVENT_DAYS = 30


class Unstored(Store):
    """Stands where a unit of work keeps its store: history reads nothing and delivers nothing."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._seq = 0
        self._endpoints = []


@dataclass
class History(Work):
    """The past of one customer, or of the catalogue.

    `known` are objects that others made: read, never changed. `until` is when history ends.
    """

    until: int = 0
    known: dict[str, Stored] = field(default_factory=dict)

    def stored(self, id: str) -> Stored | None:  # noqa: A002
        """The object `id`, of this history or of those that were known before."""
        return self._objects.get(id) or self.known.get(id)

    def select(self, kind: str, **equal: str) -> list[Json]:
        """The objects of `kind` in this history whose fields equal the given values."""
        return [
            kept.value
            for kept in self._objects.values()
            if kept.value["object"] == kind
            and not kept.deleted
            and all(
                (kept.parent if name == "parent" else kept.value.get(name)) == value
                for name, value in equal.items()
            )
        ]

    def remembered(self, id: str) -> Json:  # noqa: A002
        """Nothing: history keeps no facts beside its objects."""
        return {}

    def flush(self) -> None:
        """History is written as a whole, from `all_rows`."""

    def kept(self) -> dict[str, Stored]:
        """Everything that was made, by id."""
        return self._objects

    def all_rows(self) -> list[Row]:
        """The rows of everything that was made, in order; the store numbers them."""
        return [
            row_of(kept.seq, kept.value, kept.parent, kept.deleted, since=self.until)
            for kept in self._objects.values()
        ]


def history(
    rng: random.Random,
    start: int,
    until: int,
    base_url: str,
    known: dict[str, Stored],
    *,
    event_days: float = EVENT_DAYS,
) -> History:
    """An empty history that starts at `start`; events are made for the last days of it."""
    return History(
        Unstored(Ids(rng)),
        start,
        base_url,
        events_since=int(until - event_days * 86400),
        until=until,
        known=known,
    )

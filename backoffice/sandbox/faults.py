"""Misbehaviour on command, and what each fault hit."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from itertools import count as counter
from random import Random
from typing import Any, ClassVar, TypeVar

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import EventFaults

HITS_KEPT = 10_000
LONGEST = 10**8  # seconds
NUMBER = (int, float)

# What the JSON of a fault may have, and the least and the most that its numbers may be.
SPEC: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "path": str,
    "status": int,
    "body": dict,
    "reset": bool,
    "after": bool,
    "delay_seconds": NUMBER,
    "types": list,
    "no_event": bool,
    "skew_events": int,
    "endpoints": list,
    "drop_deliveries": bool,
    "delay_deliveries": NUMBER,
    "jitter": NUMBER,
    "duplicate_deliveries": int,
    "reorder_deliveries": NUMBER,
    "wrong_secret": bool,
    "skew_signatures": int,
    "count": int,
    "probability": NUMBER,
    "seed": int,
}
LIMITS: dict[str, tuple[float, float]] = {
    "status": (200, 599),
    "skew_events": (-LONGEST, LONGEST),
    "duplicate_deliveries": (2, 100),
    "skew_signatures": (-LONGEST, LONGEST),
    "count": (1, 10**9),
    "probability": (1e-9, 1),
    "seed": (-(2**63), 2**63),
}


@dataclass(kw_only=True)
class Fault:
    """What all faults share: how often they hit, and what they did hit.

    Of the candidates each is hit with `probability`, drawn from a generator seeded with `seed`:
    the same candidates in the same order are hit again. After `count` hits it hits no more.
    """

    EFFECTS: ClassVar[tuple[str, ...]] = ()

    id: int
    probability: float = 1.0
    seed: int = 0
    count: int | None = None
    hit_count: int = 0
    hits: deque[Json] = field(default_factory=lambda: deque(maxlen=HITS_KEPT))
    random: Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)  # noqa: S311

    @property
    def effects(self) -> Json:
        """What it does, by name."""
        return {name: value for name in self.EFFECTS if (value := getattr(self, name))}

    def strikes(self) -> bool:
        """Whether the next candidate is hit."""
        if self.count is not None and self.hit_count >= self.count:
            return False
        return self.probability >= 1 or self.random.random() < self.probability

    def describe(self) -> Json:
        """The fault as JSON."""
        shown: Json = {own.name: getattr(self, own.name) for own in fields(self) if own.repr}
        return {**shown, "hits": list(self.hits)}


@dataclass(kw_only=True)
class RequestFault(Fault):
    """For API requests to `path`: a slow answer, an error, or no answer as the connection is reset.

    It comes before the request took effect, or `after`. A `path` may have wildcards.
    """

    EFFECTS = ("status", "reset", "delay_seconds")

    path: str = ""
    method: str = "*"
    status: int | None = None
    body: Json | None = None
    reset: bool = False
    after: bool = False
    delay_seconds: float = 0

    @property
    def replaces_answer(self) -> bool:
        """Whether the request's own answer is not given."""
        return bool(self.status or self.reset)

    def touches(self, method: str, path: str) -> bool:
        """Whether the request is a candidate."""
        return self.method in ("*", method) and (self.path == path or fnmatchcase(path, self.path))

    def error_body(self) -> Json:
        """The body of the error that it answers."""
        if self.body is not None:
            return self.body
        status = self.status or 500
        message = f"Fault {self.id}: answered {status}."
        if status == 429:
            return {"error": ApiError(429, message, code="rate_limit").error}
        kind = "api_error" if status >= 500 else "invalid_request_error"
        return {"error": {"type": kind, "message": message}}


@dataclass(kw_only=True)
class EventFault(Fault):
    """For events as they are made: never made, or `created` off by `skew_events` seconds."""

    EFFECTS = ("no_event", "skew_events")

    types: Sequence[str] = ("*",)
    no_event: bool = False
    skew_events: int = 0


@dataclass(kw_only=True)
class DeliveryFault(Fault):
    """For deliveries of events of `types` to `endpoints`, decided once, when they are planned.

    Dropped: never tried. Delayed: first tried `delay_deliveries` seconds late, and up to `jitter`
    more. Duplicated: made so many times in all, whatever was answered. Reordered: held until a
    window of `reorder_deliveries` seconds closes, then released in random order. Signed with a
    wrong secret, or at a time off by `skew_signatures` seconds: at each attempt, until the fault
    is cleared.
    """

    EFFECTS = (
        "drop_deliveries",
        "delay_deliveries",
        "jitter",
        "duplicate_deliveries",
        "reorder_deliveries",
        "wrong_secret",
        "skew_signatures",
    )

    types: Sequence[str] = ("*",)
    endpoints: Sequence[str] = ("*",)
    drop_deliveries: bool = False
    delay_deliveries: float = 0
    jitter: float = 0
    duplicate_deliveries: int = 0
    reorder_deliveries: float = 0
    wrong_secret: bool = False
    skew_signatures: int = 0
    held: set[tuple[str, str]] = field(default_factory=set, repr=False)
    window_closes: float = field(default=0, repr=False)

    def postpone(self, due: float, now: float) -> float:
        """When a delivery that is hit `now` is first tried, instead of at `due`."""
        due += self.delay_deliveries + self.random.uniform(0, self.jitter)
        if not self.reorder_deliveries:
            return due
        if now >= self.window_closes:
            self.window_closes = now + self.reorder_deliveries
        return max(due, self.window_closes) + self.random.random() / 10


KINDS: tuple[type[Fault], ...] = (RequestFault, EventFault, DeliveryFault)
Kind = TypeVar("Kind", bound=Fault)
ONE_KIND = (
    "A fault is either for requests (path, and status or reset, or delay_seconds), for events"
    " (no_event or skew_events), or for deliveries (drop_deliveries, delay_deliveries, jitter,"
    " duplicate_deliveries, reorder_deliveries, wrong_secret or skew_signatures)."
)


@dataclass(eq=False)
class Faults(EventFaults):
    """The faults that are set, and a log of all that was hit; they end with the process."""

    active: list[Fault] = field(default_factory=list)
    log: deque[Json] = field(default_factory=lambda: deque(maxlen=HITS_KEPT))
    _ids: Iterable[int] = field(default_factory=lambda: counter(1))

    def set(self, spec: Json) -> Fault:
        """Sets a fault from its JSON description; 400 where that makes no sense."""
        for name, value in spec.items():
            check_value(name, value)
        given = {name: value for name, value in spec.items() if value}
        kind = kind_of(given)
        known = {own.name for own in fields(kind)}
        for name in given:
            if name not in known:
                raise invalid(f"{name} does not go together with the rest. {ONE_KIND}", name)
        fault = kind(id=next(iter(self._ids)), **given)
        self.active.append(fault)
        return fault

    def end(self, id: int) -> Json | None:  # noqa: A002
        """Removes one fault and returns what it hit; None if it is not set."""
        fault = next((fault for fault in self.active if fault.id == id), None)
        if fault is None:
            return None
        self.active.remove(fault)
        return fault.describe()

    def clear(self) -> list[Json]:
        """Removes all faults and returns what they hit."""
        ended = [fault.describe() for fault in self.active]
        self.active.clear()
        return ended

    def of(self, kind: type[Kind]) -> Iterator[Kind]:
        """The faults of one kind, in the order in which they were set."""
        return (fault for fault in self.active if isinstance(fault, kind))

    def for_request(self, method: str, path: str, request_id: str) -> RequestFault | None:
        """The first fault that hits this request; noted as hit."""
        for fault in self.of(RequestFault):
            if fault.touches(method, path) and fault.strikes():
                self._hit(fault, method=method, path=path, request=request_id)
                return fault
        return None

    def omits(self, kind: str, subject: str | None) -> bool:
        """Whether a fault keeps an event of type `kind` about `subject` from being made."""
        for fault in self.of(EventFault):
            if fault.no_event and matches(kind, fault.types) and fault.strikes():
                self._hit(fault, type=kind, object=subject)
                return True
        return False

    def skew(self, kind: str, event: str) -> int:
        """Seconds by which faults move the `created` of a new event."""
        seconds = 0
        for fault in self.of(EventFault):
            if fault.skew_events and matches(kind, fault.types) and fault.strikes():
                self._hit(fault, type=kind, event=event)
                seconds += fault.skew_events
        return seconds

    def plan(self, event: str, kind: str, endpoint: str, now: float) -> float | None:
        """When a new delivery is to be tried first: epoch seconds, None for never."""
        due = now
        for fault in self.of(DeliveryFault):
            candidate = matches(kind, fault.types) and matches(endpoint, fault.endpoints)
            if not candidate or not fault.strikes():
                continue
            due = fault.postpone(due, now)
            dropped = fault.drop_deliveries
            fault.held.add((event, endpoint))
            self._hit(
                fault, type=kind, event=event, endpoint=endpoint, due=None if dropped else due
            )
            if dropped:
                return None
        return due

    def holding(self, event: str, endpoint: str) -> list[DeliveryFault]:
        """The faults that hit this delivery and are still set."""
        return [fault for fault in self.of(DeliveryFault) if (event, endpoint) in fault.held]

    def _hit(self, fault: Fault, **what: Any) -> None:
        """Notes what a fault hit."""
        noted = {"at": time.time(), "fault": fault.id, "effects": fault.effects, **what}
        fault.hit_count += 1
        fault.hits.append(noted)
        self.log.append(noted)


def check_value(name: str, value: Any) -> None:
    """Raises a 400 for a name that no fault has, or a value that is not one of its own."""
    if name not in SPEC:
        raise invalid(f"A fault has no {name}. It has: {', '.join(SPEC)}.", name)
    if value is None:
        return
    wrong = isinstance(value, bool) != (SPEC[name] is bool) or not isinstance(value, SPEC[name])
    if isinstance(value, NUMBER) and not wrong:
        least, most = LIMITS.get(name, (0, LONGEST))
        wrong = not least <= value <= most
    if isinstance(value, list):
        wrong = wrong or not all(isinstance(one, str) for one in value)
    if wrong:
        raise invalid(f"Invalid {name} for a fault: {value!r}", name)


def kind_of(given: Json) -> type[Fault]:
    """The kind of fault whose effects are given; 400 unless they are those of one kind."""
    kinds = [kind for kind in KINDS if any(given.get(name) for name in kind.EFFECTS)]
    no_path = kinds == [RequestFault] and "path" not in given
    if len(kinds) != 1 or no_path or ("status" in given and "reset" in given):
        raise invalid(ONE_KIND)
    return kinds[0]


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the `patterns`, which may have wildcards, fits."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)

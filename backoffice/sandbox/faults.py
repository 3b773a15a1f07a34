"""Misbehaviour on command, and what each fault hit."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count as counter

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import EventFaults

SPEC: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "path": str,
    "status": int,
    "body": dict,
    "after": bool,
    "delay_seconds": (int, float),
    "drop_deliveries": bool,
    "no_event": bool,
    "types": list,
    "count": int,
}


@dataclass
class Fault:
    """One fault: for API requests (`path`), or for events (`types`)."""

    id: int
    method: str = "*"
    path: str | None = None
    status: int | None = None
    body: Json | None = None
    after: bool = False
    delay_seconds: float = 0
    drop_deliveries: bool = False
    no_event: bool = False
    types: tuple[str, ...] = ()
    count: int | None = None
    hits: list[Json] = field(default_factory=list)

    @property
    def spent(self) -> bool:
        """Whether it has hit as often as it was to."""
        return self.count is not None and len(self.hits) >= self.count

    def hit(self, **what: str) -> None:
        """Notes what it hit."""
        self.hits.append({"at": time.time(), **what})

    def error_body(self) -> Json:
        """The body of the error that it answers."""
        if self.body is not None:
            return self.body
        kind = "api_error" if (self.status or 0) >= 500 else "invalid_request_error"
        return {"error": {"type": kind, "message": f"Fault {self.id}: answered {self.status}."}}

    def describe(self) -> Json:
        """The fault as JSON."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "after": self.after,
            "delay_seconds": self.delay_seconds,
            "drop_deliveries": self.drop_deliveries,
            "no_event": self.no_event,
            "types": list(self.types),
            "count": self.count,
            "hits": self.hits,
        }


@dataclass(eq=False)
class Faults(EventFaults):
    """The faults that are set; they end with the process."""

    active: list[Fault] = field(default_factory=list)
    _ids: Iterable[int] = field(default_factory=lambda: counter(1))

    def set(self, spec: Json) -> Fault:
        """Sets a fault from its JSON description; 400 where that makes no sense."""
        for name, value in spec.items():
            if name not in SPEC:
                raise invalid(f"A fault has no {name}. It has: {', '.join(SPEC)}.", name)
            wanted = SPEC[name]
            wrong = isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted)
            if value is not None and wrong:
                raise invalid(f"Invalid {name} for a fault: {value!r}", name)
        given = {name: value for name, value in spec.items() if value is not None}
        given["types"] = tuple(given.get("types", ()))
        fault = Fault(id=next(iter(self._ids)), **given)
        events = fault.drop_deliveries or fault.no_event
        requests = fault.path and (fault.status or fault.delay_seconds)
        if bool(events) == bool(requests):
            raise invalid(
                "A fault is either for requests (path, and status or delay_seconds) or for events "
                "(drop_deliveries or no_event, and types)."
            )
        if events and not fault.types:
            fault.types = ("*",)
        self.active.append(fault)
        return fault

    def clear(self) -> list[Json]:
        """Removes all faults and returns what they hit."""
        ended = [fault.describe() for fault in self.active]
        self.active.clear()
        return ended

    def for_request(self, method: str, path: str) -> Fault | None:
        """The first fault that hits this request; noted as hit."""
        for fault in self.active:
            if not fault.path or fault.spent or fault.method not in ("*", method):
                continue
            if fault.path == path or fnmatchcase(path, fault.path):
                fault.hit(method=method, path=path)
                return fault
        return None

    def omits(self, kind: str) -> bool:
        """Whether a fault keeps an event of type `kind` from being made."""
        return self._for_event(kind, "no_event")

    def drops(self, kind: str) -> bool:
        """Whether a fault keeps an event of type `kind` from being delivered."""
        return self._for_event(kind, "drop_deliveries")

    def _for_event(self, kind: str, effect: str) -> bool:
        for fault in self.active:
            if not getattr(fault, effect) or fault.spent:
                continue
            if any(fnmatchcase(kind, pattern) for pattern in fault.types):
                fault.hit(type=kind)
                return True
        return False

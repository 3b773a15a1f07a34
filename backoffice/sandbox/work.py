"""A unit of work: what one request, story or month of history reads and changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from backoffice.sandbox import shapes
from backoffice.sandbox.errors import no_such
from backoffice.sandbox.store import Store, row_of
from backoffice.sandbox.types import Json


@dataclass(frozen=True, slots=True)
class Origin:
    """The API request that causes events; empty for what Stripe does by itself."""

    id: str | None = None
    idempotency_key: str | None = None


@dataclass(slots=True)
class Stored:
    """An object in use, with its place in the store."""

    seq: int
    value: Json
    parent: str | None
    deleted: bool


class EventFaults:
    """What faults do to an event of a type: it is not made at all, or made at a wrong time."""

    def omits(self, kind: str, subject: str | None) -> bool:
        """Whether the event about the object `subject` is never made."""
        return False

    def skew(self, kind: str, event: str) -> int:
        """Seconds by which the event's `created` is off."""
        return 0


NO_FAULTS = EventFaults()


@dataclass
class Work:
    """Objects are read once, changed in memory, and written together by `flush`.

    A nested value of an object is replaced, never changed in place: `change` compares old and new
    top-level values to know the event's `previous_attributes`.

    `now` is the time at which its objects live: that of the test clock `clock`, if they have one.
    Events are made at the sandbox's own time, `events_at`, where that is another.
    """

    store: Store
    now: int
    base_url: str = ""
    origin: Origin = Origin()
    faults: EventFaults = NO_FAULTS
    events_since: int = 0
    clock: str | None = None
    events_at: int | None = None
    made_events: list[str] = field(default_factory=list)
    _objects: dict[str, Stored] = field(default_factory=dict)
    _dirty: dict[str, Stored] = field(default_factory=dict)
    _queued: list[tuple[str, str]] = field(default_factory=list)
    _passed: str | None = None

    def enter(self, clock: Json) -> None:
        """From now on this unit of work is about objects of a test clock."""
        if self.events_at is None:
            self.events_at = self.now
        self.clock, self.now = clock["id"], clock["frozen_time"]

    def passed(self, subject: Json) -> None:
        """Notes that what was due for `subject` at this time has happened."""
        self._passed = subject["id"]
        self._dirty[subject["id"]] = self._objects[subject["id"]]

    def new_id(self, prefix: str) -> str:
        """A new id that starts with `prefix`."""
        return self.store.ids.new(prefix)

    def stored(self, id: str) -> Stored | None:  # noqa: A002
        """The object `id` of whatever kind, deleted or not, with its place."""
        if known := self._objects.get(id):
            return known
        if (row := self.store.load(id)) is None:
            return None
        loaded = Stored(*row)
        self._objects[id] = loaded
        return loaded

    def get(self, kind: str, id: str | None) -> Json | None:  # noqa: A002
        """The object `id` if it exists, is of `kind` and is not deleted."""
        known = self.stored(id) if id else None
        if known is None or known.deleted or known.value["object"] != kind:
            return None
        return known.value

    def find(self, kind: str, id: str, param: str = "id") -> Json:  # noqa: A002
        """The object `id`; Stripe's error if there is none: 404, or 400 if named by a `param`."""
        found = self.get(kind, id)
        if found is None:
            raise no_such(kind, id, param, 404 if param == "id" else 400)
        return found

    def add(self, made: Json, parent: str | None = None) -> Json:
        """Keeps a new object; `parent` is an owner that its JSON does not name."""
        kept = Stored(self.store.next_seq(), made, parent, deleted=False)
        self._objects[made["id"]] = self._dirty[made["id"]] = kept
        return made

    def change(self, target: Json, event: str | None = None, /, **changes: Any) -> Json:
        """Lays `changes` over the fields of `target`.

        With `event`, emits it with `previous_attributes` if anything changed.
        """
        previous = difference(target, changes)
        target.update(changes)
        self._dirty[target["id"]] = self._objects[target["id"]]
        if event and previous:
            self.emit(event, target, previous)
        return target

    def delete(self, target: Json) -> Json:
        """Marks `target` deleted and returns what Stripe answers for it from now on."""
        kept = self._objects[target["id"]]
        kept.deleted = True
        self._dirty[target["id"]] = kept
        return {"id": target["id"], "object": target["object"], "deleted": True}

    def emit(self, kind: str, subject: Json, previous: Json | None = None) -> None:
        """Makes an event of type `kind` with a snapshot of `subject`, and plans its delivery."""
        if self.now < self.events_since or self.faults.omits(kind, subject.get("id")):
            return
        endpoints = [endpoint for endpoint in self.store.endpoints() if endpoint.wants(kind)]
        data = {"object": dict(subject)}
        if previous is not None:
            data["previous_attributes"] = previous
        id_ = self.new_id("evt_")
        made = shapes.event(
            id_,
            (self.events_at or self.now) + self.faults.skew(kind, id_),
            kind,
            data,
            request={"id": self.origin.id, "idempotency_key": self.origin.idempotency_key},
            pending_webhooks=len(endpoints),
        )
        self.add(made)
        self.made_events.append(id_)
        self._queued += [(id_, endpoint.id) for endpoint in endpoints]

    def made(self, kind: str) -> list[Json]:
        """The objects of `kind` that this unit of work made."""
        return [kept.value for kept in self._dirty.values() if kept.value["object"] == kind]

    def remember(self, id: str, facts: Json) -> None:  # noqa: A002
        """Keeps facts about an object that no answer shows."""
        self.store.db.execute(
            "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
            (id, orjson.dumps(facts).decode()),
        )

    def remembered(self, id: str) -> Json:  # noqa: A002
        """The facts kept by `remember`."""
        rows = self.store.rows("SELECT value FROM meta WHERE name = ?", [id])
        return dict(orjson.loads(rows[0][0])) if rows else {}

    def select(self, kind: str, **equal: str) -> list[Json]:
        """The objects of `kind` whose columns equal the given values, oldest first."""
        self.flush()
        where = "".join(f" AND {column} = ?" for column in equal)
        ids = self.store.rows(
            f"SELECT id FROM objects WHERE kind = ? AND NOT deleted{where}"  # noqa: S608
            " ORDER BY created, seq",
            [kind, *equal.values()],
        )
        return [found.value for (id,) in ids if (found := self.stored(id))]  # noqa: A001

    def flush(self) -> None:
        """Writes what changed; the caller holds the transaction."""
        self.store.save(
            row_of(
                kept.seq,
                kept.value,
                kept.parent,
                kept.deleted,
                since=self.now + (id_ == self._passed),
                clock=None if kept.value["object"] == "event" else self.clock,
            )
            for id_, kept in self._dirty.items()
        )
        self._dirty.clear()
        for event, endpoint in self._queued:
            self.store.enqueue(event, endpoint)
        self._queued.clear()


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Json:
    """The values in `old` of what `new` changes, nested objects by their changed keys only."""
    changed: Json = {}
    for name, value in new.items():
        before = old.get(name)
        if before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            gone = {key: None for key in before if key not in value}
            changed[name] = difference(before, {**gone, **value})
        else:
            changed[name] = before
    return changed

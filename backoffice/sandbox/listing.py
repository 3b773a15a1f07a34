"""Lists: newest first, cursors both ways, exact `has_more`."""

from dataclasses import dataclass, field
from typing import Any

from backoffice.sandbox.errors import invalid, no_such
from backoffice.sandbox.routing import Call, Page
from backoffice.sandbox.types import Json

EVENTS_LISTED = 30 * 86400
"""Seconds for which events are listed and retrieved."""
PAGING = "limit starting_after ending_before"
COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass
class Filters:
    """Conditions of a list, as SQL."""

    where: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        """One more condition, with a `?` for each value."""
        self.where.append(condition)
        self.values += values

    def equal(self, params: Json, *columns: str) -> None:
        """Each of `columns` equals the parameter of its name, where that was sent."""
        for column in columns:
            if params.get(column) is not None:
                self.add(f"{column} = ?", params[column])

    def json_equal(self, params: Json, *fields: str) -> None:
        """Like `equal`, for fields that are not columns."""
        for name in fields:
            if (value := params.get(name)) is not None:
                self.add(f"json_extract(json, '$.{name}') = ?", value)

    def of_clock(self, params: Json) -> None:
        """What belongs to the test clock that was named; without one, what belongs to none."""
        self.add("clock IS ?", params.get("test_clock"))

    def compare(self, params: Json, name: str, expression: str | None = None) -> None:
        """A time, or a range `{gt, gte, lt, lte}`."""
        wanted = params.get(name)
        if isinstance(wanted, int):
            self.add(f"{expression or name} = ?", wanted)
        elif wanted:
            for word, value in wanted.items():
                self.add(f"{expression or name} {COMPARISONS[word]} ?", value)


NAMED = ("customer", "subscription", "invoice", "payment_intent", "charge")
"""Filters that name an object, which must exist."""


def page_of(
    call: Call, kind: str, filters: Filters, url: str, *, oldest_first: bool = False
) -> Page:
    """One page of the objects of `kind` that pass `filters`."""
    params, work = call.params, call.work
    limit = page_size(params)
    filters.compare(params, "created")
    for name in NAMED:
        wanted = params.get(name)
        if wanted is not None and work.stored(wanted) is None:
            raise no_such(name, wanted, name, 400)
    after, before = _one_cursor(params)
    backwards = bool(before) != oldest_first
    if cursor := after or before:
        place = work.stored(cursor)
        if place is None or place.value["object"] != kind or _is_past(call, place.value):
            raise no_such(kind, cursor, "starting_after" if after else "ending_before", 400)
        sign = ">" if backwards else "<"
        filters.add(f"(created, seq) {sign} (?, ?)", place.value.get("created", 0), place.seq)
    direction = "ASC" if backwards else "DESC"
    conditions = " AND ".join(["kind = ?", "NOT deleted", *filters.where])
    rows = work.store.rows(
        f"SELECT json FROM objects WHERE {conditions}"  # noqa: S608
        f" ORDER BY created {direction}, seq {direction} LIMIT ?",
        [kind, *filters.values, limit + 1],
    )
    texts = [text for (text,) in rows[:limit]]
    if before:
        texts.reverse()
    return Page(texts, has_more=len(rows) > limit, url=url)


def _is_past(call: Call, made: Json) -> bool:
    """Whether it is an event that is not listed any more."""
    oldest = call.work.now - EVENTS_LISTED
    return bool(made["object"] == "event" and made["created"] < oldest)


def _one_cursor(params: Json) -> tuple[str | None, str | None]:
    """(starting_after, ending_before), of which a request may have one."""
    after, before = params.get("starting_after"), params.get("ending_before")
    if after and before:
        raise invalid("You cannot parameterize both starting_after and ending_before.")
    return after, before


def page_size(params: Json) -> int:
    """The `limit`, 1 to 100, 10 unless said otherwise."""
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        code = "parameter_invalid_integer"
        raise invalid("Invalid limit: must be between 1 and 100", "limit", code)
    return int(limit)


def slice_of(call: Call, data: list[Json], url: str) -> Json:
    """One page of a list that is held as a whole, in its own order."""
    limit = page_size(call.params)
    _one_cursor(call.params)
    ids = [entry["id"] for entry in data]
    for name in ("starting_after", "ending_before"):
        if (cursor := call.params.get(name)) is not None and cursor not in ids:
            raise no_such("line_item", cursor, name, 400)
    if before := call.params.get("ending_before"):
        earlier = data[: ids.index(before)]
        chosen, has_more = earlier[-limit:], len(earlier) > limit
    else:
        after = call.params.get("starting_after")
        later = data[ids.index(after) + 1 :] if after else data
        chosen, has_more = later[:limit], len(later) > limit
    return {"object": "list", "data": chosen, "has_more": has_more, "url": url}

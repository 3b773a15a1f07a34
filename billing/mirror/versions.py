"""Which observation of a Stripe object is written, and which is too old (DESIGN, rule 3).

Every writer of Stripe's objects passes here, so that a webhook, a sync and a backfill
of one object wait for each other on its row in `billing_stripe_versions`, and an older
snapshot never overwrites a newer one.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from billing.database import TEXTS, as_json, cursor, recordset
from billing.gateway.lifecycle import rank
from billing.gateway.observation import Observation, StripeDict


@dataclass(frozen=True, slots=True)
class Held:
    """What we know of the copy that we hold; times None where we hold none."""

    not_before: datetime | None
    not_after: datetime | None
    rank: int
    digest: str
    deleted: bool
    recorded_at: datetime


@dataclass(slots=True)
class Verdict:
    """The observations of a batch, sorted by what is to be done with them."""

    write: list[Observation] = field(default_factory=list)
    old: list[Observation] = field(default_factory=list)
    doubtful: list[Observation] = field(default_factory=list)


def digest(data: StripeDict) -> str:
    """A hash of an object's content, the same for the same content."""
    try:
        content = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, or very deep: slower, but it is JSON
        content = json.dumps(data, sort_keys=True).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


KNOWN = {
    "not_before": "timestamptz",
    "not_after": "timestamptz",
    "rank": "smallint",
    "digest": "text",
    "deleted": "bool",
}
COLUMNS = {"object_id": "text", "kind": "text", **KNOWN}


@dataclass(slots=True)
class Locked:
    """Version rows under their locks: what is held, and the objects that were new to us.

    A new object of which there is one observation can only be written: its row says so
    from the start, and `record` leaves it alone.
    """

    held: dict[str, Held]
    recorded: set[str]


def lock(observations: Iterable[Observation]) -> Locked:
    """Locks the version rows of these objects, in a fixed order, and reads them.

    Objects that were not held are not in the answer; their rows are made.
    """
    by_object: dict[str, list[Observation]] = {}
    for item in observations:
        by_object.setdefault(item.id, []).append(item)
    ids = sorted(by_object)
    rows = [_row(by_object[object_id]) for object_id in ids]
    with cursor() as bound:
        bound.execute(
            f"""
            INSERT INTO billing_stripe_versions ({", ".join(COLUMNS)})
            SELECT object_id, kind, not_before, not_after, coalesce(rank, 0),
                coalesce(digest, ''), deleted IS TRUE
            FROM {recordset(COLUMNS)}
            ON CONFLICT DO NOTHING RETURNING object_id
            """,  # noqa: S608  (the columns are named above)
            [as_json(rows)],
        )
        new = {row[0] for row in bound.fetchall()}
        recorded = {object_id for object_id in new if len(by_object[object_id]) == 1}
        if len(new) == len(ids):
            return Locked({}, recorded)
        bound.execute(
            f"""
            SELECT object_id, not_before, not_after, rank, digest, deleted, recorded_at
            FROM billing_stripe_versions WHERE object_id = ANY({TEXTS})
            ORDER BY object_id FOR UPDATE
            """,  # noqa: S608  (TEXTS stands in billing.database)
            [as_json(object_id for object_id in ids if object_id not in new)],
        )
        return Locked({row[0]: Held(*row[1:]) for row in bound.fetchall()}, recorded)


def judge(observations: Sequence[Observation], held: dict[str, Held]) -> Verdict:
    """Sorts observations of any objects, several of one allowed, against what is held.

    Of several of one object at most one is to be written. Doubtful are those that could
    be newer or older than what is held (or than each other): the object is to be fetched.
    """
    verdict = Verdict()
    by_object: dict[str, list[Observation]] = {}
    for item in observations:
        by_object.setdefault(item.id, []).append(item)
    for object_id, items in by_object.items():
        _judge_one(items, held.get(object_id), verdict)
    return verdict


def _judge_one(items: list[Observation], held: Held | None, verdict: Verdict) -> None:
    """One object: the newest candidate first, then that one against what is held."""
    items.sort(key=_order)
    newest = items[-1]
    verdict.old.extend(items[:-1])
    if _is_past(newest, held):
        verdict.old.append(newest)
        return
    rivals = [item for item in items[:-1] if _order(item) == _order(newest)]
    if newest.fetched_at is None and any(item.data != newest.data for item in rivals):
        verdict.doubtful.append(newest)
        return
    match _compare(newest, held):
        case "newer":
            verdict.write.append(newest)
        case "older":
            verdict.old.append(newest)
        case _:
            verdict.doubtful.append(newest)


def _is_past(item: Observation, held: Held | None) -> bool:
    """Whether a snapshot is from a second before our copy's: older whatever its rivals are."""
    return (
        held is not None
        and held.not_before is not None
        and item.fetched_at is None
        and not item.deleted
        and item.not_after < held.not_before
    )


def _order(item: Observation) -> tuple[bool, datetime, bool, int]:
    """A fetched object wins over events: it was fetched because they were in doubt."""
    moment = item.fetched_at or item.not_after
    return (item.fetched_at is not None, moment, item.deleted, _rank(item))


def _rank(item: Observation) -> int:
    """How far the object had come: below all ranks where it was just made."""
    return -1 if item.first else rank(item.data)


def _compare(item: Observation, held: Held | None) -> str:
    if held is None or held.not_after is None or held.not_before is None:
        return "newer"
    if held.deleted or item.deleted:
        return "older" if held.deleted else "newer"
    if item.fetched_at is not None:
        # Read after our copy was written: Stripe's answer includes what that one showed.
        if item.fetched_at > held.recorded_at:
            return "newer"
        if item.not_after < held.not_before or digest(item.data) == held.digest:
            return "older"
        return "doubtful"
    if item.not_before > held.not_after:
        return "newer"
    if item.not_after < held.not_before:
        return "older"
    if digest(item.data) == held.digest:
        return "older"
    difference = _rank(item) - held.rank
    if difference:
        return "newer" if difference > 0 else "older"
    return "doubtful"


def record(written: Iterable[Observation]) -> None:
    """Notes what was written, after it was, in the same transaction."""
    rows = [_row([item]) for item in written]
    if not rows:
        return
    with cursor() as bound:
        bound.execute(
            f"""
            UPDATE billing_stripe_versions AS v
            SET ({", ".join(KNOWN)}) = ROW({", ".join(f"n.{name}" for name in KNOWN)}),
                recorded_at = clock_timestamp()
            FROM {recordset(COLUMNS)} WHERE v.object_id = n.object_id
            """,  # noqa: S608  (the columns are named above)
            [as_json(rows)],
        )


def _row(items: Sequence[Observation]) -> dict[str, Any]:
    """A version row; of an object that was seen several times, only which one it is."""
    item = items[0]
    if len(items) > 1:
        return {"object_id": item.id, "kind": item.kind}
    return {
        "object_id": item.id,
        "kind": item.kind,
        "not_before": item.not_before,
        "not_after": item.not_after,
        "rank": _rank(item),
        "digest": digest(item.data),
        "deleted": item.deleted,
    }

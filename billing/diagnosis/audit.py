"""Whether the audit log is as it was written: its chain of hashes, link by link.

An event from which an erased person's words were taken out (billing.operations.erasure) has no
longer the content that was hashed. A later event of the chain, the erasure's own, says so: which
event, between which two hashes, and the hash of what it says now. So the redacted event cannot be
changed again unseen, nor what came before it, nor can anything be redacted without an erasure that
stands in the log with who asked for it and who agreed.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction

from billing.models.audit import CONTENT, IS_AUDIT, AuditLink

ERASURES = "'manual.customer_erased', 'system.customer_erased'"
CHUNK = 2000  # links read at a time, so that memory stays flat however long the log is


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many links were looked at, the last one's hash, and what is wrong first.

    `redacted` is how many events an erasure has redacted.

    `broken` is '' where all is well. `head` is worth keeping elsewhere: a log whose newest
    events were cut off is a whole chain, and only somebody who knows a later hash can tell.
    """

    links: int
    head: str
    broken: str
    redacted: int = 0


@dataclass(slots=True)
class _Owed:
    """An event that is not what was written: whole if the last erasure that tells of it agrees."""

    claim: dict[str, Any]
    links: int
    head: str
    is_told: bool = False


def verify(expect: str = "", on_progress: Callable[[int], None] | None = None) -> Verdict:
    """Reads the whole chain in order and stops at the first link that is wrong.

    `expect` is a hash that was noted before, and must be in the chain.
    """
    links, head, expected = 0, "", not expect
    owed: dict[int, _Owed] = {}
    with transaction.atomic():
        for position, event_id, kept, content, erased in _links():
            if position != links + 1:
                return Verdict(links, head, f"Link {links + 1} is missing: {position} follows.")
            if content is None:
                return Verdict(
                    links, head, f"Event {event_id} of link {position} is gone from the log."
                )
            if hashlib.sha256((head + content).encode()).hexdigest() != kept:
                claim = {
                    "position": position,
                    "event": event_id,
                    "before": head,
                    "hash": kept,
                    "content": hashlib.sha256(content.encode()).hexdigest(),
                }
                owed[event_id] = _Owed(claim, links, head)
            for told in json.loads(erased or "[]"):
                if (one := owed.get(told.get("event"))) is not None:
                    one.is_told = told == one.claim
            links, head = position, kept
            expected = expected or kept == expect
            if on_progress and links % CHUNK == 0:
                on_progress(CHUNK)
        if untold := next((one for one in owed.values() if not one.is_told), None):
            return Verdict(
                untold.links,
                untold.head,
                f"Event {untold.claim['event']} of link {untold.claim['position']} is not what was"
                " written, or its link is not.",
            )
        if stray := _unlinked():
            return Verdict(links, head, f"Event {stray} has no link.")
    if not expected:
        return Verdict(links, head, f"The hash {expect} is in no link: events were cut off.")
    return Verdict(links, head, "", len(owed))


def contains(head: str) -> bool:
    """Whether one of the links has this hash."""
    return AuditLink.objects.filter(hash=head).exists()


def _links() -> Iterator[tuple[int, int, str, str | None, str | None]]:
    """Every link with what its event says now, None where the event is gone.

    Of an erasure also which events it has redacted, as JSON.
    """
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"""
            SELECT c.position, c.event_id, c.hash, CASE WHEN e.id IS NOT NULL THEN {CONTENT} END,
                CASE WHEN e.type IN ({ERASURES}) THEN e.payload->'redacted' END::text
            FROM billing_audit_chain c LEFT JOIN billing_events e ON e.id = c.event_id
            ORDER BY c.position
            """  # noqa: S608  (the expression stands in billing.models.audit)
        )
        while rows := cursor.fetchmany(CHUNK):
            yield from rows


def _unlinked() -> int | None:
    """The id of an audit event that has no link."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id FROM billing_events e WHERE {IS_AUDIT}
            AND NOT EXISTS (SELECT FROM billing_audit_chain c WHERE c.event_id = e.id)
            ORDER BY id LIMIT 1
            """  # noqa: S608  (the expression stands in billing.models.audit)
        )
        found = cursor.fetchone()
    return int(found[0]) if found else None

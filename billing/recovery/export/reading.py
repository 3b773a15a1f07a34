"""Reading the export: its rows, how far it goes, and whether it is as it was written."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billing.models import AuditLink, ExportProgress
from billing.recovery.backups.folder import AuditHead
from billing.recovery.export import segments
from billing.recovery.export.segments import Segment, SegmentError
from billing.recovery.export.store import Store, StoreError, open_store
from billing.recovery.export.streams import AUDIT, LEDGER, NAMES, RECORDS
from billing.recovery.export.writing import read_heads

ID = {AUDIT.name: "position", LEDGER.name: "id", RECORDS.name: "n"}  # of a row, by its stream


@dataclass(slots=True)
class Verdict:
    """What one stream's segments are, and the first thing that is wrong with them, '' for none."""

    stream: str
    segments: int = 0
    rows: int = 0
    last: int = 0
    digest: str = ""
    wrong: str = field(default="")


def rows(stream: str, after_id: int = 0, store: Store | None = None) -> Iterator[dict[str, Any]]:
    """The exported rows of a stream with an id above `after_id`, in their order.

    Of `audit` it is the position in the chain ({position, hash, event}), of `ledger` the entry's
    own, of `records` a running number ({n, table, id, row}). Raises StoreError.
    """
    return (row for row, _ in texts(stream, after_id, store))


def texts(
    stream: str, after_id: int = 0, store: Store | None = None
) -> Iterator[tuple[dict[str, Any], str]]:
    """The same with each row's JSON as it was written, in which every number is exact."""
    store = store or open_store()
    for segment in walk(store, stream, first_after(store, stream, after_id)):
        for line in segment.lines:
            row = json.loads(line)
            if row[ID[stream]] > after_id:
                yield row, line


def walk(store: Store, stream: str, first: int = 1) -> Iterator[Segment]:
    """The segments from a number on, up to the first that is not there. Raises StoreError."""
    number, before = first, None
    while found := read_segment(store, stream, number):
        if before is not None and found.header.before != before:
            raise StoreError(
                f"Segment {number:,} of “{stream}” in {store.place} does not follow the one before"
                " it: one of them was changed. See manage.py export_books --verify."
            )
        yield found
        number, before = number + 1, found.digest


def read_segment(store: Store, stream: str, number: int) -> Segment | None:
    """One segment; None where it is not there. Raises StoreError."""
    path = segments.path_of(stream, number)
    body = store.read(path)
    if body is None:
        return None
    try:
        found = segments.unpack(body)
    except SegmentError as error:
        raise StoreError(f"{store.place}/{path} is no segment as we wrote it: {error}.") from error
    if (found.header.stream, found.header.segment) != (stream, number):
        raise StoreError(f"{store.place}/{path} is another segment than its name says.")
    return found


def first_after(store: Store, stream: str, after_id: int) -> int:
    """The number of the first segment with a row above `after_id`: found in few steps."""
    low, high = 1, newest_number(store, stream) + 1
    while low < high:
        middle = (low + high) // 2
        found = read_segment(store, stream, middle)
        if found is None or found.header.last > after_id:
            high = middle
        else:
            low = middle + 1
    return low


def newest_number(store: Store, stream: str) -> int:
    """The number of a stream's newest segment, 0 where it has none."""
    said = read_heads(store).get("streams", {}).get(stream, {}).get("segment", 0)
    number = int(said)
    while store.read(segments.path_of(stream, number + 1)) is not None:
        number += 1
    return number


def newest(store: Store, stream: str) -> Segment | None:
    number = newest_number(store, stream)
    return read_segment(store, stream, number) if number else None


def audit_head(store: Store | None = None) -> AuditHead | None:
    """The newest link that is exported; None where there is none. Raises StoreError."""
    found = newest(store or open_store(), AUDIT.name)
    if found is None:
        return None
    last = json.loads(found.lines[-1])
    return AuditHead(int(last["position"]), str(last["hash"]))


def exported_until(store: Store) -> datetime | None:
    """What was committed before is all there; None where nobody can say."""
    said = read_heads(store).get("until")
    return datetime.fromisoformat(said) if said else None


def verify(store: Store | None = None, tell: Callable[[str], None] | None = None) -> list[Verdict]:
    """Reads every segment of every stream, in order. Raises StoreError where it cannot be read."""
    store = store or open_store()
    return [_verified(store, name, tell) for name in NAMES]


def _verified(store: Store, stream: str, tell: Callable[[str], None] | None) -> Verdict:
    found = Verdict(stream)
    last_number = _highest(store, stream)
    for number in range(1, last_number + 1):
        try:
            segment = read_segment(store, stream, number)
        except StoreError as error:
            found.wrong = str(error)
            return found
        found.wrong = _wrong_with(segment, number, found)
        if found.wrong:
            return found
        assert segment  # noqa: S101  (narrows the type)
        found.segments, found.rows = number, found.rows + segment.header.rows
        found.last, found.digest = segment.header.last, segment.digest
        if tell:
            tell(f"{stream} up to {found.last:,}")
    found.wrong = _differs_here(store, found)
    return found


def _highest(store: Store, stream: str) -> int:
    """The number of the newest segment that anybody knows of: the place or the database."""
    numbers = [segments.number_of(path) or 0 for path in store.names(stream)]
    said = read_heads(store).get("streams", {}).get(stream, {}).get("segment", 0)
    ours = ExportProgress.objects.filter(stream=stream, place=store.place)
    return max([0, int(said), *numbers, *ours.values_list("segment", flat=True)])


def _wrong_with(segment: Segment | None, number: int, before: Verdict) -> str:
    """What is wrong with a segment after those that came before it; '' for nothing."""
    if segment is None:
        return f"Segment {number:,} is gone."
    if segment.header.before != before.digest:
        return f"Segment {number:,} does not follow the one before it: one of them was changed."
    ids = [json.loads(line)[ID[before.stream]] for line in segment.lines]
    ascending = all(one < two for one, two in zip([before.last, *ids], ids, strict=False))
    if not ascending or (ids[0], ids[-1]) != (segment.header.first, segment.header.last):
        return f"The rows of segment {number:,} are not in their order."
    return ""


def _differs_here(store: Store, found: Verdict) -> str:
    """What of a whole stream is not as this database knows it; '' for nothing."""
    ours = ExportProgress.objects.filter(stream=found.stream, place=store.place).first()
    if ours and ours.segment == found.segments and ours.digest != found.digest:
        return f"Segment {found.segments:,} is not the one that was written: it was changed."
    head = audit_head(store) if found.stream == AUDIT.name and ours else None
    if head is None:
        return ""
    link = AuditLink.objects.filter(position=head.position).first()
    if link is None or link.hash != head.hash:
        return (
            f"Link {head.position:,} of the audit log is another one here than in the export:"
            " see manage.py verify_audit."
        )
    return ""

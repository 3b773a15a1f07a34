"""Segments: what the exported rows of one stream are kept in, each bound to the one before it.

A segment is `<stream>/<number>.jsonl.gz`: lines of JSON of which the first says what it is. Its
number is its place in the chain, so that of two exporters only one can write it.
"""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

FORMAT = 1
SUFFIX = ".jsonl.gz"
LEVEL = 6  # of compression


class SegmentError(Exception):
    """Bytes that are no segment of ours. A sentence for people."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says of itself: its rows' ids, and the SHA-256 of the segment before it."""

    stream: str
    segment: int
    first: int
    last: int
    rows: int
    before: str
    at: str  # when it was made (ISO 8601, UTC)
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment that was read: its header, its rows as JSON texts, the SHA-256 of its bytes."""

    header: Header
    lines: list[str]
    digest: str


def path_of(stream: str, number: int) -> str:
    return f"{stream}/{number:010d}{SUFFIX}"


def number_of(path: str) -> int | None:
    """The number of a segment's path; None for another file's."""
    name = path.rpartition("/")[2]
    digits = name.removesuffix(SUFFIX)
    return int(digits) if name.endswith(SUFFIX) and digits.isdigit() else None


def pack(header: Header, lines: Iterable[str]) -> bytes:
    """The bytes of a segment; `lines` are rows as JSON without line breaks."""
    text = "\n".join([json.dumps(asdict(header)), *lines, ""])
    return gzip.compress(text.encode(), LEVEL, mtime=0)


def unpack(body: bytes) -> Segment:
    """The segment that these bytes are. Raises SegmentError."""
    try:
        # Not splitlines(): a text of JSON may have what Unicode calls line breaks.
        first, *lines = gzip.decompress(body).decode().removesuffix("\n").split("\n")
        said: dict[str, Any] = json.loads(first)
        header = Header(**said)
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise SegmentError(f"it cannot be read ({error})") from error
    if header.format != FORMAT:
        raise SegmentError(f"its format is {header.format}, not {FORMAT}")
    if header.rows != len(lines):
        raise SegmentError(f"it has {len(lines)} rows and says {header.rows}")
    return Segment(header, lines, digest_of(body))


def digest_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

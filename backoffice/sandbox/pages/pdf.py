"""A small PDF of text lines, written by hand: enough for an invoice."""

from collections.abc import Sequence

WIDTH, HEIGHT = 595, 842
"""A4, in points."""
LEFT, TOP, LEADING = 56, 770, 18
LINES_A_PAGE = (TOP - 56) // LEADING
BODY, TITLE = 10, 18
LETTER = 6
"""How wide each letter of Courier is at the size of the body."""
COLUMNS = (WIDTH - 2 * LEFT) // LETTER
FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>"
Line = tuple[str, str]
"""What stands at the left, and at the right edge."""


def document(title: str, lines: Sequence[Line]) -> bytes:
    """A PDF whose first page begins with `title`."""
    pages = [lines[at : at + LINES_A_PAGE] for at in range(0, len(lines), LINES_A_PAGE)] or [[]]
    kids = b" ".join(b"%d 0 R" % (5 + 2 * place) for place in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        FONT % b"Courier",
        FONT % b"Helvetica-Bold",
    ]
    for place, page in enumerate(pages):
        drawn = _draw(title if place == 0 else "", page)
        objects += [
            _page(6 + 2 * place),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        ]
    return _file(objects)


def _page(content: int) -> bytes:
    return (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents %d 0 R"
        b" /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (WIDTH, HEIGHT, content)
    )


def _draw(title: str, lines: Sequence[Line]) -> bytes:
    """The drawing of a page; what would run into the text at the right edge is cut."""
    drawn = [_text(b"F2", TITLE, LEFT, TOP + 2 * LEADING - 8, title)] if title else []
    for place, (left, right) in enumerate(lines):
        y = TOP - place * LEADING
        room = max(COLUMNS - len(right) - 2, 1)
        fits = left if len(left) <= room else f"{left[: room - 1]}…"
        drawn.append(_text(b"F1", BODY, LEFT, y, fits))
        drawn.append(_text(b"F1", BODY, WIDTH - LEFT - LETTER * len(right), y, right))
    return b"\n".join(drawn)


def _text(font: bytes, size: int, x: int, y: int, text: str) -> bytes:
    encoded = text.replace("−", "-").encode("cp1252", "replace")
    for special in (b"\\", b"(", b")"):
        encoded = encoded.replace(special, b"\\" + special)
    encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"BT /%s %d Tf %d %d Td (%s) Tj ET" % (font, size, x, y, encoded)


def _file(objects: Sequence[bytes]) -> bytes:
    """The objects, numbered from 1, with the table of where each begins."""
    written = b"%PDF-1.4\n"
    starts = []
    for number, content in enumerate(objects, 1):
        starts.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    size = len(objects) + 1
    return written + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\n"
        b"startxref\n%d\n%%%%EOF\n" % (size, table, size, len(written))
    )

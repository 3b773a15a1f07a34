"""An incident's report as a document: to be printed, downloaded, or read by programs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from billing.formatting import format_time, in_reading_order, iso_time
from billing.incidents import wording
from billing.incidents.figures import kept_or_now
from billing.incidents.scope import SHOWN, touched
from billing.incidents.timeline import Happening, belonging
from billing.models import Incident

LONGEST = 500  # lines of the timeline
MARKED = re.compile(r"([\\`*_{}\[\]<>#|~])")  # what Markdown would take for its own


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a document: paragraphs, or rows under headers; `empty` where there are none."""

    title: str
    paragraphs: Sequence[str] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A title, what it is about in pairs of name and text, and its sections."""

    title: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)


def document(incident: Incident) -> Document:
    """The report as it was closed with, or so far; customers and timeline as they are now."""
    said = kept_or_now(incident)
    return Document(
        f"Incident {incident.pk}: {incident.title}",
        list(_facts(incident, said)),
        [
            Section(
                "Closing report" if incident.ended_at else "So far",
                paragraphs=[
                    line for line in (incident.closing_report or "").split("\n") if line.strip()
                ],
                empty="It is open: the report is written when it is closed.",
            ),
            Section(
                "What was at stake",
                headers=[
                    "What",
                    "At the worst",
                    "When it was closed" if incident.figures else "Now",
                ],
                rows=wording.stake_rows(said),
            ),
            Section(
                "What was done", headers=["What", "How much"], rows=list(wording.done_lines(said))
            ),
            _customers(incident),
            Section(
                "Who was told",
                headers=["When", "Whom", "How", "What", "Arrived"],
                rows=[
                    [wording.time_words(each["at"]), *(each[name] for name in TOLD)]
                    for each in said["told"]
                ],
                empty="Nobody, as far as it is written here.",
            ),
            Section(
                "Timeline",
                headers=["When", "Kind", "What", "More"],
                rows=[_line(each) for each in reversed(belonging(incident, LONGEST))],
                empty="Nothing was done about it.",
            ),
        ],
    )


TOLD = ("whom", "way", "what", "state")


def _facts(incident: Incident, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from wording.time_lines(said)
    yield "Owner", incident.owner
    yield "Opened by", incident.opened_by
    if incident.closed_by:
        yield "Closed by", incident.closed_by
    yield "Figures of", wording.time_words(said["as_of"])


def _customers(incident: Incident) -> Section:
    found = touched(incident, SHOWN + 1)
    more = f", the gravest {SHOWN}" if len(found) > SHOWN else ""
    return Section(
        f"Customers who are touched now{more}",
        headers=["Customer", "Access", "Not granted", "Money", "Credits", "Findings", "Events"],
        rows=[
            [
                " ".join(filter(None, [each.id, each.email])),
                "paid, and has none" if each.no_access else "",
                wording.ungranted_words(each.purchases, each.ungranted),
                wording.stake_words(each.amounts),
                f"{each.credits:,}",
                f"{each.findings:,}",
                f"{each.events:,}",
            ]
            for each in found[:SHOWN]
        ],
        empty="Nobody.",
    )


def _line(each: Happening) -> list[str]:
    return [format_time(each.at), each.kind, each.title, " ".join(each.detail.split())]


def as_dict(incident: Incident) -> dict[str, Any]:
    """The report for programs."""
    return {
        "incident": incident.pk,
        "title": incident.title,
        "state": "closed" if incident.ended_at else "open",
        "owner": incident.owner,
        "opened_by": incident.opened_by,
        "closed_by": incident.closed_by or None,
        "closing_report": incident.closing_report or None,
        "figures": kept_or_now(incident),
        "customers": [
            {
                "user_id": each.user_id or None,
                "customer": each.customer_id or None,
                "no_access": each.no_access,
                "purchases": each.purchases,
                "ungranted": each.ungranted,
                "money": each.amounts,
                "credits": each.credits,
                "findings": each.findings,
                "events": each.events,
            }
            for each in touched(incident, SHOWN)
        ],
        "timeline": [
            {
                "at": iso_time(each.at.astimezone(UTC)),
                "kind": each.kind,
                "what": each.title,
                "more": each.detail,
            }
            for each in reversed(belonging(incident, LONGEST))
        ],
    }


def as_markdown(made: Document) -> str:
    """The document as Markdown, in which nothing that somebody wrote is taken for markup."""
    return "\n".join(_markdown(made)) + "\n"


def _markdown(made: Document) -> Iterator[str]:
    yield f"# {plain(made.title)}"
    yield ""
    yield from (f"- **{plain(name)}:** {plain(text)}" for name, text in made.facts)
    for section in made.sections:
        yield ""
        yield f"## {plain(section.title)}"
        yield ""
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    if not section.paragraphs and not section.rows:
        yield plain(section.empty)
    for paragraph in section.paragraphs:
        yield f"{plain(paragraph)}  "
    if section.rows:
        yield f"| {' | '.join(map(plain, section.headers))} |"
        yield f"|{' --- |' * len(section.headers)}"
        yield from (f"| {' | '.join(map(plain, row))} |" for row in section.rows)


def plain(text: str) -> str:
    """One line of text as Markdown shows it."""
    return MARKED.sub(r"\\\1", in_reading_order(" ".join(str(text).split())))

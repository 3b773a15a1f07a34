"""What an incident's page shows: how far it reaches, who was told, and what happened."""

from collections.abc import Callable, Iterator
from typing import Any

from django.contrib import admin
from django.utils.html import format_html

from billing.admin import cells
from billing.admin.cells import changelist_url, page_url
from billing.admin.forms import User
from billing.admin.home.figures import Figure, Section
from billing.admin.home.findings import worth
from billing.admin.related import Table
from billing.alerts.firing import counted
from billing.formatting import iso_time
from billing.incidents import timeline
from billing.incidents.scope import SHOWN, Scope, Touched, scope, span, touched
from billing.incidents.timeline import Happening
from billing.incidents.told import told
from billing.incidents.wording import ungranted_words
from billing.models import FindingRecord, InboxEvent, Incident, IncidentEntry, MissedEvent

Status = InboxEvent.Status
ANSWERS = {
    "success": "Nothing of it is open",
    "warning": "Some of it is open",
    "danger": "Customers lack what they paid for",
}
TELLING = {"Told": "success", "Under way": "info", "In vain": "danger"}


def may_view(user: User, model: type[Any]) -> bool:
    return user.has_perm(f"billing.view_{model._meta.model_name}")  # type: ignore[union-attr]


def scope_section(row: Incident, user: User) -> Section:
    """How far it reaches, as far as the user may see it; each figure leads to its rows."""
    found = scope(row)
    made = Section("Scope", ANSWERS)
    sees_findings, sees_inbox = may_view(user, FindingRecord), may_view(user, InboxEvent)
    if sees_findings:
        made.figures += finding_figures(row, found)
    if sees_inbox:
        made.figures += [*missed_figures(row, found), *inbox_figures(row, found)]
    if sees_findings and sees_inbox:
        made.table = touched_table(row)
    return made


def finding_figures(row: Incident, found: Scope) -> Iterator[Figure]:
    """Whom it touches, and what that is worth."""
    url = changelist_url(FindingRecord, incident=str(row.pk))
    many = "1 open finding was" if found.findings == 1 else f"{found.findings:,} open findings were"
    said = f"{many if found.findings else 'No open finding was'} seen in its time."
    yield Figure("Customers touched", f"{found.customers:,}", url, said, tone(found.customers))
    yield Figure(
        "Access at stake",
        f"{found.access:,}",
        changelist_url(FindingRecord, incident=str(row.pk), severity="access"),
        "They paid, and have no access." if found.access else "Nobody who paid has no access.",
        tone(found.access, "danger"),
    )
    yield Figure(
        "Paid, not granted",
        ungranted_words(found.purchases, found.ungranted) or "0",
        url,
        f"Of {counted(found.purchases, 'purchase')}."
        if found.purchases
        else "All that was paid is granted.",
        tone(found.purchases),
    )
    yield Figure("Money at stake", worth(found.amounts, 0), url, "Each currency by itself.")
    yield Figure("Credits at stake", f"{found.credits:,}", url, "By the same findings.")


def tone(count: int, bad: str = "warning") -> str:
    return bad if count else "success"


def missed_figures(row: Incident, found: Scope) -> Iterator[Figure]:
    """The events that its recoveries have listed, once there are any."""
    if not found.missed:
        return
    done = found.missed.get(MissedEvent.Status.DONE, 0)
    total = sum(found.missed.values())
    said = f"{done:,} of them are recovered."
    yield Figure("Events missed", f"{total:,}", page_url(row), said, tone(total - done))


def inbox_figures(row: Incident, found: Scope) -> Iterator[Figure]:
    """The events of its time that are not through."""
    since, until = span(row)
    told = {
        Status.PENDING: ("Events pending", "Each waits for its turn."),
        Status.FAILED: ("Events failed", "They will be tried again by themselves."),
        Status.DEAD: ("Events dead", "They need a person: see why, put it right, replay."),
    }
    for status, (title, verdict) in told.items():
        asked = {"received_at__gte": iso_time(since)}
        if row.ended_at:
            asked["received_at__lt"] = iso_time(until)
        url = changelist_url(InboxEvent, status=status, **asked)
        count = found.waiting.get(status, 0)
        yield (
            Figure(title, f"{count:,}", url, verdict, "warning")
            if count
            else Figure(title, "0", url, "None of its time.")
        )


def touched_table(row: Incident) -> Table:
    """The customers, the gravest first."""
    found = touched(row, SHOWN + 1)
    more = f", the gravest {SHOWN}" if len(found) > SHOWN else ""
    return Table(
        title=f"Customers touched{more}",
        headers=[
            "Customer", "Access", "Paid, not granted", "Money", "Credits", "Findings",
            "Events waiting",
        ],
        rows=[touched_row(each) for each in found[:SHOWN]],
        empty="Nobody is touched by it, as far as is known.",
    )  # fmt: skip


def touched_row(each: Touched) -> tuple[str, list[str]]:
    """One customer, with the address of their page."""
    whose = {"user": each.user_id} if each.user_id else {"id": each.customer_id}
    return (
        cells.open_url(**whose),
        [
            each.email or cells.shorten(each.id),
            cells.label("Paid, no access", "danger") if each.no_access else cells.EMPTY,
            ungranted_words(each.purchases, each.ungranted) or cells.EMPTY,
            worth(each.amounts, 0),
            f"{each.credits:,}",
            f"{each.findings:,}",
            f"{each.events:,}",
        ],
    )


def told_table(row: Incident) -> Table:
    """Who was told, how, and whether it arrived."""
    return Table(
        title="Who was told",
        headers=["Whom", "How", "What", "By", "Arrived", "Time (UTC)"],
        rows=[
            (
                page_url(row),
                [
                    each.whom,
                    each.way,
                    cells.brief(each.what),
                    each.by,
                    format_html("{} {}", cells.label(each.state, TELLING[each.state]), each.error),
                    cells.time(each.at),
                ],
            )
            for each in told(row)
        ],
        empty="Nobody was told of it, as far as it is written here.",
    )


def happened_table(
    row: Incident,
    user: User,
    happened: Callable[[Incident, int], list[Happening]],
    title: str,
    empty: str,
) -> Table:
    """What happened, the newest first, as far as the user may see it."""
    found = happened(row, timeline.SHOWN + 1)
    more = f", the newest {timeline.SHOWN}" if len(found) > timeline.SHOWN else ""
    return Table(
        title=f"{title}{more}",
        headers=["What", "Kind", "More", "Time (UTC)"],
        rows=[
            (page_of(each, row), [each.title, each.kind, detail(each), cells.time(each.at)])
            for each in found[: timeline.SHOWN]
            if isinstance(each.row, IncidentEntry) or may_view(user, type(each.row))
        ],
        empty=empty,
    )


def page_of(each: Happening, incident: Incident) -> str:
    """Where its row is shown; what has no page of its own is on the incident's."""
    return page_url(each.row if admin.site.is_registered(type(each.row)) else incident)


def detail(each: Happening) -> str:
    """What somebody wrote, in full; the beginning of what a machine did."""
    is_written = isinstance(each.row, IncidentEntry)
    return cells.paragraph(each.detail) if is_written else cells.brief(each.detail)

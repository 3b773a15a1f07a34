"""The page for people: what is in the sandbox, what happened last, stories and faults."""

from functools import partial

import orjson
from starlette.responses import Response

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.pages import breaking, layout, objects
from backoffice.sandbox.pages.html import Content, Html, h
from backoffice.sandbox.pages.layout import object_link, when
from backoffice.sandbox.pages.tales import TALES, Tale, inputs, outcome_path
from backoffice.sandbox.pages.web import Visit, go, page, show
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

LAST_EVENTS = 12
LAST_REQUESTS = 15
KNOWN_CUSTOMERS = 30
MOST_TOLD = 40
MOST_DAYS = 366
WATCHED_EVERY = 3
"""Seconds between two looks of a page that watches."""
DONE = {
    "broken": "It is broken now, as often as you asked for.",
    "cleared": "All faults are cleared.",
    "passing": "Time passes. What falls due happens now, in order.",
    "delivered": "Everything that waited was tried once more; see the events below.",
}


@page("GET", "/")
def home(visit: Visit) -> Response:
    """All of it on one page."""
    work = visit.work
    done = DONE.get(visit.request.query_params.get("done", ""))
    watch = h("a.button", "Watch what happens", href="/activity")
    title = layout.heading("Stripe sandbox", watch, below="A stand-in for Stripe on this machine.")
    return show(
        "Dashboard",
        title,
        done and layout.notice(done, "good"),
        layout.problem(visit.problem, "Nothing was changed; correct it below."),
        layout.section("What is in it", objects.counts(visit), _clock(visit)),
        h("div.columns", _stories(visit), breaking.section(visit)),
        activity(visit),
        _customers(work),
    )


@page("GET", "/activity")
def watch(visit: Visit) -> Response:
    """What happens, looked at again every few seconds."""
    below = f"Looked at again every {WATCHED_EVERY} seconds."
    title = layout.heading("Activity", h("a.button", "Dashboard", href="/"), below=below)
    return show("Activity", title, activity(visit), refresh=str(WATCHED_EVERY))


def activity(visit: Visit) -> Html:
    """Endpoints, the last events with their deliveries, the last requests."""
    return layout.fragment(_endpoints(visit.work), _events(visit.work), _requests(visit))


def _clock(visit: Visit) -> Html:
    """The sandbox's time, and the form that lets some of it pass."""
    clock = visit.sandbox.clockwork
    days = h("input", name="days", type="number", min=1, max=MOST_DAYS, value=31)
    late = "" if clock.is_ready() else " It is still catching up."
    return layout.form(
        "/clock",
        h("p.grow", "It is ", when(clock.now()), ".", late),
        h("label.times", "Let ", days, " days pass"),
        button="Go",
        class_="row",
    )


@page("POST", "/clock", again=home)
def let_time_pass(visit: Visit) -> Response:
    """Everything that falls due in these days happens, in order."""
    days = visit.entered("days")
    if not days.isdecimal() or not 1 <= int(days) <= MOST_DAYS:
        raise invalid(f"Days: a number from 1 to {MOST_DAYS}.", "days")
    visit.afterwards.append(partial(visit.sandbox.clockwork.advance, int(days) * 86400))
    return go("/?done=passing")


def _stories(visit: Visit) -> Html:
    note = "Each runs the code behind the API, and makes the same events."
    wanted = TALES.get(visit.request.path_params.get("id", "buy_pack"))
    forms = [_story(visit, told, is_open=told is wanted) for told in TALES.values()]
    return layout.section("Tell a story", forms, note=note)


def _story(visit: Visit, told: Tale, *, is_open: bool) -> Html:
    """A story's form, folded away unless it `is_open`, with what was entered wrongly."""
    form = layout.form(
        f"/stories/{told.name}",
        h("p.quiet", told.about),
        inputs(visit.work, told, visit.form if is_open else {}),
        button=told.title,
        look=".primary",
    )
    return h("details", h("summary", told.title), form, open=is_open, name="story")


def _customers(work: Work) -> Html:
    """The email addresses that the stories' forms suggest."""
    rows = work.store.rows(
        "SELECT DISTINCT email FROM (SELECT email FROM objects WHERE kind = 'customer'"
        " AND NOT deleted AND email IS NOT NULL ORDER BY created DESC, seq DESC LIMIT ?)",
        [KNOWN_CUSTOMERS],
    )
    return h("datalist", [h("option", value=email) for (email,) in rows], id="customers")


def _endpoints(work: Work) -> Html:
    waiting = work.store.rows(
        "SELECT endpoint, state, count(*) FROM outbox GROUP BY endpoint, state"
    )
    numbers = {(endpoint, state): number for endpoint, state, number in waiting}
    rows = [
        (
            object_link(one["id"]),
            one["url"],
            layout.badge(one["status"]),
            numbers.get((one["id"], "succeeded"), 0),
            numbers.get((one["id"], "pending"), 0),
            numbers.get((one["id"], "failed"), 0),
        )
        for one in work.select("webhook_endpoint")
    ]
    columns = ["Endpoint", "Address", "Status", "Delivered", "Waiting", "Failed"]
    empty = "There is none: nobody is told about events."
    return layout.section(
        "Webhook endpoints",
        layout.table("Webhook endpoints", columns, rows, empty),
        layout.form("/deliver", button="Deliver now what waits") if rows else None,
    )


def _events(work: Work) -> Html:
    rows = work.store.rows(
        "SELECT json FROM objects WHERE kind = 'event' ORDER BY created DESC, seq DESC LIMIT ?",
        [LAST_EVENTS],
    )
    events = [orjson.loads(text) for (text,) in rows]
    return layout.section("Last events", event_table(work, events))


def event_table(work: Work, events: list[Json]) -> Html:
    """Events with what their subject is and how their deliveries went."""
    return layout.table(
        "Events",
        ["Time", "Event", "Type", "About", "Deliveries"],
        [
            (
                when(event["created"]),
                object_link(event["id"]),
                event["type"],
                object_link(event["data"]["object"].get("id")),
                delivery_state(work, event["id"]),
            )
            for event in events
        ],
        "Nothing has happened yet.",
    )


def delivery_state(work: Work, event: str) -> Content:
    """Of each endpoint: the state, how many attempts there were, what the last one got."""
    rows = work.store.rows(
        "SELECT state, attempts, (SELECT coalesce(error, status_code) FROM deliveries"
        " WHERE deliveries.event = outbox.event AND deliveries.endpoint = outbox.endpoint"
        " ORDER BY id DESC LIMIT 1) FROM outbox WHERE event = ? ORDER BY id",
        [event],
    )
    if not rows:
        return h("span.quiet", "to nobody")
    return [
        h("div", layout.badge(state), f" {_attempts(attempts)}", last and f": {last}")
        for state, attempts, last in rows
    ]


def _attempts(number: int) -> str:
    return {0: "not tried", 1: "1 attempt"}.get(number, f"{number} attempts")


def _requests(visit: Visit) -> Html:
    log = visit.sandbox.log.requests
    last = [log[-place] for place in range(1, min(LAST_REQUESTS, len(log)) + 1)]
    rows = [
        (
            when(entry["at"]),
            entry["method"],
            h("code", entry["path"] + (f"?{entry['query']}" if entry["query"] else "")),
            h(f"span.code{'' if entry['status'] < 400 else '.wrong'}", entry["status"]),
        )
        for entry in last
    ]
    empty = "Nobody has asked the API anything since the sandbox was started."
    return layout.section(
        "Last API requests",
        layout.table("Requests", ["Time", "Method", "Path", "Status"], rows, empty),
    )


def _told(visit: Visit) -> Tale:
    if (told := TALES.get(visit.id)) is None:
        raise ApiError(404, f"No such story: '{visit.id}'")
    return told


@page("POST", "/stories/{id}", again=home)
def tell(visit: Visit) -> Response:
    """Tells a story, and leads to what came of it."""
    told = _told(visit)
    form = {name: visit.entered(name) for name in visit.form}
    answer = told.tell(visit.work, form)
    return go(outcome_path(told, answer, visit.work.made_events[:MOST_TOLD]))


@page("GET", "/told/{id}")
def outcome(visit: Visit) -> Response:
    """What came of a story: objects, the customer's pages, events and their deliveries."""
    told, work = _told(visit), visit.work
    asked = visit.request.query_params
    things = _known(work, asked.getlist("id"))
    events = [one for one in _known(work, asked.getlist("event")) if one["object"] == "event"]
    rows = [
        (objects.words(one["object"]), object_link(one["id"]), objects.summary(one), _page_of(one))
        for one in things
    ]
    return show(
        told.title,
        layout.heading(told.title, h("a.button", "Tell another", href="/"), below=told.about),
        layout.section(
            "What came of it",
            layout.table(
                "Objects", ["What", "Id", "State", "The customer's page"], rows, "Nothing."
            ),
        ),
        layout.section(
            "Events",
            event_table(work, events),
            h("p", h("a", "Look again at the deliveries", href=str(visit.request.url))),
        ),
    )


def _known(work: Work, ids: list[str]) -> list[Json]:
    """The objects with these ids, as far as they exist."""
    kept = [work.stored(one) for one in ids[:MOST_TOLD]]
    return [one.value for one in kept if one]


def _page_of(one: Json) -> Content:
    if found := objects.customer_page(one):
        name, address = found
        return h("a", name, href=address)
    return h("span.quiet", "–")


breaking.breaking_pages(home)

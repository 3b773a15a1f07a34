"""Browsing: what there is of each kind, and every object as the API shows it."""

import html
import re
from collections.abc import Iterable
from typing import Any

import orjson
from starlette.responses import Response

from backoffice.sandbox.errors import ApiError
from backoffice.sandbox.pages import layout
from backoffice.sandbox.pages.html import Content, Html, h
from backoffice.sandbox.pages.web import Visit, page, show
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

PAGE_SIZE = 25
LAST_EVENTS = 25
EVENTS_SEARCHED = 5_000
AMOUNTS = ("amount_total", "amount_due", "amount", "unit_amount")
NAMES = ("type", "name", "customer_email", "email", "nickname", "description")
AN_ID = re.compile(
    r"&quot;((?:bps|ch|cs_test|cus|dp|evt|in|inpay|pi|pm|po|price|prod|re|seti|sub|txn|we)_\w+)&quot;"
)


@page("GET", "/objects")
def kinds(visit: Visit) -> Response:
    """How many objects there are of each kind."""
    return show("Objects", layout.heading("Objects"), counts(visit))


def counts(visit: Visit) -> Html:
    """Each kind with its number, as links."""
    found = sorted(visit.sandbox.store.counts().items())
    shown = [
        h(
            "li",
            h("a", h("strong", f"{number:,}"), " ", words(kind, number), href=f"/objects/{kind}"),
        )
        for kind, number in found
        if number
    ]
    return h("ul.counts", shown) if shown else h("p.empty", "Nothing yet. Tell a story to begin.")


def words(kind: str, number: int = 1) -> str:
    """The name of a kind of object for people, for so many of them."""
    return re.sub(r"[._]", " ", kind) + ("" if number == 1 else "s")


@page("GET", "/objects/{id}")
def kind_or_object(visit: Visit) -> Response:
    """The latest objects of a kind, or one object."""
    if visit.id in visit.sandbox.store.counts():
        return _kind(visit)
    return _object(visit)


def _kind(visit: Visit) -> Response:
    """A page of the objects of a kind, the newest first, those older than `before`."""
    work, kind = visit.work, visit.id
    condition, values = "", []
    if before := visit.request.query_params.get("before"):
        if (place := work.stored(before)) is None:
            raise ApiError(404, f"No such {kind}: '{before}'")
        condition, values = "AND (created, seq) < (?, ?)", [place.value["created"], place.seq]
    rows = work.store.rows(
        f"SELECT json, deleted FROM objects WHERE kind = ? {condition}"  # noqa: S608
        " ORDER BY created DESC, seq DESC LIMIT ?",
        [kind, *values, PAGE_SIZE + 1],
    )
    found = [orjson.loads(text) for text, _ in rows[:PAGE_SIZE]]
    shown = [
        (layout.object_link(one["id"]), summary(one), layout.when(one.get("created")))
        for one in found
    ]
    older = f"/objects/{kind}?before={found[-1]['id']}" if len(rows) > PAGE_SIZE else None
    return show(
        words(kind, len(found)).capitalize(),
        layout.heading(words(kind, len(found)).capitalize()),
        layout.table("Objects", ["Id", "What", "Created"], shown, "There are none."),
        h(
            "p.buttons",
            before and h("a.button", "Newest", href=f"/objects/{kind}"),
            older and h("a.button", "Older", href=older),
        ),
    )


def summary(one: Json) -> Content:
    """What tells an object from others of its kind: status, amount, and a name of some kind."""
    state, amount = one.get("status"), _first(one, AMOUNTS)
    name = _first(one, ("url",) if one["object"] == "webhook_endpoint" else NAMES)
    return h(
        "span.summary",
        state and layout.badge(state),
        h("span", layout.money(amount, one.get("currency"))) if amount is not None else None,
        name and h("span", name),
    )


def _first(one: Json, names: Iterable[str]) -> Any:
    """The first of these fields that has a value."""
    return next((one[name] for name in names if one.get(name) is not None), None)


def _object(visit: Visit) -> Response:
    work = visit.work
    kept = work.stored(visit.id)
    if kept is None:
        raise ApiError(404, f"No such object: '{visit.id}'")
    one = kept.value
    kind = one["object"]
    return show(
        visit.id,
        layout.heading(words(kind).capitalize(), summary(one), below=h("span.id", visit.id)),
        layout.notice("This object is deleted.") if kept.deleted else None,
        _links(one),
        h("section.card", h("h2", "As the API shows it"), as_json(one)),
        None if kind == "event" else _events(work, visit.id),
        _deliveries(work, visit.id) if kind == "event" else None,
        h("p", h("a", f"All {words(kind, 2)}", href=f"/objects/{kind}")),
    )


def customer_page(one: Json) -> tuple[str, str] | None:
    """(name, address) of the page that a customer sees of an object."""
    kind, id_, status = one["object"], one["id"], one.get("status")
    if kind == "checkout.session":
        return "Hosted checkout", f"/c/pay/{id_}"
    if kind == "invoice" and status != "draft":
        return "Hosted invoice", f"/i/{id_}"
    if kind == "billing_portal.session":
        return "Billing portal", f"/p/session/{id_}"
    if kind == "charge" and status == "succeeded":
        return "Receipt", f"/r/{id_}"
    return None


def _links(one: Json) -> Html | None:
    if (found := customer_page(one)) is None:
        return None
    name, address = found
    return h("p", h("a.button.primary", f"What the customer sees: {name.lower()}", href=address))


def as_json(one: Json) -> Html:
    """The object as indented JSON, whose ids are links."""
    text = html.escape(orjson.dumps(one, option=orjson.OPT_INDENT_2).decode())
    linked = AN_ID.sub(r'&quot;<a href="/objects/\1">\1</a>&quot;', text)
    return h("pre", Html(linked), tabindex="0", role="region", aria_label="JSON")


def _events(work: Work, id: str) -> Html:  # noqa: A002
    """The latest events that name the object, among the last few thousand."""
    rows = work.store.rows(
        "SELECT json FROM (SELECT json, created, seq FROM objects WHERE kind = 'event'"
        " ORDER BY created DESC, seq DESC LIMIT ?) WHERE instr(json, ?) > 0"
        " ORDER BY created DESC, seq DESC LIMIT ?",
        [EVENTS_SEARCHED, f'"{id}"', LAST_EVENTS],
    )
    return layout.section(
        "Events that name it",
        layout.table(
            "Events",
            ["Event", "Type", "Time"],
            [
                (layout.object_link(event["id"]), event["type"], layout.when(event["created"]))
                for event in (orjson.loads(text) for (text,) in rows)
            ],
            f"None among the last {EVENTS_SEARCHED:,} events.",
        ),
    )


def _deliveries(work: Work, event: str) -> Html:
    """Every attempt to deliver an event."""
    rows = work.store.rows(
        "SELECT endpoint, attempt, status_code, error, at FROM deliveries WHERE event = ?"
        " ORDER BY id DESC LIMIT 100",
        [event],
    )
    return layout.section(
        "Deliveries",
        layout.table(
            "Deliveries",
            ["Endpoint", "Attempt", "Answer", "Time"],
            [
                (
                    layout.object_link(endpoint),
                    attempt,
                    error or status or "no answer",
                    layout.when(at),
                )
                for endpoint, attempt, status, error, at in rows
            ],
            "It was not sent to any endpoint yet.",
        ),
    )

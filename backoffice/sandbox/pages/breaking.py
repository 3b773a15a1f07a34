"""Faults as forms: what can be broken by a button, and what is broken now."""

from dataclasses import dataclass

from starlette.responses import Response

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.pages import layout
from backoffice.sandbox.pages.html import Html, h
from backoffice.sandbox.pages.web import Handler, Visit, go, page
from backoffice.sandbox.types import Json

LAST_HITS = 3
MOST = 10_000
UNSAID = ("id", "hits", "hit_count", "probability", "seed", "count")
NAMED = ("method", "path", "type", "object", "event", "endpoint")
"""What of a hit is shown."""


@dataclass(frozen=True, slots=True)
class Breakage:
    """A fault that a button sets; `fault` is its JSON description without `count`."""

    name: str
    title: str
    about: str
    fault: Json


BREAKAGES = (
    Breakage(
        "error",
        "Stripe answers 500",
        "Requests to the API fail, and nothing is done.",
        {"path": "/v1/*", "status": 500},
    ),
    Breakage(
        "error_after",
        "Stripe answers 500, and did it",
        "Requests to the API fail after they took effect.",
        {"path": "/v1/*", "status": 500, "after": True},
    ),
    Breakage(
        "slow",
        "Stripe is slow",
        "Each request takes three seconds.",
        {"path": "/v1/*", "delay_seconds": 3},
    ),
    Breakage(
        "limit",
        "Stripe says: too many requests",
        "Requests to the API are answered 429.",
        {"path": "/v1/*", "status": 429},
    ),
    Breakage(
        "reset",
        "The connection breaks",
        "Requests to the API get no answer, and nothing is done.",
        {"path": "/v1/*", "reset": True},
    ),
    Breakage(
        "drop",
        "Webhooks get lost",
        "Events are made, and their deliveries fail.",
        {"drop_deliveries": True},
    ),
    Breakage(
        "duplicate",
        "Webhooks come twice",
        "Each delivery is made once more, whatever was answered.",
        {"duplicate_deliveries": 2},
    ),
    Breakage(
        "reorder",
        "Webhooks come late and out of order",
        "They wait for ten seconds, and come in any order.",
        {"reorder_deliveries": 10},
    ),
    Breakage(
        "secret",
        "Webhooks have a wrong signature",
        "They are signed with another secret.",
        {"wrong_secret": True},
    ),
    Breakage(
        "no_event",
        "Events are never made",
        "Things happen, and Stripe says nothing.",
        {"no_event": True},
    ),
)


def section(visit: Visit) -> Html:
    """The buttons, and the faults that are set with what they hit."""
    return layout.section(
        "Break something",
        h("ul.plain", [h("li", _setter(one)) for one in BREAKAGES]),
        h("h3", "Broken now"),
        _active(visit),
    )


def _setter(one: Breakage) -> Html:
    return layout.form(
        f"/faults/{one.name}",
        h("div.grow", h("strong", one.title), h("p.quiet", one.about)),
        h(
            "label.times",
            h("input", name="count", type="number", min=1, max=MOST, value=5),
            " times",
        ),
        button="Set",
        aria_label=one.title,
        class_="row",
    )


def _active(visit: Visit) -> Html:
    faults = [fault.describe() for fault in visit.sandbox.faults.active]
    if not faults:
        return h("p.empty", "Nothing: Stripe works as it should.")
    shown = [h("li", h("strong", _words(fault)), _hits(fault)) for fault in faults]
    clear = layout.form("/faults/clear", button="Clear all faults")
    return layout.fragment(h("ul.plain", shown), clear)


def _words(fault: Json) -> str:
    """What a fault does to what and how often, without what it leaves as it is."""
    told = [
        _word(name.replace("_", " "), value)
        for name, value in fault.items()
        if name not in UNSAID and value not in (None, False, 0, "*", ["*"], ("*",))
    ]
    often = {None: "always", 1: "once"}.get(fault["count"], f"{fault['count']} times")
    return ", ".join([*told, often])


def _word(name: str, value: object) -> str:
    if value is True:
        return name
    return f"{name} {', '.join(value) if isinstance(value, list | tuple) else value}"


def _hits(fault: Json) -> Html:
    """What a fault has hit last."""
    hits = fault["hits"]
    if not hits:
        return h("p.quiet", "It has hit nothing yet.")
    last = [
        h("li", layout.when(hit["at"]), " ", " ".join(str(hit[n]) for n in NAMED if hit.get(n)))
        for hit in hits[-LAST_HITS:]
    ]
    return h("div.quiet", f"It has hit {len(hits)}×, last:", h("ul", last))


def breaking_pages(again: Handler) -> None:
    """Registers where the forms lead; `again` is the page that they are on."""

    @page("POST", "/faults/clear", again)
    def clear(visit: Visit) -> Response:
        visit.sandbox.faults.clear()
        return go("/?done=cleared")

    @page("POST", "/faults/{id}", again)
    def set_fault(visit: Visit) -> Response:
        wanted = next((one for one in BREAKAGES if one.name == visit.id), None)
        count = visit.entered("count")
        if wanted is None:
            raise invalid(f"There is no fault {visit.id}.")
        if not count.isdecimal() or not 1 <= int(count) <= MOST:
            raise invalid(f"How often: a number from 1 to {MOST:,}.", "count")
        visit.sandbox.faults.set({**wanted.fault, "count": int(count)})
        return go("/?done=broken")

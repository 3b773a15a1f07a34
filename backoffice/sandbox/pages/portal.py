"""The billing portal: where a portal session's `url` leads."""

from collections.abc import Iterable

from starlette.responses import Response

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle import people, subscribing
from backoffice.sandbox.pages import layout, methods
from backoffice.sandbox.pages.html import Content, Html, h
from backoffice.sandbox.pages.layout import day, money
from backoffice.sandbox.pages.web import Visit, go, page, show
from backoffice.sandbox.resources import subscriptions
from backoffice.sandbox.resources.people import update_customer
from backoffice.sandbox.routing import Call
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

UNUSED_LIFETIME = 5 * 60
"""Seconds within which a new session must be opened."""
IDLE_LIFETIME = 3600
"""Seconds after its last use until a session ends."""
LAST_INVOICES = 12
SCHEDULED = ("active", "trialing", "past_due")
"""Statuses in which a subscription is cancelled at the end of its period."""
FEEDBACK = {
    "": "I would rather not say",
    "too_expensive": "It is too expensive",
    "missing_features": "Features are missing",
    "switched_service": "I found something else",
    "unused": "I do not use it",
    "customer_service": "The service was poor",
    "too_complex": "It is too complicated",
    "low_quality": "The quality is poor",
    "other": "Another reason",
}
LONGEST_COMMENT = 500


def enter(visit: Visit) -> tuple[Json, Json]:
    """(session, customer), if the session has not ended; notes that it is used."""
    work = visit.work
    session = work.find("billing_portal.session", visit.id)
    used = work.remembered(session["id"]).get("used_at")
    ends = used + IDLE_LIFETIME if used else session["created"] + UNUSED_LIFETIME
    if work.now > ends:
        raise ApiError(403, "This link has expired. Get a new one where you found it.")
    work.remember(session["id"], {"used_at": work.now})
    return session, work.find("customer", session["customer"])


def path_of(session: Json, *rest: str) -> str:
    """The address of a page of this session."""
    return "/".join([f"/p/session/{session['id']}", *rest])


@page("GET", "/p/session/{id}")
def home(visit: Visit) -> Response:
    """What a customer has, and what they can do about it."""
    session, customer = enter(visit)
    work = visit.work
    who = customer["name"] or customer["email"] or customer["id"]
    url = layout.web_address(session["return_url"])
    return show(
        "Billing",
        layout.heading("Billing", url and h("a.button", "Back to the shop", href=url), below=who),
        layout.problem(visit.problem),
        layout.section("Subscriptions", _subscriptions(work, session, customer)),
        layout.section("Payment methods", _methods(visit, session, customer)),
        layout.section("Invoices", _invoices(work, customer)),
    )


def _subscriptions(work: Work, session: Json, customer: Json) -> Content:
    """The subscriptions, those that have ended last."""
    found = work.select("subscription", customer=customer["id"])
    found.sort(key=lambda one: (one["status"] in subscribing.TERMINAL, -one["created"]))
    shown = [h("li", _subscription(work, session, one)) for one in found]
    return h("ul.plain", shown) if shown else h("p.empty", "There is no subscription yet.")


def _subscription(work: Work, session: Json, subscription: Json) -> Content:
    item = subscribing.items_of(subscription)[0]
    product = work.get("product", item["price"]["product"])
    action = path_of(session, "subscriptions", subscription["id"])
    buttons: list[Content] = []
    if subscription["cancel_at"] and subscription["status"] in SCHEDULED:
        buttons.append(
            layout.form(f"{action}/keep", button="Keep the subscription", look=".primary")
        )
    elif can_cancel(subscription):
        buttons.append(h("a.button", "Cancel", href=f"{action}/cancel"))
    if can_change(subscription) and plans(work, subscription):
        buttons.append(h("a.button", "Change plan", href=f"{action}/plan"))
    return [
        h(
            "div.row",
            h("strong", product["name"] if product else item["price"]["id"]),
            layout.badge(subscription["status"]),
        ),
        h("p", layout.price_text(item["price"]), " ", h("span.quiet", _future(subscription))),
        h("div.buttons", buttons) if buttons else None,
    ]


def _future(subscription: Json) -> str:
    """What happens to a subscription next."""
    status = subscription["status"]
    if status in subscribing.TERMINAL:
        return f"Ended on {day(subscription['ended_at'])}."
    if subscription["cancel_at"]:
        return f"Ends on {day(subscription['cancel_at'])}."
    end = day(subscribing.period_of(subscription)[1])
    if status in ("past_due", "unpaid", "incomplete"):
        return "Its last invoice is not paid; pay it below."
    return f"Trial until {end}." if status == "trialing" else f"Renews on {end}."


def can_cancel(subscription: Json) -> bool:
    """Whether the portal offers to cancel."""
    return subscription["status"] not in (*subscribing.TERMINAL, "incomplete")


def can_change(subscription: Json) -> bool:
    """Whether the portal offers another plan: with one item, and no end in sight."""
    single = len(subscribing.items_of(subscription)) == 1
    return (
        subscription["status"] in ("active", "trialing")
        and single
        and not subscription["cancel_at"]
    )


def plans(work: Work, subscription: Json) -> list[Json]:
    """The other recurring prices, in the subscription's currency, that are on sale."""
    current = subscribing.items_of(subscription)[0]["price"]["id"]
    return [
        price
        for price in work.select("price")
        if price["active"]
        and price["recurring"]
        and price["currency"] == subscription["currency"]
        and price["id"] != current
    ]


def _methods(visit: Visit, session: Json, customer: Json) -> Content:
    """The saved payment methods, and the form for a new card."""
    saved = [
        _saved(visit.work, session, customer, method)
        for method in visit.work.select("payment_method", customer=customer["id"])
    ]
    new = h(
        "details",
        h("summary", "Add or update a card"),
        layout.form(
            path_of(session, "methods"),
            methods.picker("New card (all of them are pretended)", methods.CARDS),
            button="Save card",
            look=".primary",
        ),
        open=visit.problem is not None and "method" in visit.form,
    )
    return [h("ul.plain", saved) if saved else h("p.empty", "No card is saved yet."), new]


def _saved(work: Work, session: Json, customer: Json, method: Json) -> Html:
    """A saved payment method: the default one, or one that can become it."""
    name = methods.describe(method)
    if method["id"] == customer["invoice_settings"]["default_payment_method"]:
        return h("li.row", h("span", name), layout.badge("default"))
    pays = [
        one
        for one in work.select("subscription", customer=customer["id"])
        if one["default_payment_method"] == method["id"]
        and one["status"] not in subscribing.TERMINAL
    ]
    button = h("button", "Make default", type="submit", aria_label=f"Make {name} the default")
    action = path_of(session, "methods", method["id"])
    return h(
        "li.row",
        h("span.grow", name, h("small", "pays a subscription") if pays else None),
        h("form", button, method="post", action=action),
    )


def _invoices(work: Work, customer: Json) -> Html:
    found = [
        invoice
        for invoice in work.select("invoice", customer=customer["id"])
        if invoice["status"] != "draft"
    ]
    rows = [
        (
            h("span.nowrap", day(invoice["created"])),
            money(invoice["amount_due"], invoice["currency"]),
            layout.badge(invoice["status"]),
            h("a", invoice["number"], href=f"/i/{invoice['id']}"),
        )
        for invoice in reversed(found[-LAST_INVOICES:])
    ]
    return layout.table("Invoices", ["Date", "Amount", "Status", "Invoice"], rows, "None yet.")


def own(visit: Visit, customer: Json, kind: str, name: str) -> Json:
    """The object that the path names, which must be the customer's; 404 otherwise."""
    found = visit.work.find(kind, visit.request.path_params[name])
    if found["customer"] != customer["id"]:
        raise ApiError(404, f"No such {kind}: '{found['id']}'")
    return found


def _one_subscription(visit: Visit) -> tuple[Json, Json]:
    """(session, subscription) of a page below a session's."""
    session, customer = enter(visit)
    return session, own(visit, customer, "subscription", "subscription")


@page("GET", "/p/session/{id}/subscriptions/{subscription}/cancel")
def cancel_page(visit: Visit) -> Response:
    """Asks whether and why; says what cancelling means."""
    session, subscription = _one_subscription(visit)
    if not can_cancel(subscription) or subscription["cancel_at"]:
        return go(path_of(session))
    end = day(subscribing.period_of(subscription)[1])
    scheduled = subscription["status"] in SCHEDULED
    what = f"It stays yours until {end}, and is not renewed." if scheduled else "It ends at once."
    return show(
        "Cancel the subscription",
        h(
            "section.card.narrow",
            h("h1", "Cancel the subscription"),
            layout.problem(visit.problem),
            h("p", what),
            layout.form(
                path_of(session, "subscriptions", subscription["id"], "cancel"),
                layout.choice("Why?", "feedback", FEEDBACK.items(), visit.entered("feedback")),
                layout.entry(
                    "Anything else?",
                    "comment",
                    hint="optional",
                    maxlength=LONGEST_COMMENT,
                    value=visit.entered("comment"),
                ),
                button="Cancel the subscription",
                look=".danger",
            ),
            h("p", h("a", "Keep it", href=path_of(session))),
        ),
    )


@page("POST", "/p/session/{id}/subscriptions/{subscription}/cancel", again=cancel_page)
def cancel(visit: Visit) -> Response:
    """Cancels at the end of the period, or at once what is not being paid for.

    The reason follows in an event of its own, as in Stripe's portal, which asks for it last.
    """
    session, subscription = _one_subscription(visit)
    if not can_cancel(subscription) or subscription["cancel_at"]:
        return go(path_of(session))
    feedback, comment = visit.entered("feedback"), visit.entered("comment")
    if feedback not in FEEDBACK or len(comment) > LONGEST_COMMENT:
        raise invalid("Choose one of the reasons, and keep the comment short.", "feedback")
    if subscription["status"] in SCHEDULED:
        _update(visit.work, subscription, **_at_period_end(subscription))
    else:
        subscribing.cancel(visit.work, subscription)
    if details := {k: v for k, v in (("feedback", feedback), ("comment", comment)) if v}:
        _update(visit.work, subscription, cancellation_details=details)
    return go(path_of(session))


def _at_period_end(subscription: Json) -> Json:
    """How the end of the period is asked for in the subscription's billing mode."""
    if subscription["billing_mode"]["type"] == "flexible":
        return {"cancel_at": subscribing.period_of(subscription)[1]}
    return {"cancel_at_period_end": True}


def _update(work: Work, subscription: Json, **params: object) -> None:
    """What `POST /v1/subscriptions/{id}` does."""
    subscriptions.update(Call(work, params, {"id": subscription["id"]}))


@page("POST", "/p/session/{id}/subscriptions/{subscription}/keep", again=home)
def keep(visit: Visit) -> Response:
    """Takes back a cancellation that has not happened yet."""
    session, subscription = _one_subscription(visit)
    if subscription["cancel_at"] and subscription["status"] in SCHEDULED:
        _update(visit.work, subscription, cancel_at_period_end=False)
    return go(path_of(session))


@page("GET", "/p/session/{id}/subscriptions/{subscription}/plan")
def plan_page(visit: Visit) -> Response:
    """Offers the other plans."""
    session, subscription = _one_subscription(visit)
    work = visit.work
    if not can_change(subscription):
        return go(path_of(session))
    current = subscribing.items_of(subscription)[0]["price"]
    return show(
        "Change the plan",
        h(
            "section.card.narrow",
            h("h1", "Change the plan"),
            layout.problem(visit.problem),
            h("p", f"Now: {layout.price_text(current)}."),
            layout.form(
                path_of(session, "subscriptions", subscription["id"], "plan"),
                layout.choice("New plan", "price", price_options(work, plans(work, subscription))),
                h("p.quiet", "The difference for the rest of the period is on the next invoice."),
                button="Change the plan",
                look=".primary",
            ),
            h("p", h("a", "Keep the current one", href=path_of(session))),
        ),
    )


def price_options(work: Work, prices: Iterable[Json]) -> list[tuple[str, str]]:
    """(id, name and amount) of each price, to choose from."""
    options = []
    for price in prices:
        product = work.get("product", price["product"])
        name = product["name"] if product else price["id"]
        options.append((price["id"], f"{name}, {layout.price_text(price)}"))
    return options


@page("POST", "/p/session/{id}/subscriptions/{subscription}/plan", again=plan_page)
def change_plan(visit: Visit) -> Response:
    """Changes the plan; the difference waits for the next invoice."""
    session, subscription = _one_subscription(visit)
    wanted = visit.entered("price")
    if wanted not in {price["id"] for price in plans(visit.work, subscription)}:
        raise invalid("Choose one of the plans.", "price")
    if can_change(subscription):
        item = subscribing.items_of(subscription)[0]
        _update(visit.work, subscription, items=[{"id": item["id"], "price": wanted}])
    return go(path_of(session))


@page("POST", "/p/session/{id}/methods", again=home)
def add_method(visit: Visit) -> Response:
    """Saves a card, and pays with it from now on."""
    session, customer = enter(visit)
    billing = {"email": customer["email"] or "", "name": customer["name"] or ""}
    method = methods.make(visit.work, visit.entered("method"), methods.CARDS, **billing)
    people.attach(visit.work, method, customer)
    _make_default(visit.work, customer, method)
    return go(path_of(session))


@page("POST", "/p/session/{id}/methods/{method}", again=home)
def choose_method(visit: Visit) -> Response:
    """Pays with another saved method from now on."""
    session, customer = enter(visit)
    _make_default(visit.work, customer, own(visit, customer, "payment_method", "method"))
    return go(path_of(session))


def _make_default(work: Work, customer: Json, method: Json) -> None:
    """Makes `method` pay the customer's invoices, and subscriptions that name another one."""
    settings = {"default_payment_method": method["id"]}
    update_customer(Call(work, {"invoice_settings": settings}, {"id": customer["id"]}))
    for subscription in work.select("subscription", customer=customer["id"]):
        named = subscription["default_payment_method"]
        if named not in (None, method["id"]) and subscription["status"] not in subscribing.TERMINAL:
            _update(work, subscription, default_payment_method=method["id"])

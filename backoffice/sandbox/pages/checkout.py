"""Hosted checkout: where a checkout session's `url` leads."""

from starlette.responses import Response

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.lifecycle import checkout
from backoffice.sandbox.pages import layout, methods
from backoffice.sandbox.pages.html import Content, Html, h
from backoffice.sandbox.pages.web import Visit, go, page, show
from backoffice.sandbox.resources.checkout import confirm
from backoffice.sandbox.resources.people import check_email
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

LONGEST_WAIT = 10
"""Seconds that Stripe waits for the shop to take the webhook before it sends the buyer back."""
PURPOSES = {"payment": "Pay", "subscription": "Subscribe", "setup": "Save payment method"}


@page("GET", "/c/pay/{id}")
def pay_page(visit: Visit) -> Response:
    """The form of an open session; what became of any other."""
    work = visit.work
    session = work.find("checkout.session", visit.id)
    if state := _closed(work, session):
        return state
    title = PURPOSES[session["mode"]]
    columns = h("div.columns", _order(work, session), _pay_form(visit, session))
    return show(title, columns)


def _closed(work: Work, session: Json) -> Response | None:
    """What a session says that takes no payment (any more)."""
    if session["status"] == "complete":
        return _complete(session)
    if session["status"] == "expired" or session["expires_at"] <= work.now:
        title = "This checkout has expired"
        text = "Nothing was charged. Start again from the shop to get a new one."
        return show(title, _card(title, h("p", text), _back(session, "Back to the shop")))
    return None


def _complete(session: Json) -> Response:
    paid = {
        "paid": f"{layout.money(session['amount_total'], session['currency'])} was paid.",
        "unpaid": "The payment is on its way; a bank debit takes days.",
        "no_payment_required": "There was nothing to pay.",
    }[session["payment_status"]]
    title = "This checkout is complete"
    link = h("a.button", "Continue", href=f"/c/pay/{session['id']}/done")
    return show(title, _card(title, h("p", paid), h("p", link)))


def _card(title: str, *content: Content) -> Html:
    return h("section.card.narrow", h("h1", title), content)


def _back(session: Json, text: str) -> Html | None:
    url = layout.web_address(session["cancel_url"])
    return h("p", h("a", text, href=url)) if url else None


def _order(work: Work, session: Json) -> Html:
    """What is bought, and what it costs."""
    rows = [
        h(
            "li",
            h("span", item["description"], h("small", _each(item))),
            h("strong", layout.money(item["amount_total"], item["currency"])),
        )
        for item in checkout.lines_of(work, session)
    ]
    total = layout.money(session["amount_total"], session["currency"])
    summary = [h("p.amount", total), h("ul.lines", rows)] if rows else None
    return h(
        "section.order",
        h("h1", PURPOSES[session["mode"]] if rows else "Save a payment method"),
        summary or h("p.quiet", "It is charged later, for what you agreed with the shop."),
        _back(session, "← Back to the shop"),
    )


def _each(item: Json) -> str:
    price = layout.price_text(item["price"])
    return f"{item['quantity']} × {price}" if item["quantity"] != 1 else price


def _pay_form(visit: Visit, session: Json) -> Html:
    known = known_email(visit.work, session)
    email = h("p", "For ", h("strong", known)) if known else layout.entry(
        "Email",
        "email",
        type="email",
        required=True,
        autocomplete="email",
        value=visit.entered("email"),
    )  # fmt: skip
    name = layout.entry(
        "Name", "name", hint="optional", autocomplete="name", value=visit.entered("name")
    )
    button = PURPOSES[session["mode"]]
    if session["amount_total"]:
        button += f" {layout.money(session['amount_total'], session['currency'])}"
    choices = methods.offered(session["payment_method_types"])
    return h(
        "section.card",
        h("h2", "Payment"),
        layout.problem(visit.problem, "Nothing was charged; try another way."),
        layout.form(
            f"/c/pay/{session['id']}",
            email,
            name,
            methods.picker(
                "Payment method (all of them are pretended)", choices, visit.entered("method")
            ),
            button=button,
            look=".primary.wide",
        ),
    )


def known_email(work: Work, session: Json) -> str | None:
    """The buyer's email address, if the session or its customer names it."""
    customer = work.get("customer", session["customer"])
    email: str | None = session["customer_email"] or (customer or {}).get("email")
    return email


@page("POST", "/c/pay/{id}", again=pay_page)
def pay(visit: Visit) -> Response:
    """The buyer submits the form."""
    work = visit.work
    session = work.find("checkout.session", visit.id)
    if _closed(work, session):
        return go(f"/c/pay/{session['id']}")
    email = known_email(work, session) or visit.entered("email")
    if not email:
        raise invalid("Enter an email address.", "email")
    check_email(email)
    choices = methods.offered(session["payment_method_types"])
    name = visit.entered("name")
    method = methods.make(work, visit.entered("method"), choices, email=email, name=name)
    confirm(work, session, method, method["billing_details"])
    return go(f"/c/pay/{session['id']}/done")


@page("GET", "/c/pay/{id}/done")
def done(visit: Visit) -> Response:
    """Thanks the buyer and leads back to the shop, as soon as that took the webhook."""
    work = visit.work
    session = work.find("checkout.session", visit.id)
    if session["status"] != "complete":
        return go(f"/c/pay/{session['id']}")
    title = "Thank you"
    shop = layout.web_address(session["success_url"])
    if shop is None:
        return show(title, _card(title, h("p", "You can close this page.")))
    shop = shop.replace("{CHECKOUT_SESSION_ID}", session["id"])
    link = h("p", h("a.button.primary", "Back to the shop", href=shop))
    if _shop_is_told(work, session):
        text = h("p", "You are led back to the shop in a moment.")
        return show(title, _card(title, text, link), refresh=f"3; url={shop}")
    text = h("p", "The shop is being told about it.")
    return show(title, _card(title, text, link), refresh="1")


def _shop_is_told(work: Work, session: Json) -> bool:
    """Whether each endpoint was tried with the session's completion, or had its time."""
    rows = work.store.rows(
        "SELECT count(*) FROM objects JOIN outbox ON outbox.event = objects.id"
        " WHERE kind = 'event' AND type = 'checkout.session.completed' AND created > ?"
        " AND json_extract(json, '$.data.object.id') = ?"
        " AND state = 'pending' AND attempts = 0",
        [work.now - LONGEST_WAIT, session["id"]],
    )
    return not rows[0][0]

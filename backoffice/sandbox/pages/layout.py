"""What the pages are made of: the frame, and how money, times, ids and statuses are shown."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from backoffice.sandbox.lifecycle.money import exponent
from backoffice.sandbox.pages.html import Content, Html, h, render
from backoffice.sandbox.types import Json

MARK = "Sandbox: no real money moves"
ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='4' fill='%23b45309'/%3E"
    "%3Cpath d='M4 11h8M5 8h6M6 5h4' stroke='white' stroke-width='1.6'/%3E%3C/svg%3E"
)
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
MOODS = {
    "good": "active complete delivered enabled paid succeeded won",
    "bad": "canceled disabled failed incomplete_expired lost past_due unpaid void",
    "waiting": "draft expired incomplete needs_response open paused pending processing"
    " requires_payment_method trialing uncollectible under_review warning_needs_response",
}
MOOD_OF = {status: mood for mood, statuses in MOODS.items() for status in statuses.split()}


def document(title: str, body: Content, refresh: str | None = None) -> str:
    """A whole HTML document."""
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        refresh and h("meta", http_equiv="refresh", content=refresh),
        h("title", f"{title} · Sandbox"),
        h("link", rel="icon", href=ICON),
        h("link", rel="stylesheet", href="/style.css"),
    )
    bar = h(
        "header.bar",
        h("p.mark", MARK),
        h("nav", h("a", "Dashboard", href="/"), h("a", "Objects", href="/objects")),
    )
    skip = h("a.skip", "Skip to the content", href="#content")
    page = h("body", skip, bar, h("main", body, id="content"))
    return f"<!doctype html>{h('html', head, page, lang='en')}"


def heading(title: str, *beside: Content, below: Content = None) -> Html:
    """The title of a page, with what stands beside and below it."""
    return h("div.heading", h("div.row", h("h1", title), beside), below and h("p.quiet", below))


def section(title: str, *content: Content, note: Content = None) -> Html:
    """A card with a title."""
    return h("section.card", h("h2", title), note and h("p.quiet", note), content)


def notice(text: Content, mood: str = "bad") -> Html:
    """What went wrong, or well; read out by screen readers at once."""
    return h(f"div.notice.{mood}", text, role="alert" if mood == "bad" else "status")


def problem(error: Exception | None, advice: str = "") -> Html | None:
    """What was wrong with a form, and what to do about it."""
    if error is None:
        return None
    text = str(error)
    return notice(f"{text}{'' if text.endswith('.') else '.'} {advice}")


def badge(status: str | None) -> Html:
    """A status in plain words."""
    mood = MOOD_OF.get(status or "", "plain")
    return h(f"span.badge.{mood}", (status or "none").replace("_", " "))


def money(amount: int | None, currency: str | None) -> str:
    """`amount` (minor units) as people write it: $1,234.50, ¥500, 3.250 KWD."""
    if amount is None or currency is None:
        return "–"
    places = exponent(currency)
    whole, part = divmod(abs(amount), 10**places)
    digits = f"{whole:,}.{part:0{places}}" if places else f"{whole:,}"
    sign = "−" if amount < 0 else ""
    symbol = SYMBOLS.get(currency)
    return f"{sign}{symbol}{digits}" if symbol else f"{sign}{digits} {currency.upper()}"


def price_text(price: Json) -> str:
    """What a price costs: $29.00, or $29.00 every month."""
    amount = money(price["unit_amount"], price["currency"])
    if not (recurring := price["recurring"]):
        return amount
    count, interval = recurring["interval_count"], recurring["interval"]
    return f"{amount} every {interval}" if count == 1 else f"{amount} every {count} {interval}s"


def when(at: float | None) -> Html:
    """A time (epoch seconds) with its zone."""
    if not at:
        return h("span.quiet", "–")
    moment = datetime.fromtimestamp(at, UTC)
    return h("time", f"{moment:%d %b %Y, %H:%M:%S} UTC", datetime=moment.isoformat())


def day(at: float | None) -> str:
    """A day in UTC (epoch seconds)."""
    return f"{datetime.fromtimestamp(at, UTC):%d %B %Y} (UTC)" if at else "–"


def shorten(id: str) -> str:  # noqa: A002
    """An id that fits into a table."""
    return id if len(id) <= 20 else f"{id[:11]}…{id[-6:]}"


def object_link(id: str | None) -> Html:  # noqa: A002
    """A link to an object's page."""
    if not id:
        return h("span.quiet", "–")
    return h("a.id", shorten(id), href=f"/objects/{id}", title=id)


def table(name: str, columns: Sequence[str], rows: Iterable[Sequence[Content]], empty: str) -> Html:
    """A table that scrolls within itself, or `empty` where it has no rows."""
    body = [h("tr", [h("td", cell) for cell in row]) for row in rows]
    if not body:
        return h("p.empty", empty)
    head = h("thead", h("tr", [h("th", column, scope="col") for column in columns]))
    return h(
        "div.scroll",
        h("table", head, h("tbody", body)),
        tabindex="0",
        role="region",
        aria_label=name,
    )


def facts(*pairs: tuple[str, Content]) -> Html:
    """Names with their values."""
    return h("dl.facts", [h("div", h("dt", name), h("dd", value)) for name, value in pairs])


def form(action: str, *content: Content, button: str, look: str = "", **attributes: str) -> Html:
    """A form that is sent by `button`."""
    send = h(f"button{look}", button, type="submit")
    return h("form", content, send, method="post", action=action, **attributes)


def entry(label: str, name: str, *, hint: str = "", **attributes: str | int | bool | None) -> Html:
    """A labelled input."""
    field = h("input", name=name, **attributes)
    return h("label.field", h("span", label, hint and h("small", hint)), field)


def choice(
    label: str, name: str, options: Iterable[tuple[str, str]], chosen: str = "", hint: str = ""
) -> Html:
    """A labelled list of (value, text) to choose from."""
    listed = [h("option", text, value=value, selected=value == chosen) for value, text in options]
    return h(
        "label.field", h("span", label, hint and h("small", hint)), h("select", listed, name=name)
    )


def web_address(url: str | None) -> str | None:
    """`url` if a browser may be led there."""
    return url if url and url.startswith(("https://", "http://")) else None


def fragment(*content: Content) -> Html:
    """Several pieces without an element around them."""
    return render(content)

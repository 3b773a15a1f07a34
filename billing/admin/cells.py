"""What the admin's tables and pages show: labels, money, times, links, JSON.

The functions that end in `_column` make a column of a field. Django's admin takes it as
a method of a ModelAdmin, in lists and on detail pages alike.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from django.contrib.admin.utils import quote as quote_pk
from django.db.models import Model
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import RFC3986_SUBDELIMS
from django.utils.safestring import SafeString, mark_safe

from billing.addresses import address
from billing.formatting import (
    format_age,
    format_money,
    iso_time,
    pretty_json,
)

EMPTY = "–"
LONG_ID = 18  # characters, more than which a list shortens
BRIEF = 60  # characters of a text that a list shows
A_ROW = "A-ROW"  # stands for a row's key in the address of all pages of a table
LINK = "text-primary-600 dark:text-primary-400 underline"
DASHBOARD = "https://dashboard.stripe.com"

# Where Stripe's dashboard shows an object; what is not listed is found by its search.
DASHBOARD_PAGES = {
    "ch": "payments",
    "cus": "customers",
    "evt": "events",
    "in": "invoices",
    "pi": "payments",
    "price": "prices",
    "prod": "products",
    "sub": "subscriptions",
}

# The tone of each status, in Unfold's words for colours. The words themselves say it too.
TONES = {
    "active": "success",
    "applied": "success",
    "failed": "danger",
    "dead": "danger",
    "granted": "success",
    "incomplete": "warning",
    "lost": "danger",
    "needs_response": "warning",
    "open": "warning",
    "paid": "success",
    "past_due": "warning",
    "paused": "warning",
    "pending": "info",
    "processed": "success",
    "set_aside": "warning",
    "started": "warning",
    "succeeded": "success",
    "trialing": "success",
    "unattributed": "warning",
    "uncollectible": "danger",
    "unpaid": "danger",
    "unpriced": "warning",
    "won": "success",
}

Column = Callable[[Any, Any], str]


@lru_cache(maxsize=1_000, typed=True)  # a SafeString is another text than the str that equals it
def label(text: str, tone: str = "") -> SafeString:
    """Words on a coloured ground. `tone`: success, info, warning, danger or none."""
    return mark_safe(  # noqa: S308  (rendered by a template, which escapes)
        render_to_string("unfold/helpers/label.html", {"text": text, "type": tone}).strip()
    )


def status_label(status: str, words: str = "") -> SafeString:
    return label(words or status.replace("_", " "), TONES.get(status, ""))


def button(url: str, icon: str, title: str, variant: str = "default") -> SafeString:
    """A link that looks like Unfold's button."""
    return format_html(_button(variant), url, icon, title)


@lru_cache
def _button(variant: str) -> str:
    """Rendered once: a page has a dozen, and a template takes a millisecond for each."""
    content = mark_safe('<span class="material-symbols-outlined" aria-hidden="true">{}</span>{}')
    return render_to_string(
        "unfold/components/button.html", {"href": "{}", "variant": variant, "children": content}
    )


def link(url: str, text: str, *, outside: bool = False) -> SafeString:
    """A link; one to the `outside` opens in a tab of its own and says so."""
    if outside:
        return format_html(
            '<a href="{}" class="{}" target="_blank" rel="noopener noreferrer">{} ↗</a>',
            url,
            LINK,
            text,
        )
    return format_html('<a href="{}" class="{}">{}</a>', url, LINK, text)


def quick_link(url: str, text: str, look: str = LINK) -> str:
    """The same, or the text alone without a `url`, as escaped HTML: format_html takes long for the
    thousands of cells that a page may have. `look`: the classes of the link."""
    words = escape(text)
    return f'<a href="{escape(url)}" class="{look}">{words}</a>' if url else words


def changelist_url(model: type[Model], **query: str) -> str:
    """A model's list, filtered by `query`."""
    url = address(f"admin:{model._meta.label_lower.replace('.', '_')}_changelist")
    return f"{url}?{urlencode(query)}" if query else url


def page_url(row: Model) -> str:
    """A row's own page."""
    pattern = address(f"admin:{row._meta.label_lower.replace('.', '_')}_change", A_ROW)
    return pattern.replace(A_ROW, quote(str(quote_pk(row.pk)), safe=RFC3986_SUBDELIMS + "/~:@"))


def open_url(**query: str) -> str:
    """The page of what has a Stripe id (`id`) or is a user (`user`), whichever it is."""
    return f"{address('admin:billing_open')}?{urlencode(query)}"


def stripe_id(value: str | None, *, words: str = "") -> str:
    """A Stripe id as a link to our page about the object, shortened or in other `words`."""
    if not value:
        return EMPTY
    return format_html(
        '<a href="{}" class="{} whitespace-nowrap" title="{}">{}</a>',
        open_url(id=value),
        LINK,
        value,
        words or shorten(value),
    )


def shorten(value: str) -> str:
    """A long id by its beginning and end, the parts that people compare."""
    return value if len(value) <= LONG_ID else f"{value[: LONG_ID - 7]}…{value[-6:]}"


def user(value: str | None) -> str:
    """A user's id as a link to the page of the customer."""
    return link(open_url(user=value), shorten(value)) if value else EMPTY


def dashboard_url(value: str, *, livemode: bool) -> str:
    """The object's page in Stripe's dashboard."""
    mode = DASHBOARD if livemode else f"{DASHBOARD}/test"
    page = DASHBOARD_PAGES.get(value.partition("_")[0])
    if page is None:
        return f"{mode}/search?{urlencode({'query': value})}"
    return f"{mode}/{page}/{quote(value, safe='')}"


def dashboard_link(value: str | None, *, livemode: bool) -> str:
    if not value:
        return EMPTY
    return link(dashboard_url(value, livemode=livemode), "Open in Stripe", outside=True)


def time(moment: datetime | None) -> str:
    """A time in UTC, with its ISO form and age to be read on demand."""
    if moment is None:
        return EMPTY
    return format_html(
        '<time datetime="{0}" title="{0}, {1}" class="whitespace-nowrap">{2}</time>',
        iso_time(moment),
        format_age(moment, timezone.now()) if moment <= timezone.now() else "in the future",
        moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
    )


def money(amount: int | None, currency: str) -> str:
    return EMPTY if amount is None else no_wrap(format_money(amount, currency))


def no_wrap(text: str) -> str:
    """A text that stays on one line."""
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


def signed(amount: int) -> str:
    """Credits given or taken: `+50`, `-3`, `0`."""
    return f"{amount:+,d}" if amount else "0"


def json_block(value: Any) -> SafeString:
    """JSON to be read: indented, escaped, and scrolled within itself where it is long."""
    return format_html(
        '<pre class="text-xs overflow-auto" tabindex="0" style="white-space: pre-wrap;'
        ' overflow-wrap: anywhere; max-height: 40rem; font-family: monospace">{}</pre>',
        pretty_json(value),
    )


def paragraph(text: str) -> str:
    """A text of several lines, such as an error, as it was written."""
    return format_html('<span style="white-space: pre-wrap">{}</span>', text) if text else EMPTY


def brief(text: str) -> str:
    """The beginning of a text, and the whole of it to be read on demand."""
    if len(text) <= BRIEF:
        return text or EMPTY
    return format_html('<span title="{}">{}…</span>', text, text[: BRIEF - 1].rstrip())


def column(read: Callable[[Any], str], title: str, order: str | None = None) -> Column:
    """A column with what `read` makes of a row. `order` is the field it can be sorted by."""

    def show(self: Any, row: Any) -> str:
        return read(row)

    attributes: Mapping[str, Any] = {"short_description": title, "admin_order_field": order}
    for name, value in attributes.items():
        setattr(show, name, value)
    return show


def text_column(field: str, title: str) -> Column:
    return column(lambda row: str(getattr(row, field) or EMPTY), title)


def id_text_column(field: str, title: str) -> Column:
    """An id as text, for a list's first column, which is a link itself."""
    return column(
        lambda row: format_html(
            '<span title="{}" class="whitespace-nowrap">{}</span>',
            getattr(row, field),
            shorten(getattr(row, field)),
        ),
        title,
    )


def brief_column(field: str, title: str) -> Column:
    return column(lambda row: brief(getattr(row, field)), title)


def paragraph_column(field: str, title: str) -> Column:
    return column(lambda row: paragraph(getattr(row, field)), title)


def time_column(field: str, title: str) -> Column:
    return column(lambda row: time(getattr(row, field)), f"{title} (UTC)", field)


def yes_no_column(field: str, title: str) -> Column:
    return column(lambda row: "yes" if getattr(row, field) else "no", title)


def stripe_id_column(field: str, title: str) -> Column:
    return column(lambda row: stripe_id(getattr(row, field)), title)


def customer_column(field: str = "stripe_customer_id") -> Column:
    """The customer by email where the list has it (ReadOnlyAdmin.customer_field)."""
    return column(
        lambda row: stripe_id(getattr(row, field), words=getattr(row, "customer_email", "") or ""),
        "Customer",
    )


def user_column(title: str = "User") -> Column:
    return column(lambda row: user(row.user_id), title)


def status_column(title: str = "Status") -> Column:
    return column(
        lambda row: status_label(
            row.status,
            row.get_status_display() if hasattr(row, "get_status_display") else "",
        ),
        title,
    )


def money_column(field: str, title: str) -> Column:
    return column(lambda row: money(getattr(row, field), row.currency), title)


def dashboard_column(field: str) -> Column:
    return column(
        lambda row: dashboard_link(getattr(row, field), livemode=row.livemode), "At Stripe"
    )


def json_column(field: str, title: str) -> Column:
    return column(lambda row: json_block(getattr(row, field)), title)


def incident_column() -> Column:
    """The incident that a row belongs to."""
    return column(
        lambda row: link(page_url(row.incident), row.incident.title) if row.incident else EMPTY,
        "Incident",
    )


def mode_column() -> Column:
    return column(lambda row: "live" if row.livemode else "test", "Mode")

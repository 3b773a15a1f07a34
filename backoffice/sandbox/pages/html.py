"""HTML that is escaped by construction: whatever is not `Html` already is text."""

import html
from collections.abc import Iterable
from typing import TypeAlias

VOID = frozenset(["br", "hr", "img", "input", "link", "meta"])


class Html(str):
    """Text that is HTML and is not escaped again."""

    __slots__ = ()


Content: TypeAlias = "str | int | Iterable[Content] | None"
"""What an element may hold: HTML, text (which is escaped), several of them, or nothing."""


def render(content: Content) -> Html:
    """`content` as HTML."""
    if isinstance(content, Html):
        return content
    if content is None:
        return Html()
    if isinstance(content, str | int):
        return Html(html.escape(str(content)))
    return Html("".join(render(one) for one in content))


def h(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Html:
    """The element `name`, which may carry classes: `h("p.quiet", "Hello", id="greeting")`.

    An attribute that is None or False is left out, one that is True has no value; `for_` is
    written `for`, and `aria_label` `aria-label`.
    """
    tag, *classes = name.split(".")
    if classes:
        attributes["class"] = " ".join(classes)
    written = "".join(
        _attribute(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{render(content)}</{tag}>")


def _attribute(name: str, value: str | int) -> str:
    return f" {name}" if value is True else f' {name}="{html.escape(str(value))}"'

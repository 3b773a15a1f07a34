"""Every address that the project answers at, with something in place of what it asks for."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

ROUTE = re.compile(r"<(?:\w+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<\w+>[^)]*\)")
Pattern = URLPattern | URLResolver


def addresses() -> list[str]:
    """One of each URL pattern, in the order in which they are tried."""
    return sorted({f"/{path}" for path in _below(get_resolver().url_patterns, "")})


def _below(patterns: Sequence[Any], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        path = prefix + _filled(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, path)
        else:
            yield path


def _filled(pattern: RoutePattern | RegexPattern) -> str:
    text = str(pattern)
    if isinstance(pattern, RoutePattern):
        return ROUTE.sub("1", text)
    return GROUP.sub("1", text).removeprefix("^").removesuffix("$").replace("/?", "/")

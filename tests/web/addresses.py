"""Every address that the project answers at, with something in place of what it asks for."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

ROUTE = re.compile(r"<(?:\w+:)?(\w+)>")
GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)")
Fill = Callable[[str, str], Sequence[str]]


def one(before: str, name: str) -> Sequence[str]:
    """In place of everything that an address asks for."""
    return ["1"]


def addresses(fill: Fill = one) -> list[str]:
    """Those of each URL pattern. `fill` says what stands after a beginning, for a name."""
    return sorted(set(_below(get_resolver().url_patterns, ["/"], fill)))


def _below(patterns: Sequence[Any], prefixes: Sequence[str], fill: Fill) -> Iterator[str]:
    for pattern in patterns:
        paths = [path for prefix in prefixes for path in _filled(prefix, pattern.pattern, fill)]
        if isinstance(pattern, URLResolver):
            yield from _below(pattern.url_patterns, paths, fill)
        elif isinstance(pattern, URLPattern):
            yield from paths


def _filled(prefix: str, pattern: RoutePattern | RegexPattern, fill: Fill) -> list[str]:
    text = str(pattern)
    if isinstance(pattern, RegexPattern):
        text = GROUP.sub(r"<\1>", text).removeprefix("^").removesuffix("$").replace("/?", "/")
    paths = [prefix]
    for number, part in enumerate(ROUTE.split(text)):
        if number % 2:
            paths = [path + value for path in paths for value in fill(path, part)]
        else:
            paths = [path + part for path in paths]
    return paths

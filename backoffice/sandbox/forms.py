"""Stripe's form encoding: nested brackets, `[]` and `[0]` arrays, in any order."""

import re
from urllib.parse import parse_qsl

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.types import Json

KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
PART = re.compile(r"\[([^\[\]]*)\]")
MAX_DEPTH = 12


def parse_form(text: str) -> Json:
    """The pairs of a query string or form body as nested dicts.

    Arrays become dicts with the keys "0", "1", ... (their annotation later says that they are
    arrays). In `a[][x]` a new element starts when the last one already has an `x`.
    """
    parsed: Json = {}
    for key, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
        match = KEY.match(key)
        if not match:
            raise invalid(f"Invalid parameter name: {key}", key, "parameter_unknown")
        path = [match[1], *PART.findall(match[2])]
        if len(path) > MAX_DEPTH:
            raise invalid(f"Parameter is nested too deeply: {key}", match[1])
        _put(parsed, path, value, key)
    return parsed


def _put(into: Json, path: list[str], value: str, key: str) -> None:
    for position, part in enumerate(path[:-1]):
        if part == "":
            part = _element(into, path[position + 1 :])
        into = into.setdefault(part, {})
        if not isinstance(into, dict):
            raise invalid(f"Invalid parameter: {key} is both a value and an object", path[0])
    last = path[-1] or str(len(into))
    if isinstance(into.get(last), dict):
        raise invalid(f"Invalid parameter: {key} is both a value and an object", path[0])
    into[last] = value


def _element(array: Json, rest: list[str]) -> str:
    """The index that `[]` followed by the path `rest` stands for."""
    if not array:
        return "0"
    last = str(len(array) - 1)
    node = array.get(last)
    for part in rest:
        if part == "":
            return last
        if not isinstance(node, dict) or part not in node:
            return last
        node = node[part]
    return str(len(array))

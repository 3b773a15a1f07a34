"""The calls of Stripe's API as the `stripe` package makes them, read from its source."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import stripe


@dataclass(frozen=True)
class PackageCall:
    """One call: the type of its parameters ('' for none), and of its answer."""

    params: str
    answer: str


@cache
def package_calls() -> dict[tuple[str, str], PackageCall]:
    """Every call by (method, path), with `{}` for each id in the path."""
    root = Path(str(stripe.__file__)).parent
    found = {}
    for file in root.rglob("*_service.py"):
        within = ".".join(file.relative_to(root).parts[:-1])
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                found.update(calls_of(node, within))
    return found


def calls_of(
    function: ast.FunctionDef, within: str
) -> Iterator[tuple[tuple[str, str], PackageCall]]:
    """The call that a method of a service makes; `within` is the part of the package."""
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "self._request"):
            continue
        method, path = (first_text(argument) for argument in node.args[:2])
        hints = [ast.unparse(a.annotation) for a in function.args.args if a.annotation]
        params = next((m[1] for h in hints if (m := re.search(r"['\"](\w+Params)['\"]", h))), "")
        answer = ast.unparse(function.returns).strip("'\"") if function.returns else ""
        name = f"{within}.{params}" if within and params else params
        yield (method.upper(), shape_of(path)), PackageCall(name, answer)


def first_text(node: ast.expr) -> str:
    """The text literal in an expression such as `"/v1/customers/{customer}".format(...)`."""
    return next(
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def shape_of(path: str) -> str:
    """A path without the names of its ids."""
    return re.sub(r"\{\w+\}", "{}", path)

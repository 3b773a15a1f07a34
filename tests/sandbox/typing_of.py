"""Checks JSON against the `stripe` package's own classes: names, nesting, types, nullability."""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import stripe
from stripe._list_object import ListObject
from stripe._object_classes import get_object_class
from stripe._stripe_object import StripeObject, UntypedStripeObject


@cache
def namespace(module: str) -> dict[str, Any]:
    """What annotations of `module` may name: its own names, and those imported for types only."""
    loaded = sys.modules[module]
    names = dict(vars(stripe))
    tree = ast.parse(Path(str(loaded.__file__)).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stripe"):
            source = importlib.import_module(str(node.module))
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(source, alias.name, None)
    return names | vars(loaded)


@cache
def fields_of(resource: type) -> dict[str, Any]:
    """The annotated fields of a class of the package."""
    found: dict[str, Any] = {}
    for base in reversed(resource.__mro__):
        if not base.__module__.startswith("stripe.") or base.__module__ in (
            "stripe._stripe_object",
            "stripe._api_resource",
        ):
            continue
        for name, hint in inspect.get_annotations(base).items():
            if "ClassVar" in str(hint) or name.startswith("_"):
                continue
            found[name] = evaluated(hint, base)
    return found


def evaluated(hint: Any, within: type) -> Any:
    """An annotation with its strings resolved."""
    if isinstance(hint, ForwardRef):
        hint = hint.__forward_arg__
    if isinstance(hint, str):
        # Class bodies may annotate with their own nested classes.
        return evaluated(eval(hint, namespace(within.__module__), dict(vars(within))), within)  # noqa: S307
    arguments = get_args(hint)
    if get_origin(hint) in (None, Literal) or not arguments:
        return hint
    resolved = tuple(evaluated(argument, within) for argument in arguments)
    origin = get_origin(hint)
    return Union[resolved] if origin is Union else origin[resolved]  # noqa: UP007


def problems(value: Any, hint: Any, path: str) -> Iterator[str]:
    """What is wrong with `value` where the package says `hint`."""
    origin = get_origin(hint)
    if origin is Union:
        tries = [list(problems(value, option, path)) for option in get_args(hint)]
        if all(tries):
            shapes = [found for found in tries if len(found) != 1 or " is not " not in found[0]]
            yield from (shapes or tries)[0]
    elif hint is type(None):
        if value is not None:
            yield f"{path}: {value!r} is not null"
    elif origin is Literal:
        if value not in get_args(hint):
            yield f"{path}: {value!r} is not one of {get_args(hint)}"
    elif origin in (list, tuple):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is not a list"
        else:
            for index, entry in enumerate(value):
                yield from problems(entry, get_args(hint)[0], f"{path}[{index}]")
    elif origin is ListObject:
        yield from list_problems(value, get_args(hint)[0], path)
    elif origin is UntypedStripeObject or hint is UntypedStripeObject:
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is not an object"
        elif origin and get_args(hint)[0] is str:
            yield from (
                f"{path}.{k}: {v!r} is not a string"
                for k, v in value.items()
                if not isinstance(v, str)
            )
    elif inspect.isclass(hint) and issubclass(hint, StripeObject):
        yield from object_problems(value, hint, path)
    elif hint is not Any:
        wanted = {float: (int, float), Decimal: str}.get(hint, hint)
        if not isinstance(value, wanted) or (hint in (int, float) and isinstance(value, bool)):
            yield f"{path}: {value!r} is not {hint}"


def list_problems(value: Any, entry_hint: Any, path: str) -> Iterator[str]:
    """What is wrong with an embedded list object."""
    if not isinstance(value, dict) or set(value) != {"object", "data", "has_more", "url"}:
        yield f"{path}: is not a list object"
        return
    for index, entry in enumerate(value["data"]):
        yield from problems(entry, entry_hint, f"{path}.data[{index}]")


def object_problems(value: Any, resource: type, path: str) -> Iterator[str]:
    """What is wrong with `value` as a `resource`."""
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is not a {resource.__qualname__}"
        return
    fields = fields_of(resource)
    yield from (
        f"{path}.{name}: {resource.__qualname__} has no such field"
        for name in value
        if name not in fields
    )
    for name, hint in fields.items():
        if name in value:
            yield from problems(value[name], hint, f"{path}.{name}")
        elif type(None) not in get_args(hint):
            yield f"{path}.{name}: missing"


def resource_problems(value: dict[str, Any]) -> list[str]:
    """What is wrong with a resource, by its own `object`."""
    kind = value["object"]
    return list(object_problems(value, get_object_class("V1", kind), kind))

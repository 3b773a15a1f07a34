"""Parameters of a request, checked against the `stripe` package's own parameter types.

A request that the sandbox accepts is one that the package's types allow: names, nesting and value
types all come from the `TypedDict` of the call. Strings become integers, booleans and lists where
the annotation says so.
"""

import importlib
import re
import types
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stripe import RequestOptions

from backoffice.sandbox.errors import ApiError, invalid, missing_parameter
from backoffice.sandbox.types import Json

INDEX = re.compile(r"[0-9]{1,6}")
INTEGER = re.compile(r"-?[0-9]{1,18}")
MOST = 999_999_999_999
MOST_QUANTITY = 999_999
"""The largest numbers, so that an amount, a quantity and their product fit into 64 bits."""
LITERAL: object = Literal
OPTIONS = set(RequestOptions.__annotations__)
BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


@cache
def parameter_type(name: str) -> Any:
    """The `TypedDict` called `name` in `stripe.params` (`checkout.SessionListParams` in a part)."""
    package, _, attribute = name.rpartition(".")
    module = importlib.import_module(".".join(filter(None, ("stripe.params", package))))
    return getattr(module, attribute)


@cache
def fields(typed_dict: Any) -> dict[str, Any]:
    """The parameters of `typed_dict` with their types, without the client's own options."""
    hints = get_type_hints(typed_dict, localns={"StripeContext": Any, "Mapping": Mapping})
    return {name: hint for name, hint in hints.items() if name not in OPTIONS}


def check(
    raw: Mapping[str, Any], types_of: Iterable[str], supported: frozenset[str], extra: Json
) -> Json:
    """`raw` as typed values.

    `types_of` names parameter types, `extra` adds parameters that the official CLI sends and the
    package does not know (name -> type). Names that no type knows are `parameter_unknown`; names
    that Stripe knows and the sandbox does not simulate are refused rather than ignored.
    """
    known: Json = dict(extra)
    required: set[str] = set()
    for name in types_of:
        typed_dict = parameter_type(name)
        known |= fields(typed_dict)
        required |= typed_dict.__required_keys__ & known.keys()
    checked = {}
    for name, value in raw.items():
        if name not in known:
            raise unknown(name)
        if name not in supported and name not in extra and name != "expand":
            raise invalid(f"This sandbox does not simulate the parameter {name}.", name)
        checked[name] = convert(value, known[name], name)
    for name in sorted(required):
        if name not in checked:
            raise missing_parameter(name)
    return checked


def unknown(name: str) -> ApiError:
    """The error for a parameter that Stripe does not have."""
    return invalid(f"Received unknown parameter: {name}", name, "parameter_unknown")


def convert(value: Any, hint: Any, name: str) -> Any:
    """`value`, a string or a dict of the form parser, as `hint` asks; 400 where it cannot be."""
    origin: object = get_origin(hint)
    if origin is Union or origin is types.UnionType:
        return _first_fit(value, get_args(hint), name)
    if isinstance(value, dict):
        return _convert_object(value, hint, name)
    if origin is LITERAL:
        if value in get_args(hint):
            return value
        choices = ", ".join(str(choice) for choice in get_args(hint))
        raise invalid(f"Invalid {name}: must be one of {choices}", name)
    if hint is bool:
        if value not in BOOLEANS:
            raise invalid(f"Invalid boolean: {value}", name, "parameter_invalid_boolean")
        return BOOLEANS[value]
    if hint is int:
        return _integer(value, name)
    if hint is float or hint is Decimal:
        return _number(value, hint, name)
    if hint is str or hint is Any:
        return value
    if value == "":
        raise invalid(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to "
            f"unset a parameter; however '{name}' cannot be unset.",
            name,
            "parameter_invalid_empty",
        )
    kind = "array" if origin is list else "object"
    raise invalid(f"Invalid {kind}", name)


def _integer(value: str, name: str) -> int:
    most = MOST_QUANTITY if name.endswith(("quantity", "quantity]")) else MOST
    if not INTEGER.fullmatch(value) or abs(int(value)) > most:
        raise invalid(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def _number(value: str, hint: type, name: str) -> Any:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not abs(number) <= MOST:  # nor is not-a-number
        raise invalid(f"Invalid decimal: {value}", name, "parameter_invalid_decimal")
    return value if hint is Decimal else number


def _first_fit(value: Any, hints: tuple[Any, ...], name: str) -> Any:
    """`value` as the first of `hints` that takes it; a literal or number wins over free text.

    A `Literal[...] | str` of the package stands for an enumeration that may grow, and Stripe
    refuses values outside it: where a literal other than '' is offered, free text is not.
    """
    options = [hint for hint in hints if hint is not type(None)]
    enumerated = [hint for hint in options if get_origin(hint) is LITERAL]
    if any(set(get_args(hint)) - {""} for hint in enumerated):
        options = [hint for hint in options if hint is not str]
    options.sort(key=lambda hint: (get_origin(hint) is not LITERAL, hint is str))
    failure: ApiError | None = None
    for hint in options:
        try:
            return convert(value, hint, name)
        except ApiError as error:
            nested = error.error.get("param") != name
            failure = error if failure is None or nested else failure
    raise failure or invalid(f"Invalid value for {name}", name)


def _convert_object(value: Json, hint: Any, name: str) -> Any:
    origin: object = get_origin(hint)
    if origin is list:
        (inner,) = get_args(hint)
        if not all(INDEX.fullmatch(key) for key in value):
            raise invalid("Invalid array", name)
        ordered = sorted(value.items(), key=lambda item: int(item[0]))
        return [convert(element, inner, f"{name}[{index}]") for index, element in ordered]
    if origin is dict:
        if any(isinstance(inner, dict) for inner in value.values()):
            raise invalid("Invalid object: values must be strings", name)
        return dict(value)
    if not hasattr(hint, "__required_keys__"):
        raise invalid(f"Invalid value for {name}", name)
    known = fields(hint)
    converted = {}
    for key, inner in value.items():
        if key not in known:
            raise unknown(f"{name}[{key}]")
        converted[key] = convert(inner, known[key], f"{name}[{key}]")
    for key in sorted(hint.__required_keys__):
        if key not in converted:
            raise missing_parameter(f"{name}[{key}]")
    return converted

"""What several families of resources do alike."""

from collections.abc import Iterable
from typing import Any

from backoffice.sandbox.errors import invalid, missing_parameter
from backoffice.sandbox.types import Json

MAX_METADATA_KEYS = 50
LONGEST_METADATA_KEY = 40
LONGEST_METADATA_VALUE = 500


def chosen(params: Json, names: str) -> Json:
    """Those of `names` (apart by spaces) that were sent; '' means null."""
    return {
        name: None if params[name] == "" else params[name]
        for name in names.split()
        if name in params
    }


def metadata(old: Json, sent: Any) -> Json:
    """`old` metadata with what was sent: '' removes a key, or everything."""
    if sent is None:
        return old
    if sent == "":
        return {}
    merged = {key: value for key, value in {**old, **sent}.items() if value != ""}
    if len(merged) > MAX_METADATA_KEYS:
        raise invalid("You may only specify up to 50 metadata keys.", "metadata")
    for key, value in merged.items():
        if len(key) > LONGEST_METADATA_KEY:
            raise invalid(f"Metadata keys may be at most 40 characters: {key}", f"metadata[{key}]")
        if len(value) > LONGEST_METADATA_VALUE:
            message = "Metadata values may be at most 500 characters"
            raise invalid(f"{message}: {key}", f"metadata[{key}]")
    return merged


def with_metadata(old: Json, params: Json, names: str) -> Json:
    """The changes of an update: `names` that were sent, and the merged metadata."""
    changes = chosen(params, names)
    if "metadata" in params:
        changes["metadata"] = metadata(old["metadata"], params["metadata"])
    return changes


def need(params: Json, names: Iterable[str]) -> None:
    """Stripe's error for the first of `names` that is missing."""
    for name in names:
        if params.get(name) in (None, ""):
            raise missing_parameter(name)


def positive(amount: int, param: str) -> int:
    """`amount` if it can be charged."""
    if amount < 1:
        raise invalid(
            "This value must be greater than or equal to 1.", param, "parameter_invalid_integer"
        )
    if amount > 99_999_999:
        raise invalid("Amount must be no more than $999,999.99", param, "amount_too_large")
    return amount

"""What every factory of a resource uses."""

from typing import Any

from backoffice.sandbox.types import Json

EMPTY_ADDRESS: Json = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}


def filled(defaults: Json, given: dict[str, Any]) -> Json:
    """`defaults` with `given` laid over them; an unknown field is a `TypeError`."""
    if unknown := given.keys() - defaults.keys():
        raise TypeError(f"{defaults['object']} has no field {', '.join(sorted(unknown))}")
    defaults.update(given)
    return defaults


def listing(data: list[Any], url: str, *, has_more: bool = False) -> Json:
    """A list object as it is embedded in another resource."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}

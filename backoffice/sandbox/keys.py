"""API keys: whose mode a request is in, and what a restricted key may do."""

import base64
import binascii
import re
from dataclasses import dataclass

import orjson
from starlette.requests import Request

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.routing import ROUTES, Route
from backoffice.sandbox.shapes.platform import ACCOUNT_ID
from backoffice.sandbox.store import Store
from backoffice.sandbox.types import Json

KEY = re.compile(r"(?P<kind>sk|rk|pk)_(?P<mode>test|live)_[A-Za-z0-9]{24,}")
NAMESPACES = ("billing_portal", "checkout", "test_helpers")
LEVELS = ("none", "read", "write")


@dataclass(frozen=True, slots=True)
class Key:
    """An API key that is well formed: secret (`sk`), restricted (`rk`) or publishable (`pk`)."""

    text: str
    kind: str
    livemode: bool

    @property
    def shown(self) -> str:
        """The key as an error may name it."""
        return f"{self.text[:8]}{'*' * 8}{self.text[-4:]}"


def credentials(request: Request) -> str:
    """What was sent as Bearer token or as Basic user name; '' for nothing that can be read."""
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    sent = sent.strip()
    if scheme.lower() == "bearer":
        return sent
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(sent, validate=True).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def key_of(request: Request) -> Key | None:
    """The key of a request, None where it has none that is well formed."""
    match = KEY.fullmatch(credentials(request))
    return match and Key(match[0], match["kind"], match["mode"] == "live")


def authorize(request: Request, route: Route, store: Store) -> None:
    """Stripe's 401 or 403 unless the request's key may call `route`.

    Any well-formed secret key may do everything; a restricted one must have been made.
    """
    key = key_of(request)
    if key is None:
        raise _unauthenticated(credentials(request))
    if key.kind == "pk":
        raise ApiError(
            401,
            "This API call cannot be made with a publishable API key. Please use a secret API key. "
            "You can find a list of your API keys at https://dashboard.stripe.com/account/apikeys.",
            code="secret_key_required",
        )
    if key.kind == "rk":
        _check_permission(key, route, store)


def _unauthenticated(sent: str) -> ApiError:
    if not sent:
        return ApiError(
            401,
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')"
            ".",
        )
    shown = f"{sent[:8]}{'*' * 8}{sent[-4:]}" if len(sent) > 16 else "*" * len(sent)
    return ApiError(401, f"Invalid API Key provided: {shown}")


def _check_permission(key: Key, route: Route, store: Store) -> None:
    rows = store.rows("SELECT permissions FROM keys WHERE key = ?", [key.text])
    if not rows:
        raise ApiError(401, f"Invalid API Key provided: {key.shown}")
    family = family_of(route.path)
    needed = "read" if route.method == "GET" else "write"
    granted = orjson.loads(rows[0][0]).get(family, "none")
    if LEVELS.index(granted) < LEVELS.index(needed):
        raise ApiError(
            403,
            f"The provided key '{key.shown}' does not have the required permissions for this "
            f"endpoint on account '{ACCOUNT_ID}'. Having the "
            f"'rak_{family.removesuffix('s')}_{needed}' permission would allow this request to "
            "continue.",
            code="more_permissions_required",
        )


def family_of(path: str) -> str:
    """What a permission for `path` is called: `customers`, `checkout_sessions`."""
    parts = path.split("/")[2:]
    return "_".join(parts[:2]) if parts[0] in NAMESPACES else parts[0]


def make_restricted(store: Store, permissions: Json) -> str:
    """A new restricted key; `permissions` is a level (none, read, write) for each family."""
    families = {family_of(route.path) for route in ROUTES}
    for family, level in permissions.items():
        if family not in families:
            raise invalid(f"There is no permission {family}. There are: {sorted(families)}", family)
        if level not in LEVELS:
            raise invalid(f"Invalid {family}: must be one of {', '.join(LEVELS)}", family)
    key = store.ids.new("rk_test_")
    with store.transaction():
        store.db.execute(
            "INSERT INTO keys (key, permissions) VALUES (?, ?)",
            (key, orjson.dumps(permissions).decode()),
        )
    return key

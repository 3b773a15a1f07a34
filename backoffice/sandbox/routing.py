"""How a resource module declares the API calls that it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from backoffice.sandbox import params as parameters
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work


@dataclass(frozen=True, slots=True)
class Page:
    """A page of stored objects, as JSON texts that are sent as they are."""

    rows: list[str]
    has_more: bool
    url: str

    def text(self) -> str:
        """The list object as JSON."""
        more = "true" if self.has_more else "false"
        head = f'{{"object":"list","url":"{self.url}","has_more":{more},"data":['
        return f"{head}{','.join(self.rows)}]}}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its unit of work, its typed parameters, the ids in its path."""

    work: Work
    params: Json
    path: dict[str, str]

    @property
    def id(self) -> str:
        """The id in the path."""
        return self.path["id"]


Answer: TypeAlias = Json | Page
Handler: TypeAlias = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """An API call: method, path, what parameters it takes, and who answers."""

    method: str
    path: str
    handler: Handler
    types: tuple[str, ...]
    supported: frozenset[str]
    extra: Json

    def check(self, raw: Json) -> Json:
        """The parameters `raw` with their types; Stripe's error where they are wrong."""
        return parameters.check(raw, self.types, self.supported, self.extra)


ROUTES: list[Route] = []


def api(
    method: str, path: str, *types: str, supports: str = "", extra: Json | None = None
) -> Callable[[Handler], Handler]:
    """Registers a handler.

    `types` are parameter types of the `stripe` package, `supports` the names (apart by spaces)
    among them that the sandbox simulates, `extra` parameters that only the official CLI sends.
    """

    def register(handler: Handler) -> Handler:
        ROUTES.append(Route(method, path, handler, types, frozenset(supports.split()), extra or {}))
        return handler

    return register


def retrievable(kind: str, path: str, type_name: str) -> None:
    """Registers `GET path` for objects of `kind`."""

    @api("GET", path, type_name)
    def retrieve(call: Call) -> Json:
        return call.work.find(kind, call.id)

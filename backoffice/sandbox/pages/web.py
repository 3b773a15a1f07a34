"""How a page is declared and answered: guarded, in one transaction, with errors for people."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from backoffice.sandbox.app import Sandbox
from backoffice.sandbox.errors import ApiError
from backoffice.sandbox.pages import layout
from backoffice.sandbox.pages.html import Content, h
from backoffice.sandbox.work import Work

MAX_FORM = 64 * 1024
SECURITY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the Origin of forms
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser: its unit of work and, of a POST, the fields of its form."""

    sandbox: Sandbox
    work: Work
    request: Request
    form: dict[str, str]
    problem: ApiError | None = None
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    """What is done once the transaction is committed."""

    @property
    def id(self) -> str:
        """The id in the path."""
        return str(self.request.path_params["id"])

    def entered(self, name: str) -> str:
        """What was entered, without blanks around it; '' where nothing was."""
        return self.form.get(name, "").strip()


Handler: TypeAlias = Callable[[Visit], Response]
Respond: TypeAlias = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A page, or a form's target; `again` shows the form with what was wrong."""

    method: str
    path: str
    handler: Handler
    again: Handler | None


PAGES: list[PageRoute] = []


def page(method: str, path: str, again: Handler | None = None) -> Callable[[Handler], Handler]:
    """Registers a handler; `again` is the page that shows its errors."""

    def register(handler: Handler) -> Handler:
        PAGES.append(PageRoute(method, path, handler, again))
        return handler

    return register


def show(title: str, *body: Content, status: int = 200, refresh: str | None = None) -> Response:
    """A whole page; `refresh` says after how many seconds it leads where (`3; url=...`)."""
    return Response(layout.document(title, body, refresh), status, media_type="text/html")


def go(path: str) -> Response:
    """Leads the browser to another page of the sandbox after a form."""
    return RedirectResponse(path, 303)


def guarded(sandbox: Sandbox, respond: Respond) -> Callable[[Request], Awaitable[Response]]:
    """`respond` as an endpoint that other websites cannot reach, with the headers of a page."""

    async def answer(request: Request) -> Response:
        try:
            response = refusal(request, sandbox.base_url) or await respond(request)
        except ClientDisconnect:
            response = Response(status_code=400)
        response.headers.update(SECURITY)
        return response

    return answer


def http_route(sandbox: Sandbox, route: PageRoute) -> Route:
    """The Starlette route of a page."""

    async def respond(request: Request) -> Response:
        form = await _form(request) if request.method == "POST" else {}
        if form is None:
            return _stop(413, "This form is too large", "Nothing was done. Enter less.")
        world = mode_of(sandbox, request)
        response = _run(world, route, request, form)
        world.store.new_deliveries()
        return response

    return Route(route.path, guarded(sandbox, respond), methods=[route.method])


def mode_of(sandbox: Sandbox, request: Request) -> Sandbox:
    """The mode that knows the id in the path; test mode unless live mode alone knows it."""
    name, other = request.path_params.get("id"), sandbox.other
    if name is None or other is None or sandbox.store.load(name) is not None:
        return sandbox
    return other if other.store.load(name) is not None else sandbox


def refusal(request: Request, base_url: str) -> Response | None:
    """The refusal of a request that another website makes in somebody's browser, or None.

    A foreign `Host` is a name that was bound to this machine's address (DNS rebinding); a form
    of another site shows by `Origin` or `Sec-Fetch-Site`, which no page can forge.
    """
    port = urlsplit(base_url).port
    host = request.headers.get("host", "")
    if host not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        return _stop(403, "This is not the sandbox's address", f"Open {base_url} instead.")
    origin = request.headers.get("origin", f"http://{host}")
    site = request.headers.get("sec-fetch-site", "none")
    foreign = origin != f"http://{host}" or site not in ("same-origin", "none")
    if request.method == "POST" and foreign:
        advice = "Nothing was done. Open the page here and send its own form."
        return _stop(403, "Another website sent this form", advice)
    return None


def _stop(status: int, title: str, advice: str) -> Response:
    """A page that only says why there is nothing else on it."""
    home = h("p", h("a.button", "To the dashboard", href="/"))
    text = h("p", advice)
    return show(title, h("section.card.narrow", h("h1", title), text, home), status=status)


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form, or None where they are too much."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), errors="replace"))


def _run(sandbox: Sandbox, route: PageRoute, request: Request, form: dict[str, str]) -> Response:
    """Answers `route`; what was wrong with a form is shown on the form's own page."""
    try:
        try:
            return _attempt(sandbox, route.handler, request, form)
        except ApiError as error:
            if route.again is None:
                raise
            return _attempt(sandbox, route.again, request, form, error)
    except ApiError as error:
        if error.status == 404:
            advice = "It may be in another data file, or the address was cut short."
            return _stop(404, "There is no such thing here", f"{error}. {advice}")
        return _stop(error.status, "This cannot be done", str(error))


def _attempt(
    sandbox: Sandbox,
    handler: Handler,
    request: Request,
    form: dict[str, str],
    problem: ApiError | None = None,
) -> Response:
    """Runs `handler` in one transaction, which a declined card does not undo."""
    named = [*request.path_params.values(), *form.values()]
    work = sandbox.work(about=named, changes=request.method == "POST")
    visit = Visit(sandbox, work, request, form, problem)
    declined: ApiError | None = None
    with sandbox.store.transaction():
        try:
            response = handler(visit)
        except ApiError as error:
            if not error.keeps_changes:
                raise
            declined = error
        work.flush()
    if declined:
        raise declined
    for act in visit.afterwards:
        act()
    if problem:
        response.status_code = problem.status
    return response

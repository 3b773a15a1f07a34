"""The HTTP side: authentication, parameters, faults, idempotency, transactions, answers."""

import asyncio
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from backoffice.sandbox import API_VERSION, idempotency, keys, resources, versions
from backoffice.sandbox.clockwork import Clockwork
from backoffice.sandbox.connections import ConnectionReset
from backoffice.sandbox.errors import ApiError
from backoffice.sandbox.expand import expand
from backoffice.sandbox.faults import Faults, RequestFault
from backoffice.sandbox.forms import parse_form
from backoffice.sandbox.idempotency import Idempotency, Kept
from backoffice.sandbox.lifecycle import clocks, settings
from backoffice.sandbox.limits import RateLimits
from backoffice.sandbox.routing import ROUTES, Answer, Call, Page, Route
from backoffice.sandbox.store import Store, as_live
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Origin, Work

LOGGER = logging.getLogger(__name__)
VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")
MAX_BODY = 1024 * 1024
REQUESTS_KEPT = 100_000

resources.load()


@dataclass
class Log:
    """The last API requests and their counts by route; not kept over a restart."""

    seq: int = 0
    requests: deque[Json] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    counters: Counter[str] = field(default_factory=Counter)

    def note(self, request: Request, route: str, status: int, request_id: str) -> None:
        """Counts one answered request."""
        self.seq += 1
        self.counters[f"{request.method} {route}"] += 1
        self.requests.append(
            {
                "seq": self.seq,
                "at": time.time(),
                "method": request.method,
                "path": request.url.path,
                "query": request.url.query,
                "route": route,
                "status": status,
                "request_id": request_id,
                "version": request.headers.get("stripe-version"),
            }
        )


@dataclass
class Sandbox:
    """What the parts of a running sandbox share: one mode, live or test, of its account.

    `other` is the other mode. They have nothing in common, not even faults.
    """

    store: Store
    base_url: str
    faults: Faults = field(default_factory=Faults)
    log: Log = field(default_factory=Log)
    other: "Sandbox | None" = None

    def __post_init__(self) -> None:
        self.idempotency = Idempotency(self.store)
        self.limits = RateLimits(self.store.livemode)
        self.clockwork = Clockwork(self.store, self._work_at)

    def mode_of(self, request: Request) -> "Sandbox":
        """This mode or the other one, whichever the request's key belongs to."""
        key = keys.key_of(request)
        foreign = key is not None and key.livemode != self.store.livemode
        return self.other if foreign and self.other else self

    def work(
        self, origin: Origin | None = None, about: Iterable[object] = (), *, changes: bool = True
    ) -> Work:
        """A unit of work at the present time.

        `about` are ids that a request names: where they belong to a test clock, its time is the
        present. Stripe's error where that clock advances and the request makes `changes`.
        """
        work = self._work_at(self.clockwork.now())
        work.origin = origin or Origin()
        found = self.store.clock_of([name for name in about if isinstance(name, str)])
        if clock := work.get(clocks.KIND, found):
            if changes:
                clocks.expect_still(clock)
            work.enter(clock)
        return work

    def change_settings(self, changes: Json) -> Json:
        """Sets what the account's owner can, and returns all settings; a 400 for what is none."""
        work = self.work()
        with self.store.transaction():
            changed = settings.change(work, changes)
            work.flush()
        return changed

    def _work_at(self, now: int) -> Work:
        return Work(self.store, now, self.base_url, faults=self.faults)


def create_app(
    sandbox: Sandbox, control: list[HttpRoute], lifespan: Callable[..., object]
) -> Starlette:
    """The ASGI application: Stripe's API, and the `control` routes beside it."""
    routes = [
        HttpRoute(route.path, _endpoint(sandbox, route), methods=[route.method])
        for route in _specific_first(ROUTES)
    ]
    app = Starlette(
        routes=[*control, *routes],
        lifespan=lifespan,  # type: ignore[arg-type]
        exception_handlers={HTTPException: _unrecognized},  # type: ignore[dict-item]
    )
    app.router.redirect_slashes = False
    app.state.sandbox = sandbox
    return app


def by_mode(test: list[HttpRoute], live: list[HttpRoute]) -> list[HttpRoute]:
    """The same routes of both modes as one list: `?mode=live` leads to those of `live`."""
    return [_either(*pair) for pair in zip(test, live, strict=True)]


def _either(test: HttpRoute, live: HttpRoute) -> HttpRoute:
    async def endpoint(request: Request) -> Response:
        chosen = live if request.query_params.get("mode") == "live" else test
        return await chosen.endpoint(request)  # type: ignore[no-any-return]

    return HttpRoute(test.path, endpoint, methods=sorted(test.methods or ()))


def _specific_first(routes: list[Route]) -> list[Route]:
    """Routes ordered so that `/v1/customers/search` wins over `/v1/customers/{id}`."""
    return sorted(
        routes, key=lambda route: [part.startswith("{") for part in route.path.split("/")]
    )


async def _unrecognized(request: Request, error: HTTPException) -> Response:
    message = (
        f"Unrecognized request URL ({request.method}: {request.url.path}). If you are trying to "
        "list objects, remove the trailing slash. If you are trying to retrieve an object, make "
        "sure you passed a valid (non-empty) identifier in your code."
    )
    sandbox = request.app.state.sandbox.mode_of(request)
    request_id = sandbox.store.ids.new("req_")
    sandbox.log.note(request, "unrecognized", 404, request_id)
    return respond(404, {"error": ApiError(404, message).error}, request_id)


def _endpoint(sandbox: Sandbox, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        world = sandbox.mode_of(request)
        request_id = world.store.ids.new("req_")
        try:
            response = await _answer(world, route, request, request_id)
        except ClientDisconnect:  # nobody waits for an answer, and nothing was done
            response = Response(status_code=499)
        world.log.note(request, route.path, response.status_code, request_id)
        return response

    return endpoint


async def _answer(sandbox: Sandbox, route: Route, request: Request, request_id: str) -> Response:
    """The answer, or what a fault makes of it."""
    try:
        key = idempotency.key_of(request)
        with sandbox.idempotency.answering(key):
            fault = sandbox.faults.for_request(request.method, request.url.path, request_id)
            if fault and fault.delay_seconds:
                await asyncio.sleep(fault.delay_seconds)
            if fault and fault.replaces_answer and not fault.after:
                return _in_place_of_an_answer(fault, request_id)
            response = await _own_answer(sandbox, route, request, request_id)
            if fault and fault.replaces_answer:
                answer = _in_place_of_an_answer(fault, request_id)
                if key and (fault.status or 0) >= 500:
                    sandbox.idempotency.replace(key, answer.status_code, bytes(answer.body))
                return answer
            return response
    except ApiError as error:
        return _refusal(sandbox, error, request_id)


def _in_place_of_an_answer(fault: RequestFault, request_id: str) -> Response:
    if fault.reset:
        return ConnectionReset()
    return respond(fault.status or 500, fault.error_body(), request_id)


async def _own_answer(
    sandbox: Sandbox, route: Route, request: Request, request_id: str
) -> Response:
    try:
        keys.authorize(request, route, sandbox.store)
        sandbox.limits.check(f"{route.method} {route.path}")
        version = version_of(request)
        raw = parse_form(await _encoded(request))
        response = _idempotently(sandbox, route, request, raw, request_id, version)
    except ApiError as error:
        return _refusal(sandbox, error, request_id)
    except ClientDisconnect:
        raise
    except Exception:
        LOGGER.exception("%s %s failed", request.method, request.url.path)
        message = "An error occurred with our connection to Stripe: the sandbox failed."
        return _refusal(sandbox, ApiError(500, message, kind="api_error"), request_id)
    sandbox.store.new_deliveries()
    response.headers["Date"] = formatdate(sandbox.clockwork.now(), usegmt=True)
    return response


def _refusal(sandbox: Sandbox, error: ApiError, request_id: str) -> Response:
    """The answer to a call that is not done; it says so where only the mode is wrong."""
    other = sandbox.other
    if error.missing and other and other.store.load(error.missing):
        mine, theirs = ("live", "test") if sandbox.store.livemode else ("test", "live")
        error.error["message"] += (
            f"; a similar object exists in {theirs} mode, but a {mine} mode key was used to make "
            "this request."
        )
    return respond(error.status, {"error": error.error}, request_id, **error.headers)


async def body_of(request: Request) -> bytes:
    """The body of a request; a 413 where it is too large."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, "Request body is too large.")
    return bytes(body)


async def _encoded(request: Request) -> str:
    """The parameters as they came: the query of a GET or DELETE, the body of a POST."""
    body = await body_of(request)
    if not body:
        return request.url.query
    content_type = request.headers.get("content-type", "application/x-www-form-urlencoded")
    if not content_type.startswith("application/x-www-form-urlencoded"):
        raise ApiError(
            400,
            "Invalid request (check that your POST content type is "
            "application/x-www-form-urlencoded).",
        )
    query = request.url.query
    text = body.decode("utf-8", "replace")
    return f"{query}&{text}" if query else text


def version_of(request: Request) -> str:
    """The API version that is asked for; a 400 for what is none."""
    version = request.headers.get("stripe-version", API_VERSION)
    if not VERSION.match(version):
        raise ApiError(400, f"Invalid Stripe API version: {version}")
    return version


def _idempotently(
    sandbox: Sandbox, route: Route, request: Request, raw: Json, request_id: str, version: str
) -> Response:
    """Runs the call, or replays what was answered to the same idempotency key."""
    call = Execution(sandbox, route, request, raw, version)
    key = idempotency.key_of(request)
    if key is None:
        return respond(*call.run(Origin(request_id)), request_id, version=version)
    asked = idempotency.asked_for(request, raw)
    headers = {"Idempotency-Key": key}
    if kept := sandbox.idempotency.answered(key, asked):
        headers |= {"Original-Request": kept.request_id, "Idempotent-Replayed": "true"}
        return respond(kept.status, kept.body, request_id, version=version, **headers)

    def keep(status: int, body: bytes) -> None:
        sandbox.idempotency.keep(key, Kept(asked, status, body, request_id))

    try:
        status, body = call.run(Origin(request_id, key), keep)
    except ApiError as error:
        if "param" not in error.error:  # no parameter was wrong: the state of things forbids it
            with sandbox.store.transaction():
                keep(error.status, orjson.dumps({"error": error.error}))
        raise
    headers["Original-Request"] = request_id
    return respond(status, body, request_id, version=version, **headers)


@dataclass(frozen=True, slots=True)
class Execution:
    """A call whose request is in order: it runs in one transaction, committed before it answers."""

    sandbox: Sandbox
    route: Route
    request: Request
    raw: Json
    version: str

    def run(
        self, origin: Origin, keep: Callable[[int, bytes], None] = lambda *_: None
    ) -> tuple[int, bytes]:
        """(status, body); `keep` is told them within the transaction."""
        checked = self.route.check(self.raw)
        paths = checked.pop("expand", [])
        path = {name: str(value) for name, value in self.request.path_params.items()}
        store = self.sandbox.store
        about = [*path.values(), *checked.values()]
        work = self.sandbox.work(origin, about, changes=self.route.method != "GET")
        with store.transaction():
            try:
                answer = self.route.handler(Call(work, checked, path))
                work.flush()
                status, body = 200, encode(work, answer, paths, self.version)
            except ApiError as error:
                if not error.keeps_changes:
                    raise
                work.flush()
                status, body = error.status, orjson.dumps({"error": error.error})
            if store.livemode:
                body = as_live(body.decode()).encode()
            keep(status, body)
        if self.route.path.startswith("/v1/webhook_endpoints"):
            store.endpoints_changed()
        return status, body


def encode(work: Work, answer: Answer, paths: list[str], version: str) -> bytes:
    """The answer as JSON; a page that needs nothing else is joined from the stored texts."""
    if isinstance(answer, Page):
        if not paths and not versions.is_old(version):
            return answer.text().encode()
        answer = orjson.loads(answer.text())
    render = versions.rendering(work.store, version)
    return orjson.dumps(expand(work, render(answer), paths, render))


def respond(
    status: int, body: bytes | Json, request_id: str, *, version: str = API_VERSION, **more: str
) -> Response:
    """An answer with the headers that Stripe sends."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {
        "Request-Id": request_id,
        "Stripe-Version": version,
        "Date": formatdate(usegmt=True),
        **more,
    }
    if status == 409 or status >= 500:
        headers["Stripe-Should-Retry"] = "true"
    return Response(content, status, headers, media_type="application/json")

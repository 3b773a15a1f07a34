"""The HTTP side: authentication, parameters, faults, idempotency, transactions, answers."""

import asyncio
import base64
import binascii
import hashlib
import logging
import re
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from backoffice.sandbox import API_VERSION, resources
from backoffice.sandbox.errors import ApiError
from backoffice.sandbox.expand import expand
from backoffice.sandbox.faults import Faults
from backoffice.sandbox.forms import parse_form
from backoffice.sandbox.routing import ROUTES, Answer, Call, Page, Route
from backoffice.sandbox.store import Store
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Origin, Work

LOGGER = logging.getLogger(__name__)
KEY = re.compile(r"^[sr]k_test_[A-Za-z0-9]{24,}$")
VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(\.[a-z]+)?$")
MAX_BODY = 1024 * 1024
LONGEST_IDEMPOTENCY_KEY = 255
IDEMPOTENCY_LIFETIME = 24 * 3600
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
    """What the parts of a running sandbox share."""

    store: Store
    base_url: str
    faults: Faults = field(default_factory=Faults)
    log: Log = field(default_factory=Log)

    def work(self, origin: Origin | None = None) -> Work:
        """A unit of work at the present time."""
        return Work(
            self.store, int(time.time()), self.base_url, origin or Origin(), faults=self.faults
        )


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
    sandbox: Sandbox = request.app.state.sandbox
    request_id = sandbox.store.ids.new("req_")
    sandbox.log.note(request, "unrecognized", 404, request_id)
    return respond(404, {"error": ApiError(404, message).error}, request_id)


def _endpoint(sandbox: Sandbox, route: Route) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request_id = sandbox.store.ids.new("req_")
        response = await _answer(sandbox, route, request, request_id)
        sandbox.log.note(request, route.path, response.status_code, request_id)
        return response

    return endpoint


async def _answer(sandbox: Sandbox, route: Route, request: Request, request_id: str) -> Response:
    fault = sandbox.faults.for_request(request.method, request.url.path)
    if fault and fault.delay_seconds:
        await asyncio.sleep(fault.delay_seconds)
    if fault and fault.status and not fault.after:
        return respond(fault.status, fault.error_body(), request_id)
    try:
        authenticate(request)
        check_version(request)
        raw = parse_form(await _encoded(request))
        response = _idempotently(sandbox, route, request, raw, request_id)
    except ApiError as error:
        response = respond(error.status, {"error": error.error}, request_id)
    except Exception:
        LOGGER.exception("%s %s failed", request.method, request.url.path)
        message = "An error occurred with our connection to Stripe: the sandbox failed."
        response = respond(
            500, {"error": ApiError(500, message, kind="api_error").error}, request_id
        )
    sandbox.store.new_deliveries()
    if fault and fault.status and fault.after:
        return respond(fault.status, fault.error_body(), request_id)
    return response


async def _encoded(request: Request) -> str:
    """The parameters as they came: the query of a GET or DELETE, the body of a POST."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise ApiError(413, "Request body is too large.")
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


def authenticate(request: Request) -> None:
    """Accepts a secret test key as Bearer token or as Basic user name; 401 otherwise."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    elif scheme.lower() != "bearer":
        key = ""
    if not key:
        raise ApiError(
            401,
            "You did not provide an API key. You need to provide your API key in the "
            "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')"
            ".",
        )
    if not KEY.match(key):
        shown = f"{key[:8]}{'*' * 8}{key[-4:]}" if len(key) > 16 else "*" * len(key)
        raise ApiError(401, f"Invalid API Key provided: {shown}")


def check_version(request: Request) -> None:
    """Refuses a `Stripe-Version` that is none; any real one is answered in the pinned shapes."""
    version = request.headers.get("stripe-version")
    if version is not None and not VERSION.match(version):
        raise ApiError(400, f"Invalid Stripe API version: {version}")


def _idempotently(
    sandbox: Sandbox, route: Route, request: Request, raw: Json, request_id: str
) -> Response:
    """Runs the call, or replays what was answered to the same idempotency key."""
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    if not key:
        status, body = _run(sandbox, route, request, raw, Origin(request_id))
        return respond(status, body, request_id)
    if len(key) > LONGEST_IDEMPOTENCY_KEY:
        raise ApiError(400, "Idempotency key is longer than 255 characters.")
    parameters = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    asked = f"{request.url.path} {hashlib.sha256(parameters).hexdigest()}"
    db = sandbox.store.db
    db.execute("DELETE FROM idempotency WHERE at < ?", (time.time() - IDEMPOTENCY_LIFETIME,))
    known = db.execute(
        "SELECT request, status, body, request_id FROM idempotency WHERE key = ?", (key,)
    ).fetchone()
    if known is None:
        return _first_answer(sandbox, route, request, raw, request_id, key, asked)
    if known[0] != asked:
        raise ApiError(
            400,
            "Keys for idempotent requests can only be used with the same parameters they were "
            f"first used with. Try using a key other than '{key}' if you meant to execute a "
            "different request.",
            kind="idempotency_error",
        )
    response = respond(known[1], known[2], request_id)
    response.headers["Idempotent-Replayed"] = "true"
    response.headers["Original-Request"] = known[3]
    response.headers["Idempotency-Key"] = key
    return response


def _first_answer(
    sandbox: Sandbox,
    route: Route,
    request: Request,
    raw: Json,
    request_id: str,
    key: str,
    asked: str,
) -> Response:
    """Runs the call and keeps its answer in the same transaction as its effects."""

    def keep(status: int, body: bytes) -> None:
        sandbox.store.db.execute(
            "INSERT INTO idempotency (key, request, status, body, request_id, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (key, asked, status, body, request_id, time.time()),
        )

    status, body = _run(sandbox, route, request, raw, Origin(request_id, key), keep)
    response = respond(status, body, request_id)
    response.headers["Idempotency-Key"] = key
    response.headers["Original-Request"] = request_id
    return response


def _run(
    sandbox: Sandbox,
    route: Route,
    request: Request,
    raw: Json,
    origin: Origin,
    keep: Callable[[int, bytes], None] | None = None,
) -> tuple[int, bytes]:
    """Runs the call in one transaction, committed before it is answered."""
    checked = route.check(raw)
    paths = checked.pop("expand", [])
    work = sandbox.work(origin)
    path = {name: str(value) for name, value in request.path_params.items()}
    declined: ApiError | None = None
    with sandbox.store.transaction():
        try:
            answer = route.handler(Call(work, checked, path))
            status, body = 200, encode(work, answer, paths)
        except ApiError as error:
            if not error.keeps_changes:
                raise
            declined = error
            status, body = error.status, orjson.dumps({"error": error.error})
        work.flush()
        if keep:
            keep(status, body)
    if declined is None and route.path.startswith("/v1/webhook_endpoints"):
        sandbox.store.endpoints_changed()
    return status, body


def encode(work: Work, answer: Answer, paths: list[str]) -> bytes:
    """The answer as JSON; a page without expansion is joined from the stored texts."""
    if not isinstance(answer, Page):
        return orjson.dumps(expand(work, answer, paths))
    if paths:
        data = [orjson.loads(text) for text in answer.rows]
        listed = {"object": "list", "data": data, "has_more": answer.has_more, "url": answer.url}
        return orjson.dumps(expand(work, listed, paths))
    more = "true" if answer.has_more else "false"
    head = f'{{"object":"list","url":"{answer.url}","has_more":{more},"data":['
    return f"{head}{','.join(answer.rows)}]}}".encode()


def respond(status: int, body: bytes | Json, request_id: str) -> Response:
    """An answer with the headers that Stripe sends."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {
        "Request-Id": request_id,
        "Stripe-Version": API_VERSION,
        "Date": formatdate(usegmt=True),
    }
    if status in (409, 429) or status >= 500:
        headers["Stripe-Should-Retry"] = "true"
    return Response(content, status, headers, media_type="application/json")

"""The sandbox's own API under `/_sandbox/`, which Stripe does not have."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from backoffice.sandbox import keys
from backoffice.sandbox.app import Sandbox, body_of
from backoffice.sandbox.delivery import Delivery, is_number
from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle import settings
from backoffice.sandbox.stories import STORIES
from backoffice.sandbox.types import Json

Handler = Callable[[Request, Json], Awaitable[Any]]
LAST = 50


def control_routes(sandbox: Sandbox, delivery: Delivery) -> list[Route]:
    """The routes for faults, stories, delivery and counting."""
    store, log = sandbox.store, sandbox.log

    async def set_fault(request: Request, body: Json) -> Any:
        return sandbox.faults.set(body).describe()

    async def list_faults(request: Request, body: Json) -> Any:
        return {"faults": [fault.describe() for fault in sandbox.faults.active]}

    async def fault_log(request: Request, body: Json) -> Any:
        return {"hits": list(sandbox.faults.log)}

    async def end_fault(request: Request, body: Json) -> Any:
        ended = sandbox.faults.end(request.path_params["id"])
        if ended is None:
            raise ApiError(404, "There is no such fault.")
        return ended

    async def clear_faults(request: Request, body: Json) -> Any:
        return {"faults": sandbox.faults.clear()}

    async def tell(request: Request, body: Json) -> Any:
        name = request.path_params["name"]
        story = STORIES.get(name)
        if story is None:
            raise ApiError(404, f"There is no story {name}. There are: {', '.join(STORIES)}.")
        work = sandbox.work(about=body.values())
        with store.transaction():
            told = story(work, body)
            work.flush()
        store.new_deliveries()
        return {**told, "events": work.made_events}

    async def state(request: Request, body: Json) -> Any:
        waiting = store.rows("SELECT state, count(*) FROM outbox GROUP BY state")
        return {
            "objects": store.counts(),
            "outbox": dict(waiting),
            "deliveries": deliveries(LAST),
            "requests": list(log.requests)[-LAST:],
        }

    def deliveries(count: int) -> list[Json]:
        names = ("event", "endpoint", "attempt", "status_code", "error", "at")
        rows = store.rows(
            f"SELECT {', '.join(names)} FROM deliveries ORDER BY id DESC LIMIT ?",  # noqa: S608
            [count],
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def deliver(request: Request, body: Json) -> Any:
        return {"attempts": await delivery.flush()}

    async def show_terms(request: Request, body: Json) -> Any:
        return asdict(delivery.terms)

    async def change_terms(request: Request, body: Json) -> Any:
        delivery.change_terms(body)
        return asdict(delivery.terms)

    async def roll_secret(request: Request, body: Json) -> Any:
        endpoint = request.path_params["id"]
        lifetime = body.get("expire_in_seconds", 0)
        if not is_number(lifetime):
            raise invalid(f"Invalid expire_in_seconds: {lifetime!r}", "expire_in_seconds")
        secret, expires = store.ids.new("whsec_"), time.time() + lifetime
        with store.transaction():
            sandbox.work().find("webhook_endpoint", endpoint)
            store.roll_secret(endpoint, secret, expires)
        return {"id": endpoint, "secret": secret, "previous_secrets_expire_at": expires}

    async def emails(request: Request, body: Json) -> Any:
        rows = store.rows("SELECT at, subject, text FROM emails ORDER BY id DESC LIMIT ?", [LAST])
        return {"emails": [dict(zip(("at", "subject", "text"), row, strict=True)) for row in rows]}

    async def switch_limits(request: Request, body: Json) -> Any:
        if not isinstance(body.get("on"), bool):
            raise invalid('Say {"on": true} or {"on": false}.', "on")
        rate = body.get("rate")
        if rate is not None and not (is_number(rate) and rate >= 1):
            raise invalid(f"Invalid rate, of requests a second: {rate!r}", "rate")
        sandbox.limits.switch(on=body["on"], rate=rate)
        return await show_limits(request, body)

    async def show_limits(request: Request, body: Json) -> Any:
        return {"on": sandbox.limits.on, "rate": sandbox.limits.rate}

    async def make_key(request: Request, body: Json) -> Any:
        permissions = body.get("permissions")
        if not isinstance(permissions, dict):
            raise invalid(
                'Say what it may do: {"permissions": {"customers": "read"}}', "permissions"
            )
        return {"key": keys.make_restricted(store, permissions), "permissions": permissions}

    async def show_clock(request: Request, body: Json) -> Any:
        clock = sandbox.clockwork
        return {"now": clock.now(), "goal": clock.goal(), "ready": clock.is_ready()}

    async def advance_clock(request: Request, body: Json) -> Any:
        seconds = body.get("advance_seconds")
        if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
            raise invalid(f"Invalid advance_seconds: {seconds!r}", "advance_seconds")
        sandbox.clockwork.advance(seconds)
        return await show_clock(request, body)

    async def show_settings(request: Request, body: Json) -> Any:
        return settings.shown(sandbox.work())

    async def change_settings(request: Request, body: Json) -> Any:
        return sandbox.change_settings(body)

    async def requests(request: Request, body: Json) -> Any:
        since = request.query_params.get("since", "0")
        if not since.isdigit():
            raise invalid(f"Invalid since: {since}", "since")
        return {"requests": [entry for entry in log.requests if entry["seq"] > int(since)]}

    async def counters(request: Request, body: Json) -> Any:
        return {"total": sum(log.counters.values()), "routes": dict(log.counters)}

    async def reset_counters(request: Request, body: Json) -> Any:
        log.counters.clear()
        return {"total": 0, "routes": {}}

    return [
        Route("/_sandbox/faults", _json(set_fault), methods=["POST"]),
        Route("/_sandbox/faults", _json(list_faults), methods=["GET"]),
        Route("/_sandbox/faults", _json(clear_faults), methods=["DELETE"]),
        Route("/_sandbox/faults/log", _json(fault_log), methods=["GET"]),
        Route("/_sandbox/faults/{id:int}", _json(end_fault), methods=["DELETE"]),
        Route("/_sandbox/stories/{name}", _json(tell), methods=["POST"]),
        Route("/_sandbox/state", _json(state), methods=["GET"]),
        Route("/_sandbox/deliver", _json(deliver), methods=["POST"]),
        Route("/_sandbox/delivery", _json(show_terms), methods=["GET"]),
        Route("/_sandbox/delivery", _json(change_terms), methods=["POST"]),
        Route("/_sandbox/webhook_endpoints/{id}/roll", _json(roll_secret), methods=["POST"]),
        Route("/_sandbox/emails", _json(emails), methods=["GET"]),
        Route("/_sandbox/rate_limits", _json(switch_limits), methods=["POST"]),
        Route("/_sandbox/rate_limits", _json(show_limits), methods=["GET"]),
        Route("/_sandbox/keys", _json(make_key), methods=["POST"]),
        Route("/_sandbox/clock", _json(show_clock), methods=["GET"]),
        Route("/_sandbox/clock", _json(advance_clock), methods=["POST"]),
        Route("/_sandbox/settings", _json(show_settings), methods=["GET"]),
        Route("/_sandbox/settings", _json(change_settings), methods=["POST"]),
        Route("/_sandbox/requests", _json(requests), methods=["GET"]),
        Route("/_sandbox/counters", _json(counters), methods=["GET"]),
        Route("/_sandbox/counters/reset", _json(reset_counters), methods=["POST"]),
    ]


def is_foreign(request: Request) -> bool:
    """Whether another website makes this request in somebody's browser."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin", f"http://{host}")
    site = request.headers.get("sec-fetch-site", "none")
    known = urlsplit(f"http://{host}").hostname in ("127.0.0.1", "localhost")
    return not known or origin != f"http://{host}" or site not in ("same-origin", "none")


def _json(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Reads a JSON body, answers JSON, and turns the sandbox's errors into answers."""

    async def endpoint(request: Request) -> Response:
        if is_foreign(request):
            return Response(b'{"error":{"message":"Another website asked for this."}}', 403)
        try:
            body = orjson.loads(await body_of(request) or b"{}")
            if not isinstance(body, dict):
                raise invalid("The body must be a JSON object.")
            answer, status = await handler(request, body), 200
        except ClientDisconnect:
            return Response(status_code=499)
        except orjson.JSONDecodeError as error:
            answer, status = {"error": {"message": f"The body is not JSON: {error}"}}, 400
        except ApiError as error:
            answer, status = {"error": error.error}, error.status
        return Response(orjson.dumps(answer), status, media_type="application/json")

    return endpoint

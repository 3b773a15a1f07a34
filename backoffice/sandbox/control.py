"""The sandbox's own API under `/_sandbox/`, which Stripe does not have."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backoffice.sandbox.app import Sandbox
from backoffice.sandbox.delivery import Delivery
from backoffice.sandbox.errors import ApiError, invalid
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

    async def clear_faults(request: Request, body: Json) -> Any:
        return {"faults": sandbox.faults.clear()}

    async def tell(request: Request, body: Json) -> Any:
        name = request.path_params["name"]
        story = STORIES.get(name)
        if story is None:
            raise ApiError(404, f"There is no story {name}. There are: {', '.join(STORIES)}.")
        work = sandbox.work()
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
        Route("/_sandbox/stories/{name}", _json(tell), methods=["POST"]),
        Route("/_sandbox/state", _json(state), methods=["GET"]),
        Route("/_sandbox/deliver", _json(deliver), methods=["POST"]),
        Route("/_sandbox/requests", _json(requests), methods=["GET"]),
        Route("/_sandbox/counters", _json(counters), methods=["GET"]),
        Route("/_sandbox/counters/reset", _json(reset_counters), methods=["POST"]),
    ]


def _json(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Reads a JSON body, answers JSON, and turns the sandbox's errors into answers."""

    async def endpoint(request: Request) -> Response:
        try:
            body = orjson.loads(await request.body() or b"{}")
            if not isinstance(body, dict):
                raise invalid("The body must be a JSON object.")
            answer, status = await handler(request, body), 200
        except orjson.JSONDecodeError as error:
            answer, status = {"error": {"message": f"The body is not JSON: {error}"}}, 400
        except ApiError as error:
            answer, status = {"error": error.error}, error.status
        return Response(orjson.dumps(answer), status, media_type="application/json")

    return endpoint

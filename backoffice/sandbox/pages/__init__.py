"""The sandbox's pages for people, in the browser: dashboard, checkout, invoice, portal.

Plain HTML and forms. They do what Stripe's API does by calling the same code, and are safe from
other websites in the same browser (see `web`).
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from backoffice.sandbox.app import Sandbox
from backoffice.sandbox.delivery import Delivery
from backoffice.sandbox.pages import checkout, dashboard, invoice, objects, portal
from backoffice.sandbox.pages.web import PAGES, guarded, http_route

STYLE = Path(__file__).with_name("style.css")
PAGE_MODULES = (checkout, dashboard, invoice, objects, portal)
"""Importing them registers their pages."""


def page_routes(sandbox: Sandbox, delivery: Delivery) -> list[Route]:
    """The routes of all pages."""

    async def style(request: Request) -> Response:
        return FileResponse(STYLE, media_type="text/css")

    async def deliver(request: Request) -> Response:
        await delivery.flush()
        return RedirectResponse("/?done=delivered", 303)

    return [
        *(http_route(sandbox, route) for route in PAGES),
        Route("/style.css", guarded(sandbox, style), methods=["GET"]),
        Route("/deliver", guarded(sandbox, deliver), methods=["POST"]),
    ]

"""How fast the sandbox itself is, measured alone: it serves both sides, and must hold up neither.

One client asks for one page after the other over a connection that stays open; it leaves the
answers undecoded.
"""

import time
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.sandbox.server import API_KEY, SandboxProcess

PATH = "/v1/subscriptions?limit=100&status=all"
OBJECT = b'"object":"subscription",'


def listed(sandbox: SandboxProcess, seconds: float) -> dict[str, Any]:
    """Subscriptions a second, in pages of 100, for at least so many seconds."""
    connection = HTTPConnection(str(urlsplit(sandbox.url).netloc), timeout=60)
    cursors = ["", *(f"&starting_after={page[-1]}" for page in pages(sandbox) if page)]
    page(connection, "")
    objects, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        for cursor in cursors:
            objects += page(connection, cursor).count(OBJECT)
    connection.close()
    return {"objects": objects, "rate": objects / elapsed}


def pages(sandbox: SandboxProcess) -> list[list[str]]:
    """The ids on every page but the last one."""
    found: list[list[str]] = []
    cursor = ""
    while True:
        answer = sandbox.request("GET", f"{PATH}{cursor}").json()
        if not answer["has_more"]:
            return found
        found.append([made["id"] for made in answer["data"]])
        cursor = f"&starting_after={found[-1][-1]}"


def page(connection: HTTPConnection, cursor: str) -> bytes:
    """The text of a page."""
    connection.request("GET", PATH + cursor, headers={"Authorization": f"Bearer {API_KEY}"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"the sandbox answered {answer.status}: {body[:500]!r}")
    return body

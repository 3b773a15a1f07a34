"""The endpoint is down as a whole, for a while."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from backoffice.drill.faults import ANY, Place, places
from backoffice.drill.scenarios.base import NAMED, Scenario
from backoffice.drill.scenarios.moments import RECOVERING
from backoffice.processes import address, listen


class Outage(Scenario):
    """The endpoint is down: all is lost, swallowed by something that answers 200, or disabled."""

    name = "outage"

    def __init__(self, *surroundings: Any) -> None:
        super().__init__(*surroundings)
        self.stack = ExitStack()

    def steps(self) -> Iterator[None]:
        self.stand.settle()  # what came before is not part of it; what a dead worker had may be
        before = self.stand.under_way()
        since = datetime.now(UTC) - timedelta(seconds=1)
        self.engineer.outage_since = since.isoformat(timespec="seconds")
        how = self.random.choice(("lost", "swallowed", "disabled"))
        self.about = self.stack.enter_context(self.life.watched())
        self.about |= before
        self.fault = self.judge.inject(
            "outage",
            f"everything is {how}",
            shown=places(Place.RECOVERY, ANY),
            explains=NAMED
            | places(Place.WEBHOOKS, "endpoint", "enabled", "deliveries")
            | places(Place.ALERT, "endpoint", "undelivered", "quiet"),
        )
        with self.down(how):
            for number in range(self.random.randint(2, 4)):
                for _ in range(2):
                    self.life.act_at_stripe()
                self.stand.deliver()
                if number == 1:
                    self.work_meanwhile()
                yield
        for where in self.random.sample(RECOVERING, 2):
            self.engineer.recoveries_killed.append(self.kill_at(where))

    def finish(self) -> None:
        """What was changed at Stripe is so until an engineer sees it."""
        self.stack.close()
        self.fault.about = frozenset(self.about)

    @contextmanager
    def down(self, how: str) -> Iterator[None]:
        """The endpoint is down within it. One that was changed at Stripe stays so."""
        endpoint = f"webhook_endpoints/{self.stand.endpoint}"
        if how == "lost":
            with self.stand.sandbox.fault(drop_deliveries=True):
                yield
        elif how == "disabled":
            self.stand.sandbox.make(endpoint, disabled="true")
            yield
        else:
            hole = listen(0)
            self.stand.start("hole", lambda: swallow(hole))
            self.stand.sandbox.make(endpoint, url=f"{address(hole)}/webhooks/stripe")
            hole.close()
            yield

    def work_meanwhile(self) -> None:
        """While it is down: what is critical, straight from Stripe."""
        since = self.engineer.outage_since
        self.engineer.again("recover_outage", "--since", since, "--critical", "--json")


def swallow(listener: socket.socket) -> None:
    """Serves for ever."""
    server = HTTPServer(listener.getsockname(), Swallows, bind_and_activate=False)
    server.socket = listener
    server.serve_forever()


class Swallows(BaseHTTPRequestHandler):
    """Answers 200 for whatever it gets, and keeps nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
        return

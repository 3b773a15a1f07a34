"""SIGKILL for the worker, the web server, the database, in the middle of their work."""

import time
from abc import abstractmethod
from collections.abc import Iterator

from backoffice.drill.faults import Place, places
from backoffice.drill.scenarios.base import Scenario

MOMENT = 0.5  # seconds to wait for a moment in which the worker writes
WRITING = """
    SELECT EXISTS (SELECT FROM pg_locks WHERE mode = 'RowExclusiveLock'
        AND relation = 'billing_stripe_versions'::regclass AND pid <> pg_backend_pid())
"""


class Kill(Scenario):
    """Kills something a few times, each after so many acts. A supervisor starts it again."""

    victim: str
    most = 2

    def steps(self) -> Iterator[None]:
        for _ in range(self.random.randint(1, self.most)):
            with self.life.watched() as about:
                self.act(self.random.randint(2, 4))
                self.kill()
                self.act(self.random.randint(0, 2))
            self.judge.inject(
                f"{self.victim} killed",
                f"in act {self.life.acts}",
                about,
                explains=places(Place.ALERT, "workers"),  # a worker that waits for its database
            )
            self.start()
            yield

    def act(self, times: int) -> None:
        for _ in range(times):
            self.life.act_at_stripe()

    def kill(self) -> None:
        self.stand.kill(self.victim)

    @abstractmethod
    def start(self) -> None:
        """Starts again what was killed."""


class WorkerKilled(Kill):
    """The worker is killed while it writes."""

    name = "worker_killed"
    victim = "worker"

    def kill(self) -> None:
        self.wait_for_the_moment()
        super().kill()

    def start(self) -> None:
        self.stand.start_worker()

    def wait_for_the_moment(self) -> None:
        """Until the worker is in the middle of a transaction, or has none for a while."""
        deadline = time.monotonic() + MOMENT
        with self.stand.connect() as connection:
            while time.monotonic() < deadline:
                if connection.execute(WRITING).fetchone() == (True,):
                    return
                time.sleep(0.001)


class WebKilled(Kill):
    """The web server is killed while Stripe delivers."""

    name = "web_killed"
    victim = "web"

    def start(self) -> None:
        self.stand.start_web()


class DatabaseKilled(WorkerKilled):
    """PostgreSQL is killed while the worker writes."""

    name = "database_killed"
    victim = "database"
    most = 1  # it takes seconds

    def kill(self) -> None:
        self.wait_for_the_moment()
        self.stand.server.kill()

    def start(self) -> None:
        self.stand.server.ensure_running()

"""The back office as it is run: a web server and a worker, in processes of their own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backoffice.postgres import BASE_DIR
from backoffice.processes import Child, address, listen, web_command
from tests.sandbox.server import SandboxProcess
from tests.support.environment import SECRET_KEY, child_environment


@dataclass
class BackOffice:
    """A back office that serves `url`. `environment` is that of its processes."""

    url: str
    environment: dict[str, str]
    logs: Path
    web: Child
    workers: list[Child] = field(default_factory=list)

    def start_worker(self, *arguments: str) -> Child:
        """Start one more `manage.py run_worker` with these arguments."""
        name = f"worker-{len(self.workers) + 1}"
        worker = Child(
            name,
            [sys.executable, "manage.py", "run_worker", *arguments],
            log=self.logs / f"{name}.log",
            env=self.environment,
        )
        self.workers.append(worker)
        return worker

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` with `arguments`; with `check`, an exit code other than 0 fails."""
        return run_manage(*arguments, env=self.environment, check=check)


def run_manage(
    *arguments: str, env: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with `arguments` in the environment `env`."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=BASE_DIR,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"manage.py {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done


@contextmanager
def run_back_office(
    database_url: str, sandbox: SandboxProcess, logs: Path, **variables: str
) -> Iterator[BackOffice]:
    """A back office on `database_url`, with its webhook registered at the sandbox.

    `variables` are further ones of its environment.

    No worker runs until `start_worker`. Everything is stopped on leaving.
    """
    listener = listen(0)
    url = address(listener)
    environment = child_environment(
        DATABASE_URL=database_url,
        PUBLIC_URL=url,
        STRIPE_API_BASE=sandbox.url,
        STRIPE_SECRET_KEY=SECRET_KEY,
        STRIPE_WEBHOOK_SECRET=register_webhook(sandbox, url),
        **variables,
    )
    web = Child(
        "web",
        web_command(listener, workers=1),
        log=logs / "web.log",
        env=environment,
        fds=[listener.fileno()],
    )
    back_office = BackOffice(url, environment, logs, web)
    try:
        yield back_office
    finally:
        for child in (*back_office.workers, web):
            child.kill()  # its database and its sandbox go too, so nothing needs to be tidied
        listener.close()


def register_webhook(sandbox: SandboxProcess, url: str) -> str:
    """Make the sandbox deliver every event to the back office at `url`; the signing secret."""
    endpoint = sandbox.stripe.v1.webhook_endpoints.create(
        {"url": f"{url}/webhooks/stripe", "enabled_events": ["*"]}
    )
    if endpoint.secret is None:
        raise AssertionError("the sandbox gave no secret")
    return endpoint.secret

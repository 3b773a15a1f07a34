"""`make demo`: a working back office with a world in it, until Ctrl-C.

Starts, in this order: PostgreSQL (the embedded one, unless DATABASE_URL is set), the Stripe
sandbox (unless STRIPE_SECRET_KEY is set), the web server and the worker, and fills the
database on the first run. What it keeps lies in `.local/demo`, or for another database in a
folder of its own beside it.
"""

import argparse
import fcntl
import hashlib
import json
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import httpx
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from backoffice.demo_world import Sandbox
from backoffice.postgres import BASE_DIR, LOCAL_DIR, project_server
from backoffice.processes import Child, address, listen, web_command

ROLES = ("support", "finance", "engineer", "administrator")
SANDBOX_PORT = 12111
SANDBOX_KEY = "sk_test_" + "DemoSandbox0" * 2
PORTS_TRIED = 20
PATIENCE = 120  # seconds for a step of the start
LAST_LINES = 15
USAGE_ERROR = 2

THINGS_TO_TRY = """\
  1. Ada paid for a pack of credits and got none. Log in as support and open ada@example.com
     under Customers: her page names the event that failed, and why. What was wrong is over,
     so open the event and replay it. Replay it again: nothing is granted twice.
  2. Ben paid too, but Stripe's webhook never arrived. Open ben@example.com and choose Sync
     from Stripe; or in a terminal (see below):
       .venv/bin/python manage.py sync_from_stripe --user user_ben --reason "Ben called"
  3. Carla cancelled, and we did not hear of it: her subscription is active here and canceled
     at Stripe. Sync carla@example.com, then see what the event and audit log says of it."""


class DemoError(Exception):
    """The demo cannot go on; the text says why."""


@dataclass
class State:
    """What one run of the demo leaves to the next. It holds secrets, so only we may read it."""

    file: Path
    passwords: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""
    webhook_secret: str = ""
    is_built: bool = False

    @classmethod
    def load(cls, file: Path) -> "State":
        if file.exists():
            return cls(file, **json.loads(file.read_text()))
        return cls(file, {role: f"{role}-{secrets.token_hex(4)}" for role in ROLES})

    def save(self) -> None:
        kept = {name: value for name, value in asdict(self).items() if name != "file"}
        write_private(self.file, json.dumps(kept, indent=1))


@dataclass
class Demo:
    """One run of the demo; `stack` undoes what it did, in reverse order."""

    folder: Path
    state: State
    stack: ExitStack
    lock: int
    children: list[Child] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Start everything, say what there is, and watch it until a signal or a failure."""
        port = chosen_port()
        with step("Starting the database"):
            self.start_database()
        listener = listen(port, tries=PORTS_TRIED)
        self.stack.callback(listener.close)
        url = address(listener)
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "backoffice.settings",
            "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1",
            "PUBLIC_URL": url,
        }
        if settings.EMBEDDED_POSTGRES and not settings.BACKUP_FOLDER:
            self.environment["BACKUP_FOLDER"] = str(self.folder / "backups")
        if not settings.STRIPE_SECRET_KEY:
            with step("Starting the Stripe sandbox"):
                self.start_sandbox(url)
        with step("Setting up the tables"):
            self.finish("migrate", "manage.py", "migrate")
        self.start("web", *web_command(listener, workers=2), fds=(listener.fileno(),))
        with step(
            "Filling the database" if not self.state.is_built else "Looking after the log-ins"
        ):
            self.state.save()
            self.finish("world", "-m", "backoffice.demo_world", str(self.state.file))
            if settings.EMBEDDED_POSTGRES and not self.state.is_built:
                self.finish("backup", "manage.py", "backup", "--reason", "The first one")
            self.state.is_built = True
            self.state.save()
        self.start("worker", sys.executable, "manage.py", "run_worker")
        with step("Starting the web server"):
            self.wait(lambda: answers(f"{url}/admin/login/"))
        listener.close()
        self.write_environment()
        say(self.welcome(url))
        self.wait(lambda: False, seconds=float("inf"))

    def start_database(self) -> None:
        if settings.EMBEDDED_POSTGRES:
            server = project_server()
            self.stack.callback(server.stop)
            server.ensure_running()

    def start_sandbox(self, url: str) -> None:
        """Start the sandbox, and let it send its webhooks to us."""
        with listen(SANDBOX_PORT, tries=PORTS_TRIED) as free:
            port = str(free.getsockname()[1])
        sandbox = self.start(
            "sandbox",
            *(sys.executable, "-m", "backoffice.sandbox", "--port", port),
            *("--data", str(self.folder / "sandbox.sqlite3"), "--customers", "200", "--seed", "1"),
            *("--payouts", "daily"),
        )
        self.wait(lambda: "listening on" in sandbox.output)
        self.register_webhook(Sandbox(f"http://127.0.0.1:{port}", SANDBOX_KEY), url)
        self.environment |= {
            "STRIPE_API_BASE": f"http://127.0.0.1:{port}",
            "STRIPE_BULK_REQUESTS_PER_SECOND": "0",
            "STRIPE_SECRET_KEY": SANDBOX_KEY,
            "STRIPE_WEBHOOK_SECRET": self.state.webhook_secret,
        }

    def register_webhook(self, sandbox: Sandbox, url: str) -> None:
        """Register our webhook at the sandbox on the first run; later our port may differ."""
        webhook = f"{url}/webhooks/stripe"
        if self.state.endpoint:
            sandbox.api("POST", f"/v1/webhook_endpoints/{self.state.endpoint}", url=webhook)
            return
        version = settings.STRIPE_API_VERSION
        form = {"url": webhook, "enabled_events[]": "*", "api_version": version}
        made = sandbox.api("POST", "/v1/webhook_endpoints", **form)
        self.state.endpoint, self.state.webhook_secret = made["id"], made["secret"]
        self.state.save()

    def start(self, name: str, *command: str, fds: tuple[int, ...] = ()) -> Child:
        """Start a process that runs as long as the demo."""
        child = Child(
            name,
            command,
            log=self.folder / "logs" / f"{name}.log",
            env=self.environment,
            fds=(*fds, self.lock),
        )
        self.stack.callback(child.stop)
        self.children.append(child)
        os.write(self.lock, f"{child.process.pid}\n".encode())
        return child

    def finish(self, name: str, *arguments: str) -> None:
        """Run a Python program to its end. Raises DemoError where it fails."""
        child = self.start(name, sys.executable, *arguments)
        self.children.remove(child)
        self.wait(lambda: not child.is_alive, seconds=float("inf"))
        if child.process.returncode:
            raise DemoError(ended(child))

    def wait(self, until: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
        """Wait until something is so. Raises DemoError where a process ends meanwhile."""
        deadline = time.monotonic() + seconds
        while not until():
            for child in self.children:
                if not child.is_alive:
                    raise DemoError(ended(child))
            if time.monotonic() > deadline:
                raise DemoError(
                    f"nothing happened for {seconds:.0f} seconds; see {self.folder}/logs"
                )
            time.sleep(0.1)

    def write_environment(self) -> None:
        """The variables by which `manage.py` works on the same data in another terminal."""
        names = [
            "BACKUP_FOLDER",
            "DATABASE_URL",
            "DJANGO_DEBUG",
            "DJANGO_ALLOWED_HOSTS",
            "PUBLIC_URL",
            "STRIPE_API_BASE",
        ]
        names += ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"]
        lines = [
            f"{name}={shlex.quote(self.environment[name])}\n"
            for name in names
            if name in self.environment
        ]
        write_private(self.folder / "environment", "".join(lines))

    def welcome(self, url: str) -> str:
        folder = self.folder.relative_to(BASE_DIR)
        log_ins = "\n".join(
            f"    {role:10} {password}" for role, password in self.state.passwords.items()
        )
        parts = [f"\nThe back office runs: {url}/admin/\n\n  Log in as one of\n{log_ins}\n"]
        if self.state.endpoint:
            parts.append(f"  Three things to try\n{THINGS_TO_TRY}\n")
        else:
            parts.append(
                "  Stripe is the account of STRIPE_SECRET_KEY. To get its webhooks here:\n"
                f"    stripe listen --forward-to {url}/webhooks/stripe\n"
                "  and set STRIPE_WEBHOOK_SECRET to the secret that it prints.\n"
            )
        if not settings.STRIPE_SECRET_KEY:
            stripe = self.environment["STRIPE_API_BASE"]
            parts.append(f"  Stripe's part, to buy, cancel, refund and break things: {stripe}/\n")
        parts.append(
            f"  manage.py in another terminal: set -a; . {folder}/environment; set +a\n"
            f"  Logs: {folder}/logs. Ctrl-C stops everything."
        )
        return "\n".join(parts)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    began = time.monotonic()
    sys.stdout.write(f"{what} ... ")
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        say("")
        raise
    say(f"{time.monotonic() - began:.1f} s")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=10, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def ended(child: Child) -> str:
    """Which process ended, how, and the end of what it wrote."""
    lines = child.output.splitlines()[-LAST_LINES:]
    told = "".join(f"\n    {line}" for line in lines)
    return f"{child.name} ended with exit code {child.process.returncode}; {child.log} ends:{told}"


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, readable for its owner alone."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    unfinished.replace(file)


def demo_folder() -> Path:
    """Where the demo keeps its things; each database has a folder of its own."""
    if settings.EMBEDDED_POSTGRES:
        return LOCAL_DIR / "demo"
    database = repr(sorted(settings.DATABASES["default"].items()))
    return LOCAL_DIR / f"demo-{hashlib.sha256(database.encode()).hexdigest()[:8]}"


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Hold the lock of the demo in `folder`: the descriptor of a file with our process ids.

    Our children hold the lock too. So what a killed demo left running is found, and ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as file:
        if not is_locked(file):
            file.seek(0)
            demo, *children = [int(line) for line in file.read().split()]
            if is_alive(demo):
                raise DemoError(f"another one runs already (process {demo}); end it first")
            for child in children:
                with suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE
            while not is_locked(file):
                if time.monotonic() > deadline:
                    raise DemoError(f"what a killed one left does not end: {children}")
                time.sleep(0.1)
        file.truncate(0)
        os.write(file.fileno(), f"{os.getpid()}\n".encode())
        yield file.fileno()


def is_locked(file: IO[str]) -> bool:
    """Whether `file` could be locked for us."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def forget_all(folder: Path) -> None:
    """Throw away what earlier runs stored. Raises DemoError for a database of the user's."""
    if not settings.EMBEDDED_POSTGRES:
        raise DemoError(
            "only the embedded database is thrown away; empty the one of DATABASE_URL yourself"
        )
    project_server().destroy()
    clear(folder)


def clear(folder: Path) -> None:
    """Delete everything in `folder` but the lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def chosen_port() -> int:
    """The web server's port, from PORT."""
    text = os.environ.get("PORT", "").strip() or "8000"
    if not text.isdecimal() or int(text) > 65535 - PORTS_TRIED:
        raise DemoError(f"PORT is malformed: it must be a number up to {65535 - PORTS_TRIED}")
    return int(text)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Begin the end of the demo; further signals would only disturb it."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m backoffice.demo", description=__doc__)
    parser.add_argument("--reset", action="store_true", help="throw the demo's data away first")
    options = parser.parse_args()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, interrupt)
    # The demo is served without TLS, and only to this machine.
    os.environ |= {"DJANGO_SETTINGS_MODULE": "backoffice.settings", "DJANGO_DEBUG": "true"}
    try:
        folder = demo_folder()
        with alone(folder) as lock, ExitStack() as stack:
            state = State.load(folder / "state.json")
            if options.reset or (not state.is_built and settings.EMBEDDED_POSTGRES):
                forget_all(folder)
            elif not state.is_built:
                clear(folder)
            state = State.load(folder / "state.json")
            Demo(folder, state, stack, lock).run()
    except KeyboardInterrupt:
        say("\nStopped.")
        return 0
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        return USAGE_ERROR
    except (DemoError, OSError, httpx.HTTPError, RuntimeError) as error:
        sys.stderr.write(f"\nThe demo stopped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Tries the installation without an engine: the Dockerfile's own steps, in a clean folder.

    DATABASE_URL=postgres://... python deploy/check.py --user nobody

The database must be there, and may be empty. What is tracked by git is copied to a new folder,
installed there by the RUN lines of the Dockerfile, and started by the commands of the systemd
units, all as another user where this is run by root. Then it must be ready, serve pages and static
files, take a signed webhook and process it, and end by itself when it is told to. Nothing of the
host's environment gets in. Needs git, and Python 3.11 or newer that this user may run (PYTHON).

With --packages FOLDER, the packages are taken from there instead of being installed.
"""

import argparse
import hashlib
import hmac
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
UNITS = ROOT / "deploy" / "systemd"
VENV_OF_UNITS = "/opt/billing/.venv"
PATIENCE = 120  # seconds for what takes a moment
WORDS = "deploy/check"


def steps() -> list[str]:
    """What the Dockerfile does to the checkout: its RUN lines that call a script of ours."""
    return re.findall(r"^RUN (deploy/\S+ \w+) /venv$", DOCKERFILE.read_text(), re.MULTILINE)


def command(unit: str) -> str:
    """What a systemd unit starts."""
    [started] = re.findall(r"^ExecStart=(.+)$", (UNITS / unit).read_text(), re.MULTILINE)
    return str(started)


class Installation:
    """A checkout of its own under `folder`, for `user` (None for whoever runs this)."""

    def __init__(self, folder: Path, user: str | None, packages: Path | None) -> None:
        self.folder, self.packages = folder, packages
        self.app, self.venv = folder / "app", folder / "venv"
        self.account = pwd.getpwnam(user) if user else None
        self.secret = f"whsec_{secrets.token_hex(16)}"
        self.token = secrets.token_hex(16)
        self.port = free_port()
        self.environment = {
            "DATABASE_URL": os.environ["DATABASE_URL"],
            "DJANGO_ALLOWED_HOSTS": "billing.example.com",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(64),
            "HOME": str(folder),
            "LOG_FORMAT": "json",
            "METRICS_TOKEN": self.token,
            "PATH": os.environ["PATH"],
            "PUBLIC_URL": "https://billing.example.com",
            "PYTHON": os.environ.get("PYTHON", "/usr/bin/python3"),
            "STRIPE_API_BASE": "http://127.0.0.1:9",  # nobody: what is tried needs no Stripe
            "STRIPE_WEBHOOK_SECRET": self.secret,
            **{k: v for k, v in os.environ.items() if k.startswith(("PIP_", "SSL_CERT"))},
        }
        if packages:
            self.environment["PYTHONPATH"] = str(packages)

    def copy(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
            cwd=ROOT, capture_output=True, check=True,
        )  # fmt: skip
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (self.app / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.app / name)
        if self.account:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def start(self, line: str, **more: Any) -> "subprocess.Popen[bytes]":
        """A command as the files in deploy/ have it, in the checkout."""
        words = shlex.split(line.replace(VENV_OF_UNITS, str(self.venv)))
        if self.packages and words[0].endswith("/gunicorn"):
            words = [str(self.venv / "bin" / "python"), "-m", "gunicorn", *words[1:]]
        who: dict[str, Any] = {}
        if self.account:
            who = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        return subprocess.Popen(  # noqa: S603
            words, cwd=self.app, env=self.environment | more, stdin=subprocess.DEVNULL, **who
        )

    def run(self, line: str) -> None:
        say(f"$ {line}")
        code = self.start(line).wait()
        if code:
            raise SystemExit(f"{WORDS}: {line} ended with {code}.")

    def install(self) -> None:
        for step in steps():
            if self.packages and step.endswith("packages"):
                self.run(f"{self.environment['PYTHON']} -m venv --without-pip {self.venv}")
            else:
                self.run(f"{step} {self.venv}")
        self.run(command("billing-migrate.service"))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Web server and worker; on leaving they are asked to end, and must do so."""
        web = f"{command('billing-web.service')} --bind 127.0.0.1:{self.port}"
        worker = command("billing-worker@.service")
        say(f"$ {web}\n$ {worker}")
        children = [self.start(web), self.start(worker)]
        try:
            yield
            say("SIGTERM")
            for child in children:
                child.send_signal(signal.SIGTERM)
            codes = [child.wait(60) for child in children]
            expect(codes == [0, 0], f"they end by themselves: {codes}")
        finally:
            for child in children:
                child.kill()

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """The web server's answer, as through the proxy in front of it."""
        through = {"Host": "billing.example.com", "X-Forwarded-Proto": "https"}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers={**through, **headers}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def try_out(self) -> None:
        wait_until("it is ready", lambda: self.ask("/readyz")[0] == 200)
        probe = [sys.executable, "deploy/probe.py", f"http://127.0.0.1:{self.port}/readyz/web"]
        expect(subprocess.run(probe, cwd=ROOT, check=False).returncode == 0, "the probe is content")  # noqa: S603
        status, page = self.ask("/admin/login/")
        expect(status == 200, "the log-in page is there")
        style = re.search(rb'href="(/static/[^"]+\.css)"', page)
        expect(style is not None, "it has a style sheet")
        if style:
            expect(self.ask(style[1].decode())[0] == 200, "the static files are there")
        expect(self.ask("/metrics")[0] == 401, "the figures are not for everybody")
        expect(b"billing_workers_alive 1.0" in self.metrics(), "they see the worker")
        body = json.dumps(event()).encode()
        expect(self.ask("/webhooks/stripe", body)[0] == 400, "an unsigned webhook is refused")
        before = self.processed()
        expect(self.deliver(body) == 200, "a signed one is received")
        wait_until("it is processed", lambda: self.processed() > before)

    def deliver(self, body: bytes) -> int:
        now = int(time.time())
        signed = hmac.new(self.secret.encode(), b"%d." % now + body, hashlib.sha256).hexdigest()
        return self.ask("/webhooks/stripe", body, **{"Stripe-Signature": f"t={now},v1={signed}"})[0]

    def metrics(self) -> bytes:
        return self.ask("/metrics", Authorization=f"Bearer {self.token}")[1]

    def processed(self) -> float:
        """How many events of the past minutes were processed."""
        found = re.search(
            rb"^billing_processing_seconds_gcount (\S+)", self.metrics(), re.MULTILINE
        )
        return float(found[1]) if found else 0.0


def event() -> dict[str, Any]:
    """One that needs nothing of Stripe."""
    return {
        "id": f"evt_{secrets.token_hex(8)}",
        "object": "event",
        "type": "radar.early_fraud_warning.created",
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": {"id": "issfr_1", "object": "radar.early_fraud_warning"}},
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def say(words: str) -> None:
    print(words, flush=True)  # noqa: T201


def expect(so: bool, words: str) -> None:
    if not so:
        raise SystemExit(f"{WORDS}: this is not so: {words}.")
    say(f"  {words}")


def wait_until(words: str, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        expect(time.monotonic() < deadline, words)
        time.sleep(0.2)
    expect(True, words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--user", help="who runs it; only root can choose (default: nobody)")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="installed ones")
    options = parser.parse_args()
    if not os.environ.get("DATABASE_URL"):
        raise SystemExit(f"{WORDS}: DATABASE_URL is not set: name a PostgreSQL database to try.")
    user = options.user or ("nobody" if os.geteuid() == 0 else None)
    folder = Path(tempfile.mkdtemp(prefix="billing-check-"))
    try:
        installation = Installation(folder, user, options.packages)
        say(f"in {folder}, as {user or 'this user'}")
        installation.copy()
        installation.install()
        with installation.running():
            installation.try_out()
    finally:
        shutil.rmtree(folder)
    say("All of it works.")


if __name__ == "__main__":
    main()

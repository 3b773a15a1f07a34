"""Machines on one cable: network namespaces, a bridge between them, and PostgreSQL on it.

Needs root, and `ip` of iproute2. Everything is named `billing-` something and taken away again.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from backoffice.postgres import BASE_DIR, DATABASE, SUPERUSER, EmbeddedServer
from tests.support.databases import migrate
from tests.support.waiting import wait_until

BRIDGE = "billing-br"
NET = "10.77.33"
HOST = f"{NET}.1"


def ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=not check)


@dataclass
class Machine:
    """A network namespace with a cable to the bridge, and what runs in it."""

    name: str
    number: int
    children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"{NET}.{self.number}"

    @property
    def cable(self) -> str:
        return f"billing-{self.number}"

    def plug_in(self) -> None:
        ip("link", "set", self.cable, "master", BRIDGE)

    def cut_off(self) -> None:
        """Whatever is sent from now on, either way, is lost without a word."""
        ip("link", "set", self.cable, "nomaster")

    def start(
        self, arguments: Sequence[str], environment: dict[str, str], log: Path
    ) -> "subprocess.Popen[bytes]":
        command = ["ip", "netns", "exec", self.name, sys.executable, *arguments]
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                cwd=BASE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.children.append(child)
        return child


@contextmanager
def machines(names: Sequence[str]) -> Iterator[list[Machine]]:
    if os.geteuid() != 0:
        raise SystemExit("Network namespaces need root: sudo make drill-network.")
    with ExitStack() as stack:
        ip("link", "delete", BRIDGE, check=False)
        ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(ip, "link", "delete", BRIDGE, check=False)
        ip("address", "add", f"{HOST}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        yield [stack.enter_context(machine(name, n)) for n, name in enumerate(names, start=11)]


@contextmanager
def machine(name: str, number: int) -> Iterator[Machine]:
    made = Machine(f"billing-{name}", number)
    ip("netns", "delete", made.name, check=False)
    ip("link", "delete", made.cable, check=False)  # the kernel takes its time to take it away
    ip("netns", "add", made.name)
    try:
        ip("link", "add", made.cable, "type", "veth", "peer", "name", "eth0", "netns", made.name)
        made.plug_in()
        ip("link", "set", made.cable, "up")
        inside = ("netns", "exec", made.name, "ip")
        ip(*inside, "address", "add", f"{made.address}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        yield made
    finally:
        for child in made.children:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        ip("netns", "delete", made.name, check=False)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A migrated database that listens on the bridge: its address."""
    server = EmbeddedServer(folder, durable=False)
    server.ensure_running()
    try:
        migrate(server.url())
        server.stop()
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"\nhost all all {NET}.0/24 trust\n")
        account = server.account
        who = {"user": account.pw_uid, "group": account.pw_gid} if account else {}
        listening = ["-c", f"listen_addresses={HOST}", "-c", "port=5432"]
        with (folder.parent / "postgres.log").open("wb") as log:
            running = subprocess.Popen(
                [server.binary("postgres"), "-D", server.data, "-k", server.home, *listening],
                stdout=log,
                stderr=log,
                extra_groups=[],
                **who,  # type: ignore[arg-type]
            )
        try:
            url = f"postgres://{SUPERUSER}@{HOST}:5432/{DATABASE}"
            wait_until(lambda: answers(url), seconds=120)
            yield url
        finally:
            running.send_signal(signal.SIGQUIT)
            running.wait()
    finally:
        server.destroy()


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True

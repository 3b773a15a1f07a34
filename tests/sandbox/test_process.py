"""The process: how it starts and stops, and what survives it."""

import socket
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import httpx
import pytest

from backoffice.sandbox.__main__ import main
from tests.sandbox.server import API_KEY, ROOT, SandboxProcess, run_sandbox, start_sandbox


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the sandbox's command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "backoffice.sandbox", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_stops_cleanly_and_goes_on_with_its_data(tmp_path: Path) -> None:
    data = tmp_path / "s.db"
    first = start_sandbox(data)
    customer = first.stripe.v1.customers.create({"name": "A"}).id
    assert first.stop() == 0
    with run_sandbox(data) as again:
        assert again.get(f"/v1/customers/{customer}").json()["name"] == "A"


def test_sigkill_loses_no_answered_request(tmp_path: Path) -> None:
    data = tmp_path / "s.db"
    running = start_sandbox(data)
    answered: list[str] = []
    renamed: dict[str, str] = {}

    def create(worker: int) -> None:
        for number in count():
            try:
                made = running.post("/v1/customers", {"name": "A"}).json()["id"]
                answered.append(made)
                name = f"{worker} {number}"
                running.post(f"/v1/customers/{made}", {"name": name})
            except httpx.HTTPError:
                return
            renamed[made] = name

    threads = [threading.Thread(target=create, args=[worker]) for worker in range(6)]
    for thread in threads:
        thread.start()
    while len(renamed) < 60:
        threads[0].join(0.01)
    running.kill()
    for thread in threads:
        thread.join()
    with run_sandbox(data) as again:
        found = again.stripe.v1.customers.list({"limit": 100}).auto_paging_iter()
        names = {made.id: made.name for made in found}
        assert set(answered) <= names.keys()
        assert renamed.items() <= names.items()
        events = again.stripe.v1.events.list({"limit": 100}).auto_paging_iter()
        assert set(answered) <= {made.data.object["id"] for made in events}


def test_it_listens_on_loopback_only(shared: SandboxProcess) -> None:
    port = int(shared.url.rpartition(":")[2])
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [
        entry[1] for entry in table if entry[1].endswith(f":{port:04X}") and entry[3] == "0A"
    ]
    assert listening == [f"0100007F:{port:04X}"]


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = run("--port", str(taken.getsockname()[1]), "--data", str(tmp_path / "s.db"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot listen on port")
    assert "Traceback" not in ended.stderr


def test_it_listens_on_a_unix_socket_too_even_after_it_was_killed(server_folder: Path) -> None:
    address = server_folder.with_name("api.sock")
    data = server_folder.with_name("s.db")
    options = ["--unix-socket", str(address)]
    start_sandbox(data, extra_args=options).kill()
    assert address.is_socket()
    headers = {"Authorization": f"Bearer {API_KEY}"}
    through = httpx.HTTPTransport(uds=str(address))
    with (
        run_sandbox(data, extra_args=options) as again,
        httpx.Client(transport=through, base_url="http://stripe", headers=headers) as local,
    ):
        made = local.post("/v1/customers", data={"name": "Ann"}).json()
        assert again.stripe.v1.customers.retrieve(made["id"]).name == "Ann"


def test_a_file_is_not_taken_for_a_unix_socket(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear Stripe")
    data = str(tmp_path / "s.db")
    ended = run("--port", "0", "--data", data, "--unix-socket", str(letter))
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"cannot listen on {letter}")
    assert letter.read_text() == "Dear Stripe"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--port", "x", "--data", "s.db"],
        ["--port", "70000", "--data", "s.db"],
        ["--port", "0", "--data", "s.db", "--customers", "-1"],
        ["--port", "0", "--data", "s.db", "--retry-schedule", "soon"],
    ],
)
def test_wrong_arguments_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_file_that_is_no_sandbox_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "letter.txt"
    data.write_text("Dear Stripe, " * 200)
    ended = run("--port", "0", "--data", str(data))
    assert ended.returncode == 1
    assert ended.stderr.strip().count("\n") == 0
    assert "letter.txt" in ended.stderr


def test_it_knows_neither_django_nor_the_back_office() -> None:
    code = (
        "import sys, backoffice.sandbox.__main__;"
        "print([m for m in sys.modules if m.split('.')[0] in ('django', 'billing', 'djstripe')])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"

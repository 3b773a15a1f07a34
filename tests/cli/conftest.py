"""A sandbox that sends its events to a webhook, and Stripe's CLI to drive it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backoffice.scratch import scratch_folder
from tests.cli.hooked import Hooked
from tests.cli.stripe_cli import StripeCli
from tests.sandbox.receiver import Receiver
from tests.sandbox.server import run_sandbox
from tests.support.tools import find_stripe_cli


@pytest.fixture(scope="module")
def hooked() -> Iterator[Hooked]:
    """A sandbox for the tests of a module; it tries each delivery once."""
    # A Unix socket's path has to be short.
    with (
        tempfile.TemporaryDirectory(prefix="cli-", dir=scratch_folder()) as folder,
        Receiver() as receiver,
    ):
        socket = Path(folder) / "api.sock"
        options = ["--retry-schedule", "", "--delivery-timeout", "60", "--unix-socket", str(socket)]
        with run_sandbox(Path(folder) / "stripe.db", extra_args=options) as sandbox:
            made = sandbox.stripe.v1.webhook_endpoints.create(
                {"url": receiver.url, "enabled_events": ["*"]}
            )
            yield Hooked(sandbox, socket, receiver, made.id, str(made.secret))


@pytest.fixture(scope="module")
def cli(hooked: Hooked, tmp_path_factory: pytest.TempPathFactory) -> StripeCli:
    """Stripe's CLI, talking to `hooked`."""
    program = find_stripe_cli()
    assert program is not None
    return StripeCli(program, tmp_path_factory.mktemp("home"), hooked.sandbox.url)

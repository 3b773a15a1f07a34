"""A shop, and an address that takes alerts."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.alerts.hook import Hook
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    return Shop(sandbox)


@pytest.fixture
def hook(settings: Settings) -> Iterator[Hook]:
    """Where the alerts go."""
    with Hook() as listening:
        settings.ALERT_WEBHOOK_URL = listening.url
        yield listening

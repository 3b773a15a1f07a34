"""A shop whose webhooks fail, and its books, where commits are real."""

import pytest

from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess
from tests.support.databases import Database


@pytest.fixture
def shop(real_database: Database, sandbox: SandboxProcess) -> Shop:
    """A pack of 50 credits and a plan of 20 a month, whose prices the back office knows."""
    made = Shop(sandbox)
    made.deliver()
    return made

"""A shop in the sandbox for the operations to work on."""

import pytest

from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A pack of 50 credits for 45.00 USD, and a plan of 20 credits for 29.00 USD a month."""
    return Shop(sandbox)


@pytest.fixture
def known_shop(shop: Shop) -> Shop:
    """The same, and the back office knows its products and prices."""
    shop.deliver()
    return shop

"""The shop that the customers buy from, and an agent who makes links."""

import pytest
from django.test import Client

from tests.operations.conftest import known_shop, shop
from tests.selfservice.visits import Visitor

__all__ = ["known_shop", "shop"]


@pytest.fixture
def visitor(client: Client) -> Visitor:
    """Somebody who was sent a link, and is logged in nowhere."""
    return Visitor(client)

"""The shop in which differences are played."""

from tests.operations.conftest import known_shop, shop

__all__ = ["known_shop", "shop"]

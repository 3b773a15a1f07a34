"""The shop in which the causes of findings are played."""

from tests.admin.conftest import static_files_are_looked_for
from tests.operations.conftest import known_shop, shop

__all__ = ["known_shop", "shop", "static_files_are_looked_for"]

"""What the journeys need: a shop whose prices the back office knows, commands, and people."""

from tests.admin.conftest import log_in, static_files_are_looked_for, support
from tests.commands.conftest import run, shop

__all__ = ["log_in", "run", "shop", "static_files_are_looked_for", "support"]

"""Commands in this process."""

from tests.commands.conftest import run

__all__ = ["run"]

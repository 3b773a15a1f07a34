"""Leaves out the tests whose tool is missing, and says so in the last line of the run.

Browser tests are run after all others.
"""

import os
from typing import Any

import pytest

from tests.support.tools import TOOLS, left_out_notice

EVERYTHING = "BACKOFFICE_TEST_EVERYTHING"


class LeftOut:
    """A pytest plugin. With BACKOFFICE_TEST_EVERYTHING=1, a run that left a test out fails.

    The workers of pytest-xdist all collect the same tests, and tell the main process.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        for marker, tool in TOOLS.items():
            needing = [item for item in items if item.get_closest_marker(marker)]
            if needing and tool.find() is None:
                self.counts[marker] = len(needing)
                items[:] = [item for item in items if item not in needing]
                config.hook.pytest_deselected(items=needing)
        # Playwright's event loop stays in the process, where it would be in others' way.
        items.sort(key=lambda item: item.get_closest_marker("browser") is not None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.counts |= getattr(node, "workeroutput", {}).get("left_out", {})

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["left_out"] = self.counts
        elif self.counts and os.environ.get(EVERYTHING) == "1":
            session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        if self.counts and not hasattr(config, "workerinput"):
            writer = config.get_terminal_writer()
            writer.line(left_out_notice(self.counts), red=True, bold=True)

"""Probes that ask anew every time."""

import pytest

from billing.observing import metrics, readiness

TOKEN = "a-token-of-the-tests-and-of-nobody-else"


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    for kept in (readiness.everything, readiness.web_server, metrics.exposition):
        kept.forget()

"""What the tests of the webhook share."""

import pytest
from pytest_django import Settings


@pytest.fixture(autouse=True)
def no_static_files(settings: Settings) -> None:
    """Static files are looked for when one is asked for, which no test here does."""
    settings.WHITENOISE_AUTOREFRESH = True

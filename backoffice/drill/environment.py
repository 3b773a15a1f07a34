"""The scratch environment: nothing of the caller's settings reaches the drill."""

import os
import re
from collections.abc import Iterator

from backoffice.processes import BASE_DIR

STRIPE_KEY = "sk_test_" + "DrillOnASandbox0" * 2
NAME = re.compile(r"^([A-Z][A-Z0-9_]*)=", re.MULTILINE)
INHERITED = ("HOME", "LANG", "PATH", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


def variables() -> Iterator[str]:
    """Every variable that the settings read."""
    return iter(NAME.findall((BASE_DIR / ".env.example").read_text()))


def scratch() -> dict[str, str]:
    """The whole environment of the drill's process.

    Each of the settings' variables is in it, so that no `.env` file fills one in: an empty value
    counts as not set. Nothing listens where it says that Stripe and the database are; the drill
    sets both once its own are there.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {
        **inherited,
        **dict.fromkeys(variables(), ""),
        "DJANGO_SETTINGS_MODULE": "backoffice.settings",
        "DJANGO_DEBUG": "true",  # nothing of it leaves this machine: no TLS
        "DJANGO_SECRET_KEY": "the-drill-signs-with-this-key-and-is-gone-after-it",
        "DATABASE_URL": "postgres://drill@127.0.0.1:9/none",
        "EMAIL_URL": "dummymail://",
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "STRIPE_BULK_REQUESTS_PER_SECOND": "0",
        "STRIPE_SECRET_KEY": STRIPE_KEY,
    }

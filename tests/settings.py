"""The project's settings in the tests' environment; DATABASE_URL alone is the caller's."""

import os
import warnings

from tests.support.environment import VARIABLES

os.environ.update(VARIABLES | {"DATABASE_URL": os.environ.get("DATABASE_URL", "")})

from backoffice.settings import *  # noqa: F403
from backoffice.settings import DATABASES

# dj-stripe's forms on Django 5.2, imported with the admin.
warnings.filterwarnings("ignore", "The default scheme will be changed", DeprecationWarning)

# Playwright's event loop stays in the process after the first browser test.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# The fixtures name the database (tests/support/databases.py); until then there is none.
DATABASES["default"]["NAME"] = "no-test-database-yet"
PASSWORD_HASHERS = ["tests.support.hashers.FastHasher"]

# Tests marked `django_db` are one transaction; the fixture real_database takes this back.
STRIPE_CALLS_IN_TRANSACTION = True

# As on a developer's machine: nobody has collected the static files.
WHITENOISE_AUTOREFRESH = True

# The tests of the alerts turn it on; elsewhere a second connection would be in the way.
WATCH_WORKER_FROM_WEB = False

"""The project's settings with dj-stripe's own webhook instead of ours."""

from backoffice.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.djstripe_urls"

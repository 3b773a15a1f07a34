"""The project's settings with dj-stripe's own webhook instead of ours, and little around it."""

from backoffice.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.djstripe_urls"
# Ours knows addresses that are not there; allauth insists on its own.
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
]

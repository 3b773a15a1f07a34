"""What the browser is given to keep."""

import json
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from backoffice.postgres import BASE_DIR
from tests.admin.conftest import log_in_as
from tests.setup.test_environment import PRODUCTION
from tests.support.environment import child_environment

ASKED = """
import json
from backoffice import settings
print(json.dumps({name: value for name, value in vars(settings).items() if "_COOKIE_" in name}))
"""


def test_cookies_of_production() -> None:
    """By TLS alone, for this host alone, for no script, and not sent along from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=BASE_DIR,
        env=child_environment(**PRODUCTION),
        capture_output=True,
        check=True,
    )
    said = json.loads(done.stdout)
    for kind, name in (("SESSION", "__Host-sessionid"), ("CSRF", "__Host-csrftoken")):
        assert said[f"{kind}_COOKIE_NAME"] == name
        assert said[f"{kind}_COOKIE_SECURE"] is True
        assert said[f"{kind}_COOKIE_HTTPONLY"] is True
        assert said[f"{kind}_COOKIE_SAMESITE"] == "Lax"
        # Browsers take the prefix for a cookie of the whole host alone.
        assert f"{kind}_COOKIE_DOMAIN" not in said
        assert f"{kind}_COOKIE_PATH" not in said


@pytest.mark.django_db
def test_messages_are_kept_on_the_server(settings: Settings) -> None:
    """What was done, to whom, stands in the session, and in no cookie."""
    client: Client = log_in_as("support")
    unknown = client.get(reverse("admin:billing_open"), {"id": "nothing has this id"})
    assert unknown.status_code == 302
    assert set(client.cookies) == {settings.SESSION_COOKIE_NAME}
    assert "nothing has this id" in client.get(unknown["Location"]).content.decode()


@pytest.mark.django_db
def test_no_account_comes_with_the_tables() -> None:
    assert not User.objects.exists()

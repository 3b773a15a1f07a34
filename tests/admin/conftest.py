"""Somebody logged in to the admin, in one role or another, and a browser before it."""

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from playwright.sync_api import Page
from pytest_django import Settings

from tests.admin.desk import Desk
from tests.support.back_office import BackOffice

LogIn = Callable[..., Client]


def log_in_as(role: str = "support", *, enforce_csrf_checks: bool = False) -> Client:
    """A client of a user in this role; `superuser` and `nobody` are none of the roles."""
    user, _ = User.objects.get_or_create(
        username=role, defaults={"is_staff": True, "is_superuser": role == "superuser"}
    )
    user.groups.set(Group.objects.filter(name=role))
    client = Client(enforce_csrf_checks=enforce_csrf_checks)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def count_queries(act: Callable[[], object]) -> int:
    """How many SQL statements it takes, once the caches of the first time are filled."""
    act()
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


@pytest.fixture(autouse=True)
def static_files_are_looked_for(settings: Settings) -> None:
    """As on a developer's machine: nobody has collected them."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def log_in(db: None) -> LogIn:
    return log_in_as


@pytest.fixture
def support(db: None) -> Client:
    return log_in_as("support")


@pytest.fixture
def desk(back_office: BackOffice, page: Page) -> Iterator[Desk]:
    """Nobody is logged in yet. Errors in the browser's console fail the test."""
    made = Desk(back_office, page)
    yield made
    assert made.errors == []

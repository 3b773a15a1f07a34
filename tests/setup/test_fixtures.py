"""The fixtures that everything else is tested with."""

import threading

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections

from tests.support.databases import Database, Databases


@pytest.mark.django_db
@pytest.mark.parametrize("attempt", [1, 2])
def test_a_marked_test_starts_with_the_migrated_rows_only(attempt: int) -> None:
    Group.objects.create(name="left behind by another test")
    roles = ["support", "finance", "engineer", "administrator"]
    assert Group.objects.filter(name__in=roles).count() == 4
    assert Group.objects.count() == 5


@pytest.mark.parametrize("attempt", [1, 2])
def test_commits_are_real_and_gone_in_the_next_test(
    real_database: Database, databases: Databases, attempt: int
) -> None:
    assert not Group.objects.filter(name="committed").exists()

    def commit() -> None:
        Group.objects.create(name="committed")
        connections.close_all()

    thread = threading.Thread(target=commit)
    thread.start()
    thread.join()
    assert Group.objects.filter(name="committed").exists()
    assert connection.settings_dict["NAME"] == real_database.name
    assert real_database.name in databases.names("billing_test_")

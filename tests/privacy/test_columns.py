"""Every column that may say something of a person is known, and the page says the same."""

import pytest
from django.apps import apps
from django.db import connection

from backoffice.postgres import BASE_DIR
from billing import privacy
from billing.privacy import COLUMNS, Kind

TEXTS = ("text", "character varying", "character", "jsonb", "json", "bytea", "inet", "ARRAY")
PAGE = BASE_DIR / "deploy" / "privacy.md"
# Django's own lists of tables, permissions and migrations name no people.
LEFT_OUT = {"django_migrations", "procrastinate_version"}


@pytest.mark.django_db
def test_every_text_of_every_table_is_classified() -> None:
    """Of our tables, dj-stripe's, axes', auth's, procrastinate's, and any that comes later."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.table_name, c.column_name FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'"
            " AND c.data_type = ANY(%s)",
            [list(TEXTS)],
        )
        there = {(table, column) for table, column in cursor.fetchall() if table not in LEFT_OUT}
    known = {(table, column) for table, columns in COLUMNS.items() for column in columns}
    references = {
        (model._meta.db_table, field.column)
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.concrete_fields
        if field.is_relation  # an id, of dj-stripe's rows as text
    }
    assert there - known - references == set(), "Classify these in billing/privacy.py"
    assert known - there == set(), "These are gone: take them out of billing/privacy.py"


def test_what_is_about_people_stands_in_one_row_of_the_page() -> None:
    for table, columns in COLUMNS.items():
        says = set(columns.values()) - privacy.NOBODYS
        assert len(privacy.group_of(table)) == bool(says) or not says, table


def test_the_page_is_what_the_code_says() -> None:
    assert privacy.page() in PAGE.read_text(), "Put billing.privacy.page() into deploy/privacy.md"


@pytest.mark.django_db
def test_every_table_of_stripes_objects_is_redacted_as_it_is_written() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'billing_keep_erased'"
        )
        guarded = {table for (table,) in cursor.fetchall()}
    holding = {*privacy.columns_of(Kind.STRIPE), *privacy.columns_of(Kind.PERSONAL)}
    assert holding - guarded == set()

"""No page takes files, and none more than it has use for."""

import io
from pathlib import Path

import pytest
from django import forms
from django.apps import apps
from django.conf import settings
from django.db.models import FileField
from django.test import Client

from billing.admin.operations import PAGES
from tests.admin.conftest import log_in_as

pytestmark = pytest.mark.django_db
GRANT = "/admin/billing/operationrecord/run/grant-credits/"


def test_a_file_is_refused_wherever_it_is_sent(client: Client) -> None:
    """Unread, with a page that says why: by the log-in page, and by what an operator may post."""
    for sender, address in ((client, "/admin/login/"), (log_in_as("engineer"), GRANT)):
        file = io.BytesIO(b"GIF89a")
        file.name = "cat.gif"
        response = sender.post(address, {"username": "ada", "password": file})
        assert response.status_code == 400
        assert "no page takes files" in response.content.decode()


def test_more_than_a_form_can_hold_is_refused(client: Client) -> None:
    for data in (
        {"username": "a" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)},
        {f"name{number}": "" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)},
    ):
        assert client.post("/admin/login/", data).status_code == 400


def test_no_form_and_no_table_has_a_place_for_files() -> None:
    for page in PAGES.values():
        for field in page.form.base_fields.values():
            assert not isinstance(field, forms.FileField)
    for model in apps.get_models():
        if model._meta.app_label != "djstripe":  # its uploads are Stripe's, and are not shown
            assert not [f for f in model._meta.fields if isinstance(f, FileField)]
    templates = Path(settings.BASE_DIR / "templates").rglob("*.html")
    assert not [each for each in templates if 'type="file"' in each.read_text()]

"""A new release of dj-stripe cannot change its tables unnoticed."""

import pytest
from djstripe import models

from billing.mirror import tables


def test_a_column_of_an_unknown_type_is_noticed() -> None:
    with pytest.raises(tables.UnknownColumnError, match=r"endpoint\.djstripe_uuid is a UUIDField"):
        tables.describe("webhook_endpoint", models.WebhookEndpoint)


def test_a_reference_to_an_unknown_table_is_noticed() -> None:
    with pytest.raises(tables.UnknownColumnError, match=r"file_link\.file refers to File"):
        tables.describe("file_link", models.FileLink)


def test_every_column_of_djstripe_is_filled() -> None:
    for kind, table in tables.tables().items():
        model = tables.djstripe_model(kind)
        assert table.name == model._meta.db_table
        for field in model._meta.concrete_fields:
            assert field.name in tables.NOT_STRIPES or f'"{field.column}"' in table.upsert

"""Our rows are those that dj-stripe's own sync writes, but for the fields that it misreads."""

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe
from django.db import connection, transaction
from django.utils.module_loading import import_string

from billing.gateway.observation import Observation, StripeDict
from billing.gateway.shapes import dig
from billing.mirror import store
from billing.mirror.tables import MODELS
from tests.mirror.rows import Rows, rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Parts of other objects, which dj-stripe can also store by themselves.
PARTS = {"subscription": ("items", "subscription_item"), "invoice": ("lines", "line_item")}


@dataclass(frozen=True)
class Misreading:
    """What dj-stripe writes for a field, and what the object says."""

    theirs: Callable[[StripeDict], Any]
    ours: Callable[[StripeDict], Any]


def nothing(data: StripeDict) -> Any:
    return None


MISREADINGS = {
    ("invoice", "default_tax_rates"): Misreading(
        lambda data: [], lambda data: sorted(rate["id"] for rate in data["default_tax_rates"])
    ),
    ("invoice", "subscription"): Misreading(
        nothing, lambda data: dig(data, "parent", "subscription_details", "subscription")
    ),
    ("invoiceitem", "price"): Misreading(
        nothing, lambda data: dig(data, "pricing", "price_details", "price")
    ),
    ("line_item", "subscription_item"): Misreading(
        nothing,
        lambda data: dig(data, "parent", "subscription_item_details", "subscription_item"),
    ),
}


@pytest.mark.django_db
@pytest.mark.usefixtures("djstripe_at_world")
def test_rows_are_those_of_djstripe(objects: dict[str, list[StripeDict]], account_id: str) -> None:
    theirs = written_by_djstripe(objects)
    ours = written_by_us(objects, account_id)
    assert {kind: sorted(found) for kind, found in ours.items()} == {
        kind: sorted(found) for kind, found in theirs.items()
    }
    assert [kind for kind, found in ours.items() if not found] == []

    differing = {
        (kind, name, object_id)
        for kind, found in theirs.items()
        for object_id, row in found.items()
        for name, value in row.items()
        if ours[kind][object_id][name] != value
    }
    assert {(kind, name) for kind, name, _ in differing} == MISREADINGS.keys()
    for kind, name, object_id in differing:
        misreading = MISREADINGS[kind, name]
        row = ours[kind][object_id]
        assert theirs[kind][object_id][name] == misreading.theirs(row["stripe_data"])
        assert row[name] == misreading.ours(row["stripe_data"])


@pytest.mark.django_db
def test_writing_the_same_again_changes_no_row(
    objects: dict[str, list[StripeDict]], account_id: str
) -> None:
    written_by_us(objects, account_id)
    models = [import_string(f"djstripe.models.{name}") for name in MODELS.values()]
    for model in models:
        model.objects.update(djstripe_updated=NOW)
    written_by_us(objects, account_id)
    for model in models:
        assert not model.objects.exclude(djstripe_updated=NOW).exists()


def written_by_djstripe(objects: dict[str, list[StripeDict]]) -> Rows:
    """The rows after dj-stripe's own sync of every object, which is then undone."""
    with transaction.atomic(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # dj-stripe's own, for sources
        for data in every(objects):
            model = import_string(f"djstripe.models.{MODELS[data['object']]}")
            copied = copy.deepcopy(data)
            # An event comes to dj-stripe in a webhook, as plain JSON; the others from requests.
            is_event = data["object"] == "event"
            model.sync_from_stripe_data(
                copied if is_event else stripe.convert_to_stripe_object(copied)
            )
        found = rows()
        transaction.set_rollback(True)
    return found


def written_by_us(objects: dict[str, list[StripeDict]], account_id: str) -> Rows:
    seen = [Observation(data, NOW, NOW) for group in objects.values() for data in group]
    assert store.missing_parents(seen) == set()
    store.write(seen, account_id=account_id, livemode=False)
    connection.check_constraints()
    return rows()


def every(objects: dict[str, list[StripeDict]]) -> Iterator[StripeDict]:
    """The objects, and the parts that dj-stripe does not renew with the whole."""
    for kind, group in objects.items():
        for data in group:
            yield data
            if kind in PARTS:
                yield from data[PARTS[kind][0]]["data"]

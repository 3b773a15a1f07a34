"""The mirror's rows as they can be compared: without what differs by time and by insertion."""

from typing import Any

from django.utils.module_loading import import_string
from djstripe.models import DjstripePaymentMethod

from billing.mirror.tables import MODELS

OURS_ALONE = {"djstripe_id", "djstripe_created", "djstripe_updated"}
Rows = dict[str, dict[str, dict[str, Any]]]


def rows() -> Rows:
    """Every row: kind, Stripe id, column; other rows are named by their Stripe ids."""
    found = {
        kind: rows_of(import_string(f"djstripe.models.{name}")) for kind, name in MODELS.items()
    }
    found["legacy"] = {row["id"]: row for row in DjstripePaymentMethod.objects.values()}
    return found


def rows_of(model: Any) -> dict[str, dict[str, Any]]:
    """Every row of one model by its Stripe id."""
    names = {
        field.name: f"{field.name}__id" if field.is_relation else field.name
        for field in model._meta.concrete_fields
        if field.name not in OURS_ALONE
    }
    found: dict[str, dict[str, Any]] = {
        row[names["id"]]: {name: row[key] for name, key in names.items()}
        for row in model.objects.values(*names.values())
    }
    for field in model._meta.many_to_many:
        for row in found.values():
            row[field.name] = []
        pairs = model.objects.exclude(**{field.name: None}).values_list("id", f"{field.name}__id")
        for child_id, parent_id in pairs.order_by(f"{field.name}__id"):
            found[child_id][field.name].append(parent_id)
    return found

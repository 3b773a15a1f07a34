"""The raw JSON of Stripe's objects, one click below the figures: what dj-stripe's rows keep."""

from typing import TYPE_CHECKING, Any

from djstripe.models import StripeModel

from billing.admin.cells import EMPTY, Column, column, json_block

if TYPE_CHECKING:
    from django.contrib.admin.options import _FieldOpts

RAW: tuple[str, "_FieldOpts"] = (
    "Raw JSON, as Stripe last sent it",
    {"classes": ("collapse",), "fields": ("raw",)},
)


def raw_column(model: type[StripeModel], field: str) -> Column:
    """The object of dj-stripe's whose Stripe id stands in a field of the row; for RAW."""

    def raw(row: Any) -> str:
        if not hasattr(row, "stripe_json"):  # a page asks for a field's contents several times
            found = model._default_manager.filter(id=getattr(row, field))
            data = found.values_list("stripe_data", flat=True).first()
            row.stripe_json = EMPTY if data is None else json_block(data)
        return str(row.stripe_json)

    return column(raw, "JSON")

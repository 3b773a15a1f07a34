"""Where the lists of what reconciliation and alerts keep are."""

from urllib.parse import urlencode

from django.db.models import Model
from django.urls import reverse


def listed(model: type[Model], **query: str) -> str:
    url = f"{reverse('admin:index')}{model._meta.app_label}/{model._meta.model_name}/"
    return f"{url}?{urlencode(query)}" if query else url


def page(row: Model) -> str:
    return f"{listed(type(row))}{row.pk}/change/"

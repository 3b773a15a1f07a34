"""What a rule says when what it watches for is so."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

from django.db.models import Model
from django.urls import reverse

EVERY_MINUTE = timedelta(minutes=1)


class Severity(StrEnum):
    """`DANGER`: customers are missing something by now, or soon. `WARNING`: look today."""

    DANGER = "danger"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Firing:
    """One thing that is so: what, in plain words, with what to do next, and the path that shows it.

    A rule's firings are told apart by `key`.
    """

    title: str
    detail: str
    page: str
    severity: Severity = Severity.DANGER
    key: str = ""


@dataclass(slots=True)
class Look:
    """One look of a rule: when it is (UTC), and what it remembers for the next one.

    Only what is JSON can be remembered.
    """

    now: datetime
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """What is watched for, and how often.

    One that `asks_outside`, over the network, is left to a job of its own: it keeps no other rule
    waiting, and no transaction open.
    """

    name: str
    find: Callable[[Look], Iterator[Firing]]
    every: timedelta = EVERY_MINUTE
    asks_outside: bool = False


def list_page(model: type[Model], **query: str) -> str:
    """The path of a model's list in the admin, filtered by `query`."""
    path = f"{reverse('admin:index')}{model._meta.app_label}/{model._meta.model_name}/"
    return f"{path}?{urlencode(query)}" if query else path


def row_page(row: Model) -> str:
    """The path of a row's own page in the admin."""
    return f"{list_page(type(row))}{row.pk}/change/"


def home_page() -> str:
    return reverse("admin:index")


def outage_page(since: datetime | None = None) -> str:
    """The page that leads through an outage, with when it began, where that is known."""
    path = reverse("admin:billing_outage")
    if since is None:
        return path
    return f"{path}?{urlencode({'since': since.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S')})}"


def counted(number: int, one: str, several: str = "") -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"

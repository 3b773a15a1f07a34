"""The lists' filters: fixed choices, so that none has to scan a table to know its own."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware

from billing.database import different
from billing.formatting import format_time
from billing.models import OperationRecord
from billing.models.events import AUDITED
from billing.models.modes import in_mode

MOST_ACTORS = 100


class ChoiceFilter(SimpleListFilter):
    """Rows for which the chosen condition holds."""

    conditions: ClassVar[Sequence[tuple[str, str, Q]]]  # value, words, condition

    def lookups(
        self, request: HttpRequest, model_admin: "ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        return [(value, words) for value, words, _ in self.conditions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for value, _, condition in self.conditions:
            if value == self.value():
                return queryset.filter(condition)
        return queryset


def choice_filter(
    name: str, words: str, conditions: Sequence[tuple[str, str, Q]]
) -> type[ChoiceFilter]:
    """A filter in the address as `name`, titled `words`."""
    return type(
        "Filter",
        (ChoiceFilter,),
        {"parameter_name": name, "title": words, "conditions": conditions},
    )


def status_filter(*statuses: str) -> type[ChoiceFilter]:
    """By `status`, with Stripe's words for its choices."""
    return choice_filter(
        "status",
        "status",
        [(status, status.replace("_", " ").capitalize(), Q(status=status)) for status in statuses],
    )


def choices_filter(field: str, choices: Sequence[tuple[str, Any]]) -> type[ChoiceFilter]:
    """By a field with choices of ours."""
    return choice_filter(
        field,
        field,
        [(str(value), str(words), Q(**{field: str(value)})) for value, words in choices],
    )


def actor_filter(words: str) -> type[SimpleListFilter]:
    """By who did it: those who ever ran an operation."""

    class ActorFilter(SimpleListFilter):
        title = words
        parameter_name = "actor"

        def lookups(
            self, request: HttpRequest, model_admin: "ModelAdmin[Any]"
        ) -> list[tuple[str, str]]:
            return [(name, name) for name in different(OperationRecord, "actor", MOST_ACTORS)]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(actor=self.value()) if self.value() else queryset

    return ActorFilter


def since_filter(field: str, words: str) -> type[SimpleListFilter]:
    """By how long ago it was."""

    class SinceFilter(SimpleListFilter):
        title = words
        parameter_name = "since"
        spans: ClassVar[dict[str, tuple[str, timedelta]]] = {
            "hour": ("Past hour", timedelta(hours=1)),
            "day": ("Past 24 hours", timedelta(days=1)),
            "week": ("Past 7 days", timedelta(days=7)),
            "month": ("Past 30 days", timedelta(days=30)),
        }

        def lookups(
            self, request: HttpRequest, model_admin: "ModelAdmin[Any]"
        ) -> list[tuple[str, str]]:
            return [(value, words) for value, (words, _) in self.spans.items()]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            chosen = self.spans.get(self.value() or "")
            if chosen is None:
                return queryset
            return queryset.filter(**{f"{field}__gte": timezone.now() - chosen[1]})

    return SinceFilter


def span_words(query: Mapping[str, str]) -> str:
    """The times between which a list's address asks for rows, as charts ask; '' where it does not.

    Django's own lookups do it (`received_at__gte`, `received_at__lt`), and show it nowhere.
    """
    said = []
    for lookup, word in (("__gte", "from"), ("__lt", "to")):
        values = [value for name, value in query.items() if name.endswith(lookup)]
        try:
            moments = [moment for value in values if (moment := parse_datetime(value))]
        except ValueError:
            return ""
        said += [f"{word} {format_time(moment)}" for moment in moments if is_aware(moment)]
    return " ".join(said)


OURS = (
    ("manual", "People", AUDITED["manual"]),
    ("system", "The back office itself", AUDITED["system"]),
    ("sql", "Raw SQL", AUDITED["sql"]),
)
"""The choices among events that are not Stripe's: who did it."""

LIVEMODE = choice_filter(
    "livemode",
    "mode",
    [("live", "Live", in_mode(live=True)), ("test", "Test", in_mode(live=False))],
)

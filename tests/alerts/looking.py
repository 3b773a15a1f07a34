"""Looking at single rules, and at what they say."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django.db import connection
from django.utils import timezone

from billing.alerts.firing import Firing, Look, Rule
from billing.alerts.rules import ALL, Outcome, look_at

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 3, 18, 12, 50, tzinfo=UTC)


def outcome(name: str, now: datetime | None = None) -> Outcome:
    """One look at a rule, which remembers it."""
    [rule] = [rule for rule in ALL if rule.name == name]
    [found] = look_at([rule], now or timezone.now(), all_due=True)
    return found


def fired(name: str, now: datetime | None = None) -> dict[str, Firing]:
    """What a rule says, by key; it must not fail."""
    found = outcome(name, now)
    assert not found.unknown
    return {firing.key: firing for firing in found.firings}


def rule(name: str = "made_up", *firings: Firing) -> Rule:
    """A rule that says this."""

    def find(look: Look) -> Iterator[Firing]:
        yield from firings

    return Rule(name, find)


def firing(title: str = "It is so", detail: str = "Do this.", key: str = "") -> Firing:
    return Firing(title, detail, "/admin/?a=1&b=2", key=key)


def start_worker(*, seen: timedelta = timedelta(seconds=5)) -> None:
    """A worker's row, as Procrastinate writes it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)",
            [timezone.now() - seen],
        )

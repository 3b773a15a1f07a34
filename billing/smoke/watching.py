"""Watching for a while after a smoke test: is anything wrong now that was not before?"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import Error, connection
from django.db.models import Q
from django.utils import timezone

from billing.alerts.firing import Firing, Rule, counted, list_page
from billing.alerts.rules import ALL, HERE, UNCHECKED, look_at
from billing.models import InboxEvent, LeadCredits, WebhookRejection
from billing.reconciliation.books import balances
from billing.smoke.signs import refused_so_far
from billing.smoke.steps import Step, Tell

LOOK_EVERY = 5.0  # seconds
WAITING = timedelta(seconds=60)  # for which nothing should be pending while a worker runs
SHOWN = 5  # of what is listed in a sentence

Key = tuple[str, str]  # an alert's rule, and its key
Status = InboxEvent.Status


@dataclass(slots=True)
class Watch:
    """What was so before the test, and what is new since.

    `firing` are the alerts that fired before; nobody is told by this, and nothing is kept.
    """

    since: datetime = field(default_factory=timezone.now)
    firing: set[Key] = field(default_factory=set)
    refused: int = 0
    differing: set[str] = field(default_factory=set)
    new: dict[Key, Firing] = field(default_factory=dict)

    @classmethod
    def begin(cls) -> "Watch":
        """Notes what is so now, before the test."""
        return cls(
            firing=set(fired(ALL)), refused=refused_so_far(), differing=set(differing_users())
        )

    def run(self, seconds: float, tell: Tell) -> Iterator[Step]:
        """Looks until the time is over, at least once; then what was seen."""
        started = time.monotonic()
        while (left := seconds - (time.monotonic() - started)) > 0:
            tell(f"watching for {left:.0f} s more, {counted(len(self.new), 'new alert')} so far")
            self._look(HERE)
            time.sleep(min(LOOK_EVERY, max(left, 0)))
        tell("looking whether anything is wrong now that was not before")
        self._look(ALL)
        seconds = time.monotonic() - started
        for step in (self._alerts, self._events, self._backlog, self._ledger, self._refused):
            yield step(seconds)

    def _look(self, rules: Sequence[Rule]) -> None:
        try:
            found = fired(rules)
        except Error:  # a database that is away is said by the steps that follow
            connection.close()
            return
        self.new |= {key: firing for key, firing in found.items() if key not in self.firing}

    def _alerts(self, seconds: float) -> Step:
        new = list(self.new.values())
        if not new:
            return Step("watch: alerts", True, seconds, "No new alert fires.")
        said = "; ".join(f"{each.title}: {each.detail}" for each in new)
        advice = "manage.py check_alerts says what fires now."
        return Step("watch: alerts", False, seconds, said, advice, new[0].page)

    def _events(self, seconds: float) -> Step:
        """What failed once is tried again by itself; what failed again is trouble."""
        came = InboxEvent.objects.filter(received_at__gte=self.since)
        bad = came.filter(Q(status=Status.DEAD) | Q(status=Status.FAILED, attempts__gt=1)).order_by(
            "-id"
        )
        if not (count := bad.count()):
            said = f"{counted(came.count(), 'event')} came since it began, and none keeps failing."
            return Step("watch: events", True, seconds, said)
        why = "; ".join(f"{row.type} {row.status}: {row.reason}" for row in bad[:SHOWN])
        return Step(
            "watch: events",
            False,
            seconds,
            f"{counted(count, 'event')} of those that came since it began failed: {why}",
            "Each page says why. Once that is mended: manage.py replay_events.",
            list_page(InboxEvent, status=bad[0].status, since="hour"),
        )

    def _backlog(self, seconds: float) -> Step:
        late = InboxEvent.objects.filter(
            status=Status.PENDING, received_at__lt=timezone.now() - WAITING
        )
        if not (count := late.count()):
            return Step("watch: backlog", True, seconds, "No event waits for more than a minute.")
        return Step(
            "watch: backlog",
            False,
            seconds,
            f"{counted(count, 'event waits', 'events wait')} for more than a minute.",
            "Is a worker running, and fast enough? Start another: manage.py run_worker.",
            list_page(InboxEvent, status=Status.PENDING),
        )

    def _ledger(self, seconds: float) -> Step:
        new = [user for user in differing_users() if user not in self.differing]
        if not new:
            said = "Every balance that tied out before still does."
            return Step("watch: ledger", True, seconds, said)
        return Step(
            "watch: ledger",
            False,
            seconds,
            f"Balances differ from the ledger: {in_short(new)}.",
            "manage.py assess says how; manage.py tie_out_balance brings one together.",
            list_page(LeadCredits),
        )

    def _refused(self, seconds: float) -> Step:
        newly = refused_so_far() - self.refused
        if newly <= 0:
            return Step("watch: refused webhooks", True, seconds, "No webhook was refused.")
        return Step(
            "watch: refused webhooks",
            False,
            seconds,
            f"Refused since it began: {counted(newly, 'request')} to the webhook.",
            "manage.py check_webhooks says whether the secret is right.",
            list_page(WebhookRejection, since="hour"),
        )


def fired(rules: Sequence[Rule]) -> dict[Key, Firing]:
    """What fires now, by rule and key."""
    outcomes = look_at(rules, timezone.now(), all_due=True, remember=False)
    return {
        (outcome.rule.name, firing.key): firing
        for outcome in outcomes
        for firing in outcome.firings
        if firing.key != UNCHECKED
    }


def differing_users() -> Iterator[str]:
    """Users whose balance is not what their ledger adds up to, or is below 0."""
    return (suspect.user_id for suspect in balances(None, timezone.now()))


def in_short(names: Iterable[str]) -> str:
    """The first of them, and that there are more."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN:,} more" if len(listed) > SHOWN else ""
    return f"{', '.join(listed[:SHOWN])}{more}"

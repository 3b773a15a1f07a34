"""One round of the alerts: look at rules, keep what they say, tell people of what is new."""

from collections.abc import Sequence

from django.utils import timezone

from billing.alerts import state, telling
from billing.alerts.firing import Rule
from billing.alerts.rules import Outcome, look_at


def watch(rules: Sequence[Rule], *, all_due: bool = False) -> list[Outcome]:
    """Looks at the rules that are due, or at all of them."""
    now = timezone.now()
    outcomes = look_at(rules, now, all_due=all_due)
    state.keep(outcomes, now)
    telling.tell(timezone.now())
    return outcomes

"""Every scenario, by its name."""

from collections.abc import Iterator

from backoffice.drill.scenarios.base import Scenario
from backoffice.drill.scenarios.hands import Tampered
from backoffice.drill.scenarios.kills import DatabaseKilled, WebKilled, WorkerKilled
from backoffice.drill.scenarios.outage import Outage
from backoffice.drill.scenarios.restore import Restore
from backoffice.drill.scenarios.stripe import Deliveries, Requests, WrongSecret

SCENARIOS: dict[str, type[Scenario]] = {
    scenario.name: scenario
    for scenario in (
        Requests,
        Deliveries,
        WrongSecret,
        WorkerKilled,
        WebKilled,
        DatabaseKilled,
        Outage,
        Tampered,
        Restore,
    )
}
TWO_AT_ONCE = "two_at_once"
NAMES = (*SCENARIOS, TWO_AT_ONCE)


def explained() -> Iterator[tuple[str, str]]:
    """Each name, and in a sentence what is broken."""
    for name, scenario in SCENARIOS.items():
        yield name, (scenario.__doc__ or "").partition("\n")[0]
    yield TWO_AT_ONCE, "Two of these, by chance, in one round."


__all__ = ["NAMES", "SCENARIOS", "TWO_AT_ONCE", "Scenario", "explained"]

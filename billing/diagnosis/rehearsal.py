"""What bringing Stripe's objects in would make of our rows: the real thing, rolled back."""

from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeVar

from billing.gateway.observation import Observation
from billing.projection.intake import Intake, bring_in

Seen = TypeVar("Seen")


def rehearse(
    observations: Sequence[Observation],
    look: Callable[[Intake], Seen],
    *,
    actor: str,
    doubted: Iterable[str] = (),
) -> Seen:
    """What `look` sees at the end of the transaction in which these objects are brought in.

    Nothing that was written lasts. Raises a GatewayError where Stripe does not tell what else
    is needed.
    """
    seen: list[Seen] = []

    def look_and_roll_back(intake: Intake) -> NoReturn:
        seen.append(look(intake))
        raise _RollBackError

    try:
        bring_in(observations, actor=actor, within=look_and_roll_back, doubted=doubted)
    except _RollBackError:
        return seen[-1]
    raise RuntimeError("The rehearsal was not rolled back.")


class _RollBackError(Exception):
    """Ends the rehearsal's transaction."""

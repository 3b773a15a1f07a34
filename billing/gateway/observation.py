"""What was seen of a Stripe object, and how sure we can be of when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

StripeDict = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """One Stripe object as plain JSON, with the span of time that it may be from.

    Stripe's times have whole seconds, so a snapshot is from somewhere between
    `not_before` and `not_after` (both UTC, Stripe's clock, both inclusive).

    `fetched_at` is our database's clock just before the request, and None for a
    snapshot that came in an event. `deleted` marks an object that Stripe has deleted,
    `first` one as it was made: no snapshot of it is older.
    """

    data: StripeDict
    not_before: datetime
    not_after: datetime
    fetched_at: datetime | None = None
    deleted: bool = False
    first: bool = False

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def kind(self) -> str:
        """Stripe's name for the type of the object, such as `checkout.session`."""
        return str(self.data.get("object", ""))


def from_timestamp(seconds: int | float | None) -> datetime | None:
    """Stripe's Unix time as an aware UTC datetime; None stays None."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

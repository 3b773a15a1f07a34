"""What makes a world."""

from dataclasses import dataclass

from backoffice.sandbox.world.history import EVENT_DAYS


@dataclass(frozen=True)
class Shape:
    """What its people are like, apart from their luck; the default is a marketplace as they are.

    `months` is how many they stay beyond their first one, on average, were it not that nobody
    stays longer than `most_months`. Where `all_subscribe`, everybody is a user of ours with one
    subscription, whatever becomes of it, and nobody buys a pack. `event_days` is of how many
    days Stripe still has the events.
    """

    months: float = 1 / 0.6
    most_months: int = 11
    all_subscribe: bool = False
    event_days: float = EVENT_DAYS


USUAL = Shape()


@dataclass(frozen=True)
class Settings:
    """A world's seed, when it ends (epoch seconds), where its links point to, and its shape."""

    seed: int
    now: int
    base_url: str
    shape: Shape = USUAL

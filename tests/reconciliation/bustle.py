"""Life goes on while a reconciliation runs: people buy and renew, and webhooks are a bit late."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

from django.db import connections

from tests.reconciliation.town import Subscriber, Town

LATE = 0.1  # seconds between what happens at Stripe and its webhooks


@dataclass
class Bustle:
    """What happened meanwhile: how many things were done, and what went wrong."""

    town: Town
    people: Sequence[Subscriber]
    done: int = 0
    errors: list[BaseException] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """One thing after another, until it is over; then the last webhooks arrive."""
        try:
            for who in cycle(self.people):
                if self.over.is_set():
                    break
                self._do(who)
                time.sleep(LATE)
                self.town.bring()
        except BaseException as error:
            self.errors.append(error)
        finally:
            connections.close_all()

    def _do(self, who: Subscriber) -> None:
        if self.done % 2:
            self.town.tell("renew", subscription=who.subscription)
        else:
            pack = {"customer": who.customer, "user_id": who.user_id, "price": self.town.pack}
            self.town.tell("buy_pack", **pack)
        self.done += 1


@contextmanager
def bustling(town: Town, people: int) -> Iterator[Bustle]:
    """So many people of the town, to whom nothing else happens, go on with their lives."""
    bustle = Bustle(town, [town.subscriber() for _ in range(people)])
    thread = threading.Thread(target=bustle.go_on)
    thread.start()
    try:
        yield bustle
    finally:
        bustle.over.set()
        thread.join()
    if bustle.errors:
        raise bustle.errors[0]

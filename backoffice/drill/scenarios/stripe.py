"""What Stripe and the network do wrong: requests, deliveries, the secret."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from django.conf import settings

from backoffice.drill.faults import Place, places
from backoffice.drill.scenarios.base import NAMED, Scenario

REASONS = ("wrong signature", "signature too old or from the future")
REFUSED = places(Place.REFUSED, *REASONS)


TOLD = places(Place.ALERT, "refused")


class Requests(Scenario):
    """Stripe's API answers 429 or 500, slowly, or not at all, before or after its effect."""

    name = "requests"
    FAULTS: tuple[tuple[str, dict[str, Any]], ...] = (
        ("asked too often", {"status": 429, "count": 2}),
        ("failed", {"status": 500, "count": 1}),
        ("answered slowly", {"delay_seconds": 0.3, "count": 2}),
        ("broke off", {"reset": True, "count": 1}),
        ("broke off afterwards", {"reset": True, "after": True, "count": 1}),
    )

    def steps(self) -> Iterator[None]:
        for what, spec in self.random.sample(self.FAULTS, 2):
            self.sync(what, spec)
            yield
        self.change()
        yield
        self.processing()

    def sync(self, what: str, spec: dict[str, Any]) -> None:
        """Somebody syncs a user meanwhile; after a refusal, once more."""
        user = self.life.anybody()
        with self.stand.sandbox.fault(path="/v1/*", **spec):
            self.life.by_hand("sync_from_stripe", "--user", user)
        self.judge.inject(f"request {what}", f"a sync of {user}", [user])

    def change(self) -> None:
        """An operator's change takes effect at Stripe, and the answer is lost."""
        free = [each for each in self.life.subscriptions if not each.is_ending]
        if not free:
            return
        chosen = self.random.choice(free)
        spec = {"method": "POST", "path": "/v1/subscriptions/*", "reset": True, "after": True}
        with self.stand.sandbox.fault(**spec, count=1):
            self.life.by_hand("cancel_subscription", chosen.id)
        chosen.is_ending = True
        what = f"the cancellation of a subscription of {chosen.user}"
        self.judge.inject("change broke off afterwards", what, [chosen.user, chosen.id])

    def processing(self) -> None:
        """The worker asks in vain while it processes."""
        spec = {"status": self.random.choice((429, 500)), "count": self.random.randint(3, 12)}
        with self.life.watched() as about, self.stand.sandbox.fault(path="/v1/*", **spec):
            for _ in range(3):
                self.life.act_at_stripe()
            self.stand.settle()
        self.judge.inject(
            f"processing met {spec['status']}",
            f"up to {spec['count']} requests of the worker",
            about,
            explains=places(Place.ALERT, "failing", "backlog"),
        )


class Deliveries(Scenario):
    """Deliveries are lost, late, doubled, out of order, wrongly signed; an event is never made."""

    name = "deliveries"

    def steps(self) -> Iterator[None]:
        faults = [
            self.lost,
            self.never_made,
            self.late,
            self.doubled,
            self.out_of_order,
            self.wrongly_signed,
            self.signed_long_ago,
        ]
        for break_ in self.random.sample(faults, len(faults)):
            break_()
            yield

    def lost(self) -> None:
        with self.life.watched() as about, self.stand.sandbox.fault(drop_deliveries=True):
            self.life.act_at_stripe()
        self.judge.inject("deliveries lost", named(about), about, shown=NAMED)

    def never_made(self) -> None:
        """Of something that nothing else happens to, so that no later event tells of it."""
        with self.life.watched() as about, self.stand.sandbox.fault(no_event=True):
            if self.random.random() < 0.5:
                self.life.somebody_comes()
                self.life.subscriptions.pop()
            else:
                self.life.somebody_buys()
                self.life.packs.pop()
        self.judge.inject("events never made", named(about), about, shown=NAMED)

    def late(self) -> None:
        with self.life.watched() as about, self.stand.sandbox.fault(delay_deliveries=0.5):
            self.life.act_at_stripe()
        self.judge.inject("deliveries late", named(about), about)

    def doubled(self) -> None:
        times = self.random.randint(2, 4)
        with self.life.watched() as about, self.stand.sandbox.fault(duplicate_deliveries=times):
            self.life.act_at_stripe()
            self.stand.sandbox.control("deliver")
        self.judge.inject(f"deliveries made {times} times", named(about), about)

    def out_of_order(self) -> None:
        with self.life.watched() as about, self.stand.sandbox.fault(reorder_deliveries=0.3):
            for _ in range(2):
                self.life.act_at_stripe()
        self.judge.inject("deliveries out of order", named(about), about)

    def wrongly_signed(self) -> None:
        with self.life.watched() as about, self.stand.sandbox.fault(wrong_secret=True):
            self.life.act_at_stripe()
            self.stand.sandbox.control("deliver")
        self.judge.inject(
            "deliveries wrongly signed", named(about), about, shown=REFUSED | NAMED, explains=TOLD
        )

    def signed_long_ago(self) -> None:
        with self.life.watched() as about, self.stand.sandbox.fault(skew_signatures=-3600):
            self.life.act_at_stripe()
            self.stand.sandbox.control("deliver")
        self.judge.inject(
            "deliveries signed long ago", named(about), about, shown=REFUSED | NAMED, explains=TOLD
        )


class WrongSecret(Scenario):
    """The endpoint's secret is another one than ours, until somebody puts it right."""

    name = "wrong_secret"

    def __init__(self, *surroundings: Any) -> None:
        super().__init__(*surroundings)
        self.stack = ExitStack()

    def steps(self) -> Iterator[None]:
        self.about = self.stack.enter_context(self.life.watched())
        if self.random.random() < 0.5:
            how = "rolled at Stripe"
            self.stand.sandbox.control(f"webhook_endpoints/{self.stand.endpoint}/roll")
        else:
            how = "mistyped here"
            settings.STRIPE_WEBHOOK_SECRETS = ["whsec_mistypedInTheEnvironment"]
            self.stand.kill("web")
            self.stand.start_web()
        self.fault = self.judge.inject(
            "wrong secret", how, shown=REFUSED | NAMED, explains=TOLD | NAMED
        )
        for _ in range(self.random.randint(2, 4)):
            self.life.act_at_stripe()
            self.stand.sandbox.control("deliver")
            yield

    def finish(self) -> None:
        """It is wrong until an engineer sees it."""
        self.stack.close()
        self.fault.about = frozenset(self.about)


def named(about: set[str]) -> str:
    """Some of what was hit, in words."""
    users = sorted(each for each in about if each.startswith("user-"))
    events = sum(each.startswith("evt_") for each in about)
    return f"{events} events about {', '.join(users) or 'a guest'}"

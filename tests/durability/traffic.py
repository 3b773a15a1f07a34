"""What buyers do to the marketplace: stories at the sandbox, and what they must come to."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.sandbox.server import SandboxProcess

PLAN_CREDITS = 30  # a month
PACK_CREDITS = 50  # each


@dataclass(frozen=True)
class Pack:
    """A paid pack of which nothing was taken back yet."""

    user_id: str
    payment_intent: str
    credits: int
    amount: int


class Traffic:
    """Tells stories by chance, the same for the same seed.

    `credits` is what each user must have in the end, `events` how many events were made.
    """

    def __init__(self, sandbox: SandboxProcess, seed: int) -> None:
        self.sandbox = sandbox
        self.random = Random(seed)
        self.credits: Counter[str] = Counter()
        self.events = 0
        self.subscriptions: dict[str, str] = {}
        self.packs: list[Pack] = []
        self.plan = self.price(2900, PLAN_CREDITS, recurring={"interval": "month"})
        self.pack = self.price(4500, PACK_CREDITS)

    def price(self, amount: int, worth: int, **more: Any) -> str:
        """A price in US cents that is worth so many credits."""
        product = self.sandbox.stripe.v1.products.create({"name": f"{worth} credits"})
        price = self.sandbox.stripe.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": amount,
                "metadata": {"lead_credits": str(worth)},
                **more,
            }
        )
        self.events += 3 if "recurring" in more else 2  # a plan is made beside it
        return price.id

    def tell(self) -> None:
        """One story more."""
        stories: list[Callable[[], None]] = [self.subscribe, self.buy]
        if self.subscriptions:
            stories += [self.buy, self.renew, self.pay_late, self.cancel]
        if self.packs:
            stories += [self.refund, self.fail_refund, self.lose_dispute, self.win_dispute]
        self.random.choice(stories)()

    def story(self, name: str, **params: Any) -> dict[str, Any]:
        told: dict[str, Any] = self.sandbox.story(name, **params)
        self.events += len(told["events"])
        return told

    def subscribe(self) -> None:
        user = f"user-{len(self.credits) + 1}"
        told = self.story("subscribe", user_id=user, email=f"{user}@example.com", price=self.plan)
        self.subscriptions[user] = told["subscription"]
        self.credits[user] += PLAN_CREDITS

    def buy(self) -> None:
        user = self.random.choice(sorted(self.credits)) if self.credits else "user-1"
        quantity = self.random.randint(1, 3)
        told = self.story(
            "buy_pack",
            user_id=user,
            email=f"{user}@example.com",
            price=self.pack,
            quantity=quantity,
        )
        worth = quantity * PACK_CREDITS
        self.packs.append(Pack(user, told["payment_intent"], worth, quantity * 4500))
        self.credits[user] += worth

    def renew(self) -> None:
        user, subscription = self.random.choice(sorted(self.subscriptions.items()))
        self.story("renew", subscription=subscription)
        self.credits[user] += PLAN_CREDITS

    def pay_late(self) -> None:
        """A renewal whose first payment fails."""
        user, subscription = self.random.choice(sorted(self.subscriptions.items()))
        told = self.story("past_due", subscription=subscription)
        self.story("pay_invoice", invoice=told["invoice"])
        self.credits[user] += PLAN_CREDITS

    def cancel(self) -> None:
        user, subscription = self.random.choice(sorted(self.subscriptions.items()))
        self.story("cancel", subscription=subscription)
        del self.subscriptions[user]

    def refund(self) -> None:
        """All of a pack is refunded, or half of it."""
        pack = self.any_pack()
        share = self.random.choice([1, 2])
        self.story("refund", payment_intent=pack.payment_intent, amount=pack.amount // share)
        self.credits[pack.user_id] -= pack.credits // share

    def fail_refund(self) -> None:
        pack = self.any_pack()
        told = self.story("refund", payment_intent=pack.payment_intent)
        self.story("fail_refund", refund=told["refund"])

    def lose_dispute(self) -> None:
        pack = self.any_pack()
        told = self.story("dispute", payment_intent=pack.payment_intent)
        self.story("close_dispute", dispute=told["dispute"], won=False)
        self.credits[pack.user_id] -= pack.credits

    def win_dispute(self) -> None:
        pack = self.any_pack()
        told = self.story("dispute", payment_intent=pack.payment_intent)
        self.story("close_dispute", dispute=told["dispute"], won=True)

    def any_pack(self) -> Pack:
        """A pack of which nothing was taken back; it will not be given again."""
        return self.packs.pop(self.random.randrange(len(self.packs)))

"""What goes on in a marketplace: customers pay and change their minds, operators help them.

All of it is chosen by chance, the same for the same seed. Customers act at the sandbox, the
marketplace spends credits by its own SQL, operators use the product's commands.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import psycopg

from backoffice.drill.model import Claim, Model
from backoffice.drill.stand import PATIENCE, Said, Stand

PLANS = ((2900, 30), (7900, 90))  # minor units a month, and credits
PACKS = ((4500, 50), (1900, 20))  # minor units, and credits of one
# No purchase is worth one of these: a grant of as many would look like a purchase's.
GIFTS = (3, 7, 11, 13, 17)
NOTHING: Mapping[str, str] = {}
FIRST = 6  # people who are there before anything breaks


@dataclass
class Subscription:
    """One that lives, as far as the customer knows."""

    id: str
    user: str
    is_ending: bool = False


@dataclass(frozen=True)
class Pack:
    """A pack that was paid, and of which nothing was taken back yet."""

    user: str
    session: str
    payment_intent: str
    amount: int


@dataclass
class Life:
    """The people of one seed, and what they do."""

    stand: Stand
    random: Random
    model: Model
    customers: dict[str, str] = field(default_factory=dict)  # by user
    subscriptions: list[Subscription] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    debits: list[tuple[str, str, int]] = field(default_factory=list)  # user, session, amount
    unpaid: list[tuple[Subscription, str]] = field(default_factory=list)  # with the invoice
    disputes: list[str] = field(default_factory=list)
    nobodys: list[str] = field(default_factory=list)  # sessions of buyers whom nobody knows
    failed_claims: set[str] = field(default_factory=set)  # users
    guests: set[str] = field(default_factory=set)  # sessions of buyers whom nobody knew
    acts: int = 0
    watchers: list[set[str]] = field(default_factory=list)
    since_backup: set[str] = field(default_factory=set)  # what was touched since

    def begin(self) -> None:
        """The catalogue, and the first people with what they bought."""
        make = self.stand.sandbox.make
        monthly = {"recurring[interval]": "month"}
        self.plans = [self.price(amount, worth, monthly) for amount, worth in PLANS]
        self.pack_prices = [(self.price(amount, worth), amount) for amount, worth in PACKS]
        for number in range(1, FIRST + 1):
            user = f"user-{number}"
            self.customers[user] = make(
                "customers",
                **{"email": f"{user}@example.com", "name": user.title(), "metadata[user_id]": user},
                payment_method="pm_card_visa",
                **{"invoice_settings[default_payment_method]": "pm_card_visa"},
            )["id"]
            self.buys(user) if number % 2 else self.subscribes(user)
        self.stand.settle(PATIENCE)

    def price(self, amount: int, worth: int, more: Mapping[str, str] = NOTHING) -> str:
        made = self.stand.sandbox.make(
            "prices",
            **{"currency": "usd", "unit_amount": amount, "metadata[lead_credits]": worth},
            **{"product_data[name]": f"{worth} credits"},
            **more,
        )
        return str(made["id"])

    # --- What happens next -------------------------------------------------------------------

    def live(self, times: int, then: Callable[[], None] = lambda: None) -> None:
        """So many acts of customers; after each of them `then` is done."""
        for _ in range(times):
            self.act()
            then()

    def act(self) -> None:
        """One act of a customer's, or of a bank's."""
        self.acts += 1
        acts: list[Callable[[], object]] = [
            self.somebody_comes,
            self.somebody_buys,
            self.somebody_buys,
            self.somebody_subscribes,
            self.buys_as_a_guest,
            self.buys_from_a_bank,
            self.claims_a_lead,
            self.claims_a_lead,
        ]
        if self.subscriptions:
            acts += [self.renews, self.renews, self.misses_a_payment, self.cancels]
        if self.packs:
            acts += [self.is_refunded, self.refund_fails, self.disputes_a_payment]
        if self.debits:
            acts += [self.bank_answers]
        if self.unpaid:
            acts += [self.pays_late, self.pays_late]
        if self.disputes:
            acts += [self.dispute_ends]
        self.random.choice(acts)()

    def anybody(self) -> str:
        return self.random.choice(sorted(self.customers))

    def act_at_stripe(self) -> None:
        """One act that Stripe has events of."""
        acts: list[Callable[[], object]] = [self.somebody_comes, self.somebody_buys]
        acts += [self.renews, self.misses_a_payment, self.cancels] if self.subscriptions else []
        acts += [self.is_refunded, self.disputes_a_payment] if self.packs else []
        self.acts += 1
        self.random.choice(acts)()

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """What is touched within it: users, and ids of Stripe's objects and events."""
        touched: set[str] = set()
        self.watchers.append(touched)
        try:
            yield touched
        finally:
            self.watchers = [each for each in self.watchers if each is not touched]

    def touch(self, *ids: str) -> None:
        for touched in (self.since_backup, *self.watchers):
            touched.update(ids)

    def story(self, name: str, **params: Any) -> Any:
        """Tells a story at the sandbox, and notes whom and what it is about."""
        told = self.stand.sandbox.story(name, **params)
        named = [*params.values(), *told.values(), *told["events"]]
        ids = {each for each in named if isinstance(each, str)}
        self.touch(*ids, *(u for u, customer in self.customers.items() if customer in ids))
        return told

    def buyer(self, user: str) -> dict[str, str]:
        """Who buys, as Checkout is told. A new user becomes a customer there."""
        customer = self.customers.get(user)
        if customer:
            return {"customer": customer, "user_id": user}
        return {"email": f"{user}@example.com", "user_id": user}

    # --- Customers ---------------------------------------------------------------------------

    def somebody_comes(self) -> str:
        """A new user subscribes; their customer is made in Checkout."""
        user = f"user-{len(self.customers) + 1}"
        self.subscribes(user)
        return user

    def somebody_subscribes(self) -> None:
        living = {each.user for each in self.subscriptions}
        free = [user for user in sorted(self.customers) if user not in living]
        if free:
            self.subscribes(self.random.choice(free))

    def subscribes(self, user: str) -> str:
        price = self.random.choice(self.plans)
        told = self.story("subscribe", price=price, **self.buyer(user))
        self.customers[user] = told["customer"]
        self.subscriptions.append(Subscription(told["subscription"], user))
        return str(told["subscription"])

    def somebody_buys(self) -> str:
        user = self.anybody()
        self.buys(user)
        return user

    def buys(self, user: str) -> str:
        """A pack, or several of it; the checkout session."""
        price, amount = self.random.choice(self.pack_prices)
        quantity = self.random.randint(1, 3)
        told = self.story("buy_pack", price=price, quantity=quantity, **self.buyer(user))
        self.paid(user, told, amount * quantity)
        return str(told["checkout_session"])

    def paid(self, user: str, told: Any, amount: int) -> None:
        self.packs.append(Pack(user, told["checkout_session"], told["payment_intent"], amount))

    def buys_as_a_guest(self) -> None:
        """As a user of ours whom Stripe makes no customer of; or as nobody we know."""
        price, amount = self.random.choice(self.pack_prices)
        if self.random.random() < 0.4:
            email = f"guest-{self.acts}@elsewhere.example"
            told = self.story("buy_pack", price=price, email=email, attributed=False)
            self.nobodys.append(told["checkout_session"])
            self.guests.add(told["checkout_session"])
            return
        user = self.anybody()
        told = self.story("buy_pack", price=price, user_id=user, email=f"{user}@example.com")
        self.paid(user, told, amount)

    def buys_from_a_bank(self) -> None:
        """A debit that the bank answers days later."""
        user = self.anybody()
        price, amount = self.random.choice(self.pack_prices)
        told = self.story("buy_pack", price=price, async_="pending", **self.buyer(user))
        self.debits.append((user, told["checkout_session"], amount))

    def bank_answers(self) -> None:
        user, session, amount = self.debits.pop(self.random.randrange(len(self.debits)))
        self.touch(user)
        succeeds = self.random.random() < 0.7
        told = self.story("settle", checkout_session=session, succeed=succeeds)
        if succeeds:
            self.paid(user, told, amount)

    def any_subscription(self) -> Subscription:
        return self.random.choice(self.subscriptions)

    def renews(self) -> Subscription:
        subscription = self.any_subscription()
        if subscription.is_ending:
            self.ends(subscription)
        else:
            self.story("renew", subscription=subscription.id)
        return subscription

    def misses_a_payment(self) -> None:
        """A renewal is declined; it is paid later, or the subscription ends."""
        subscription = self.any_subscription()
        if subscription.is_ending:
            self.ends(subscription)
            return
        told = self.story("past_due", subscription=subscription.id)
        self.subscriptions.remove(subscription)
        self.unpaid.append((subscription, told["invoice"]))

    def pays_late(self) -> None:
        subscription, invoice = self.unpaid.pop(self.random.randrange(len(self.unpaid)))
        self.story("pay_invoice", invoice=invoice)
        self.subscriptions.append(subscription)

    def cancels(self) -> Subscription:
        """Now, or at the end of the period."""
        subscription = self.any_subscription()
        if self.random.random() < 0.5:
            self.ends(subscription)
        else:
            self.story("cancel", subscription=subscription.id, at_period_end=True)
            subscription.is_ending = True
        return subscription

    def ends(self, subscription: Subscription) -> None:
        self.story("cancel", subscription=subscription.id)
        self.subscriptions.remove(subscription)

    def any_pack(self) -> Pack:
        """A pack of which nothing was taken back; it will not be given again."""
        pack = self.packs.pop(self.random.randrange(len(self.packs)))
        self.touch(pack.user)
        return pack

    def is_refunded(self) -> Pack:
        """All of a pack, or half of it."""
        pack = self.any_pack()
        amount = pack.amount // self.random.choice((1, 2))
        self.story("refund", payment_intent=pack.payment_intent, amount=amount)
        return pack

    def refund_fails(self) -> None:
        told = self.story("refund", payment_intent=self.any_pack().payment_intent)
        self.story("fail_refund", refund=told["refund"])

    def disputes_a_payment(self) -> None:
        told = self.story("dispute", payment_intent=self.any_pack().payment_intent)
        self.disputes.append(told["dispute"])

    def dispute_ends(self) -> None:
        dispute = self.disputes.pop(self.random.randrange(len(self.disputes)))
        self.story("close_dispute", dispute=dispute, won=self.random.random() < 0.5)

    # --- The marketplace, by its own SQL -----------------------------------------------------

    def claims_a_lead(self) -> None:
        """A lead is claimed where the user has the credits; some claims fail afterwards."""
        claim = Claim(
            self.anybody(),
            f"lead-{self.acts}",
            self.random.randint(1, 5),
            has_failed=self.random.random() < 0.1,
        )
        try:
            if self.spends(claim):
                self.model.claim(claim)
                self.touch(claim.user_id)
                if claim.has_failed:
                    self.failed_claims.add(claim.user_id)
        except psycopg.OperationalError:
            return  # the marketplace has no database either

    def spends(self, claim: Claim) -> bool:
        with psycopg.connect(self.stand.url) as connection:
            done = connection.execute(
                "UPDATE lead_credits SET balance = balance - %s"
                " WHERE user_id = %s AND balance >= %s",
                [claim.credits, claim.user_id, claim.credits],
            )
            if not done.rowcount:
                return False
            connection.execute(
                "INSERT INTO lead_claims (user_id, lead_id, credits_spent, status, failure_reason)"
                " VALUES (%s, %s, %s, %s, %s)",
                [
                    claim.user_id,
                    claim.lead_id,
                    claim.credits,
                    "failed" if claim.has_failed else "succeeded",
                    "The lead was withdrawn." if claim.has_failed else "",
                ],
            )
        return True

    # --- Operators, by commands --------------------------------------------------------------

    def operate(self) -> None:
        """One thing that an operator does for somebody."""
        self.random.choice((self.gives_credits, self.corrects, self.writes_a_note))()

    def gives_credits(self) -> None:
        user, amount = self.anybody(), self.random.choice(GIFTS)
        code = self.random.choice(("goodwill", "other"))
        said = self.by_hand("grant_credits", user, str(amount), "--reason-code", code)
        self.given(user, said)

    def given(self, user: str, said: Said) -> None:
        """What it moved is what it says: the balance may be another one than when it was read."""
        if said.is_done:
            self.model.given[user] += said.document["result"]["details"]["amount"]

    def corrects(self) -> None:
        user, amount = self.anybody(), self.random.choice(GIFTS)
        held = self.stand.rows("SELECT balance FROM lead_credits WHERE user_id = %s", user)
        said = self.by_hand("correct_balance", user, str((held[0][0] if held else 0) + amount))
        self.given(user, said)

    def writes_a_note(self) -> None:
        user, text = self.anybody(), f"Called about number {self.acts}."
        if self.by_hand("add_note", user, text).is_done:
            self.model.notes.append((user, text))

    def attribute(self) -> None:
        """Those whom nobody knew have written, and sent their receipts."""
        while self.nobodys:
            session, user = self.nobodys.pop(), self.anybody()
            if self.by_hand("attribute_payment", session, user).is_done:
                self.model.attributed[session] = user

    def by_hand(self, command: str, *arguments: str) -> Said:
        """An operator's command. It counts once it says that it is done."""
        self.acts += 1
        self.touch(*arguments)
        reason = f"Asked for in call {self.acts}"
        said = self.stand.manage(command, *arguments, "--reason", reason, "--json")
        if said.is_done and (key := said.document.get("key")):
            self.model.operations.append(str(key))
        return said

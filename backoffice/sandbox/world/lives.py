"""The billing life of one customer, drawn from a seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from backoffice.sandbox import shapes
from backoffice.sandbox.due import BANK_TAKES, INCOMPLETE_LASTS, TRIAL_NOTICE
from backoffice.sandbox.lifecycle import (
    cards,
    checkout,
    disputes,
    invoicing,
    people,
    refunds,
    subscribing,
)
from backoffice.sandbox.lifecycle.calendar import period_end
from backoffice.sandbox.lifecycle.subscribing import Ordered
from backoffice.sandbox.shapes.base import EMPTY_ADDRESS
from backoffice.sandbox.store import Row
from backoffice.sandbox.types import Json
from backoffice.sandbox.world.catalogue import Catalogue
from backoffice.sandbox.world.history import History, history
from backoffice.sandbox.world.names import person
from backoffice.sandbox.world.settings import Settings

DAY = 86400
HOUR = 3600
MONTH = 30 * DAY
HOMES = (*["US"] * 12, "GB", "DE", "FR", "CA", "NL", "JP", "AU")
"""Where customers live, by turns: the dice of their lives fall as they did without it."""
SUCCESS_URL = "https://marketplace.example/billing/done"


@dataclass
class Life:
    """One customer: their history so far, and the dice."""

    work: History
    rng: random.Random
    catalogue: Catalogue
    customer: Json
    card: Json
    user_id: str | None

    @property
    def end(self) -> int:
        """When the world ends."""
        return self.work.until

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.rng.random() < probability

    @property
    def taxes(self) -> list[Json]:
        """The tax rates of the country where the customer lives."""
        rate = self.catalogue.taxes.get(self.customer["address"]["country"])
        return [dict(rate)] if rate else []

    def named(self) -> Json:
        """How the customer's sessions name the user."""
        if self.user_id is None:
            return {}
        return {"client_reference_id": self.user_id, "metadata": {"user_id": self.user_id}}


def customer_rows(settings: Settings, catalogue: Catalogue, number: int) -> list[Row]:
    """The rows of customer `number` with everything that ever happened to them."""
    rng, shape = random.Random(f"{settings.seed} {number}"), settings.shape  # noqa: S311
    fates = [fate for fate in FATES if not (shape.all_subscribe and fate == "buyer")]
    fate = rng.choices(fates, [FATES[fate][0] for fate in fates])[0]
    live = FATES[fate][1]
    months = min(int(rng.expovariate(1 / shape.months)), shape.most_months)
    age = {"trialing": 12 * DAY, "incomplete": 20 * HOUR}.get(fate, (months + 1) * MONTH)
    born = settings.now - int(age * (0.15 + 0.8 * rng.random()))
    work = history(
        rng, born, settings.now, settings.base_url, catalogue.known, event_days=shape.event_days
    )
    life = _join(work, rng, catalogue, number, is_known=shape.all_subscribe)
    live(life)
    packs = min(int(rng.expovariate(1.1 if fate != "buyer" else 0.7)), 4)
    for _ in range(0 if shape.all_subscribe else packs):
        _buy_pack(life)
    if fate == "canceled" and life.chance(0.05):
        _leave(life)
    for made in work.select("balance_transaction"):
        if made["available_on"] <= settings.now:
            work.change(made, status="available")
    return work.all_rows()


def _join(
    work: History, rng: random.Random, catalogue: Catalogue, number: int, *, is_known: bool
) -> Life:
    """The customer signs up and leaves a card; a few are no users that we know of."""
    name, email = person(rng, number)
    user_id = f"u_{number:05d}" if rng.random() < 0.97 or is_known else None
    home = HOMES[number * 11 % len(HOMES)]
    customer = people.create_customer(
        work,
        address=EMPTY_ADDRESS | {"country": home},
        email=email,
        metadata={"user_id": user_id} if user_id else {},
        name=name,
    )
    brand = rng.choices(("visa", "mastercard", "visa_debit", "amex"), (6, 3, 2, 1))[0]
    token = home.lower() if brand == "visa" else brand
    card = cards.from_token(work, f"pm_card_{token}", "payment_method")
    billing = card["billing_details"] | {"email": email, "name": name}
    work.change(card, billing_details=billing)
    return Life(work, rng, catalogue, customer, card, user_id)


def _plan(life: Life) -> Json:
    weights = [6, 4, 1, 1, 2]
    return life.rng.choices(life.catalogue.plans, weights)[0]


def _subscribe(life: Life, *, trial_days: int = 0) -> Json:
    """In Checkout, as most do, or made by the application."""
    work = life.work
    order = _plan(life)
    trial_end = work.now + trial_days * DAY if trial_days else None
    if life.chance(0.8):
        session = checkout.open_session(
            work,
            "subscription",
            [(order, 1)],
            customer=life.customer["id"],
            rates=life.taxes,
            success_url=SUCCESS_URL,
            **life.named(),
        )
        work.now += life.rng.randrange(40, 600)
        plan: Json = {"default_tax_rates": life.taxes}
        if trial_end:
            plan["trial_end"] = trial_end
        checkout.complete(work, session, life.card, plan=plan)
        return work.find("subscription", session["subscription"])
    people.attach(work, life.card, life.customer)
    settings = life.customer["invoice_settings"] | {"default_payment_method": life.card["id"]}
    work.change(life.customer, "customer.updated", invoice_settings=settings)
    return subscribing.subscribe(
        work,
        life.customer,
        [Ordered(order)],
        default_tax_rates=life.taxes,
        metadata={"user_id": life.user_id} if life.user_id else {},
        trial_end=trial_end,
    )


def _renewals(life: Life, subscription: Json) -> int:
    """How many periods of `subscription` end before the world does."""
    recurring = subscribing.items_of(subscription)[0]["price"]["recurring"]
    anchor = subscription["billing_cycle_anchor"]
    end, count = subscribing.period_of(subscription)[1], 0
    while end < life.end:
        end, count = period_end(end, anchor, recurring), count + 1
    return count


def _renew(life: Life, subscription: Json, times: int) -> None:
    """Lives through `times` ends of period; a few payments fail once and work later."""
    work = life.work
    for _ in range(times):
        ended = subscribing.period_of(subscription)[1]
        work.now = min(ended + life.rng.randrange(60, 1800), life.end)
        fails = life.chance(0.03)
        invoice = subscribing.renew(
            work, subscription, decline=cards.INSUFFICIENT if fails else None
        )
        if invoice and fails and invoice["status"] == "open":
            work.now = min(work.now + invoicing.RETRIES[0], life.end - 60)
            invoicing.pay(work, invoice, retry=True)


def _somewhen(life: Life, since: int) -> None:
    """Sets the clock to some time after `since`."""
    life.work.now = life.rng.randrange(since, max(life.end - 60, since + 1))


def _active(life: Life) -> None:
    subscription = _subscribe(life)
    _renew(life, subscription, _renewals(life, subscription))


def _trialing(life: Life) -> None:
    subscription = _subscribe(life, trial_days=14)
    announced = subscription["trial_end"] - TRIAL_NOTICE
    if announced < life.end:
        life.work.now = announced
        subscribing.announce_trial_end(life.work, subscription)


def _leaving(life: Life) -> None:
    """Active, and the end is scheduled: at the end of the period, or at a time."""
    subscription = _subscribe(life)
    _renew(life, subscription, _renewals(life, subscription))
    _somewhen(life, max(life.work.now, subscribing.period_of(subscription)[0]))
    if life.chance(0.6):
        subscribing.cancel_at_period_end(life.work, subscription, wanted=True)
    else:
        at = life.end + life.rng.randrange(5, 60) * DAY
        subscribing.schedule_cancellation(life.work, subscription, at)


def _collection_paused(life: Life) -> None:
    subscription = _subscribe(life)
    _renew(life, subscription, _renewals(life, subscription))
    _somewhen(life, max(life.work.now, subscribing.period_of(subscription)[0]))
    life.work.change(
        subscription,
        subscribing.UPDATED,
        pause_collection={"behavior": "keep_as_draft", "resumes_at": None},
    )


def _past_due(life: Life) -> None:
    """The last renewal failed, and so did what was tried since."""
    subscription = _subscribe(life)
    count = _renewals(life, subscription)
    if count == 0:
        return
    _renew(life, subscription, count - 1)
    _fail_renewal(life, subscription)


def _fail_renewal(life: Life, subscription: Json) -> None:
    work = life.work
    work.now = min(subscribing.period_of(subscription)[1] + 60, life.end)
    invoice = subscribing.renew(work, subscription, decline=cards.INSUFFICIENT)
    for pause in invoicing.RETRIES:
        if invoice is None or work.now + pause >= life.end:
            return
        work.now += pause
        invoicing.pay(work, invoice, decline=cards.INSUFFICIENT, retry=True)


def _unpaid(life: Life) -> None:
    subscription = _subscribe(life)
    count = _renewals(life, subscription)
    if count == 0:
        return
    _renew(life, subscription, count - 1)
    _fail_renewal(life, subscription)
    life.work.now = min(life.work.now + 6 * DAY, life.end - 60)
    subscribing.give_up(life.work, subscription)


def _canceled(life: Life) -> None:
    subscription = _subscribe(life)
    count = _renewals(life, subscription)
    _renew(life, subscription, life.rng.randint(0, count))
    since = max(life.work.now, subscribing.period_of(subscription)[0])
    until = min(life.end - 60, subscribing.period_of(subscription)[1])
    life.work.now = life.rng.randrange(since, max(until, since + 1))
    subscribing.cancel(life.work, subscription)


def _incomplete(life: Life) -> Json:
    """The first payment failed."""
    work = life.work
    life.card = cards.from_token(work, "pm_card_chargeCustomerFail", "payment_method")
    people.attach(work, life.card, life.customer)
    return subscribing.subscribe(
        work,
        life.customer,
        [Ordered(_plan(life))],
        method=life.card,
        default_payment_method=life.card["id"],
        default_tax_rates=life.taxes,
    )


def _expired(life: Life) -> None:
    subscription = _incomplete(life)
    life.work.now = min(life.work.now + INCOMPLETE_LASTS, life.end - 60)
    subscribing.expire(life.work, subscription)


def _paused(life: Life) -> None:
    """A trial ended without a payment method."""
    work = life.work
    trial_end = min(work.now + 14 * DAY, life.end - HOUR)
    subscription = subscribing.subscribe(
        work,
        life.customer,
        [Ordered(_plan(life))],
        default_tax_rates=life.taxes,
        trial_end=trial_end,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )
    work.now = trial_end
    subscribing.renew(work, subscription)


def _buyer(life: Life) -> None:
    """Never subscribed; buys packs."""
    _buy_pack(life)


# what becomes of a customer -> (weight, how they get there)
FATES: dict[str, tuple[float, Callable[[Life], object]]] = {
    "active": (50, _active),
    "buyer": (14, _buyer),
    "canceled": (12, _canceled),
    "leaving": (6, _leaving),
    "trialing": (5, _trialing),
    "past_due": (5, _past_due),
    "unpaid": (2, _unpaid),
    "incomplete": (2, _incomplete),
    "paused": (1.5, _paused),
    "collection_paused": (1.5, _collection_paused),
    "expired": (1, _expired),
}


def _buy_pack(life: Life) -> None:
    """A pack in Checkout: mostly by card and by a known user, with what can go wrong."""
    work, rng = life.work, life.rng
    _somewhen(life, life.customer["created"])
    price = rng.choices(life.catalogue.packs, (5, 1, 4, 1, 2))[0]
    guest = life.chance(0.04)
    later = life.chance(0.05)
    method = _bank_account(life) if later else _own_card(life, guest=guest)
    session = checkout.open_session(
        work,
        "payment",
        [(price, rng.choices((1, 2, 3), (12, 2, 1))[0])],
        customer=None if guest else life.customer["id"],
        customer_creation="if_required" if guest else None,
        customer_email=life.customer["email"] if guest else None,
        payment_method_types=["card", "us_bank_account"] if later else ["card"],
        success_url=SUCCESS_URL,
        **({} if guest else life.named()),
    )
    if life.chance(0.06):
        _abandon(life, session)
        return
    work.now += rng.randrange(30, 900)
    if life.chance(0.04):
        checkout.complete(work, session, method, decline=cards.GENERIC)
        work.now += rng.randrange(30, 300)
    checkout.complete(work, session, method)
    if later:
        _wait_for_bank(life, session)
    if session["payment_status"] == "paid":
        _aftermath(life, session)


def _own_card(life: Life, *, guest: bool) -> Json:
    if guest or cards.decline_of(life.work, life.card):
        return cards.from_token(life.work, "pm_card_visa", "payment_method")
    return life.card


def _bank_account(life: Life) -> Json:
    details = cards.bank_account("6789")
    made = shapes.payment_method(life.work.new_id("pm_"), life.work.now, "us_bank_account", details)
    return life.work.add(made)


def _abandon(life: Life, session: Json) -> None:
    if session["expires_at"] < life.end:
        life.work.now = session["expires_at"]
        checkout.expire(life.work, session)


def _wait_for_bank(life: Life, session: Json) -> None:
    arrives = life.work.now + BANK_TAKES
    if arrives < life.end:
        life.work.now = arrives
        checkout.settle(life.work, session, succeed=life.chance(0.8))


def _aftermath(life: Life, session: Json) -> None:
    """Refunds and disputes, some weeks later."""
    work = life.work
    intent = work.find("payment_intent", session["payment_intent"])
    charge = work.find("charge", intent["latest_charge"])
    fate = life.rng.random()
    if fate > 0.13:
        return
    later = work.now + life.rng.randrange(1, 25) * DAY
    if later >= life.end:
        return
    work.now = later
    if fate < 0.05 and charge["payment_method_details"]["type"] == "card":
        _dispute(life, charge)
        return
    amount = None if life.chance(0.6) else charge["amount"] // 2
    made = refunds.refund(work, charge, amount, reason="requested_by_customer")
    if life.chance(0.1) and work.now + DAY < life.end:
        work.now += DAY
        refunds.fail(work, work.find("refund", made["id"]))


def _dispute(life: Life, charge: Json) -> None:
    work = life.work
    dispute = disputes.open_dispute(work, charge, reason="fraudulent", inquiry=life.chance(0.3))
    answered, forgotten = work.now + 12 * DAY, dispute["evidence_details"]["due_by"]
    if answered < life.end and life.chance(0.8):
        work.now = answered
        disputes.close(work, dispute, won=life.chance(0.4))
    elif forgotten < life.end:
        work.now = forgotten
        disputes.close(work, dispute, won=False)


def _leave(life: Life) -> None:
    """The customer is deleted at Stripe."""
    _somewhen(life, max(life.work.now, life.end - 20 * DAY))
    if life.card["customer"]:
        people.detach(life.work, life.card)
    life.work.emit("customer.deleted", life.customer)
    life.work.delete(life.customer)

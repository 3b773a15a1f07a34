"""A marketplace whose customers live for a year at the sandbox, by chance and by seed."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.sandbox.server import SandboxProcess

DAY = 86400
MONTH = 365 * DAY // 12
BANK = "000123456789"
BANK_THAT_REFUSES = "000111111113"
GOOD_CARDS = {"usd": "pm_card_visa", "eur": "pm_card_de", "jpy": "pm_card_jp"}
BAD_CARD = "pm_card_chargeCustomerFail"
PLANS = {"starter": (2900, 50, "month"), "pro": (9900, 200, "month"), "team": (99000, 2400, "year")}
PACKS = {"small": (1500, 10), "large": (6500, 50)}
TAXED = {"eur": ("19", "false"), "jpy": ("10", "true")}
"""Percent, and whether it is inside the price: what most subscriptions in a currency bear."""
CURRENCIES = {"usd": 6, "eur": 3, "jpy": 1}
"""In minor units of each the same numbers; and how many pay in it, of ten."""
ACTS_A_MONTH = 0.35
"""How many things a customer does a month besides paying."""


@dataclass
class Person:
    """A customer, and the subscription that they were last seen with."""

    user_id: str
    customer: str
    currency: str
    subscription: str | None = None
    has_bad_card: bool = False


class Marketplace:
    """Customers of every kind; `live` lets a month pass for them."""

    def __init__(self, sandbox: SandboxProcess, customers: int, seed: int) -> None:
        self.sandbox = sandbox
        self.random = Random(seed)
        self.plans = {
            (currency, name): self.price(currency, *plan)
            for currency in CURRENCIES
            for name, plan in PLANS.items()
        }
        self.packs = {
            (currency, name): self.price(currency, *pack)
            for currency in CURRENCIES
            for name, pack in PACKS.items()
        }
        self.taxes = {currency: self.tax(*tax) for currency, tax in TAXED.items()}
        self.people = [self.joins(number) for number in range(customers)]

    def post(self, path: str, **form: Any) -> Any:
        """What Stripe's API answers; fails on an error that is not a declined card."""
        answer = self.sandbox.post(f"/v1/{path}", form)
        if answer.status_code not in (200, 402):
            raise AssertionError(f"{path} {form}: {answer.status_code} {answer.text}")
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        answer = self.sandbox.get(f"/v1/{path}", **params)
        answer.raise_for_status()
        return answer.json()

    def price(self, currency: str, amount: int, worth: int, interval: str | None = None) -> str:
        """A price that is worth so many credits."""
        form = {"currency": currency, "unit_amount": amount, "metadata[lead_credits]": worth}
        if interval:
            form["recurring[interval]"] = interval
        return str(self.post("prices", **form, **{"product_data[name]": f"{worth} credits"})["id"])

    def tax(self, percentage: str, inclusive: str) -> str:
        form = {"display_name": "VAT", "percentage": percentage, "inclusive": inclusive}
        return str(self.post("tax_rates", **form)["id"])

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # --- How people come ---------------------------------------------------------------------

    def joins(self, number: int) -> Person:
        """A new customer of one of the kinds there are."""
        user = f"user-{number:04d}"
        form = {"email": f"{user}@example.com", "metadata[user_id]": user}
        currency = self.random.choices(list(CURRENCIES), list(CURRENCIES.values()))[0]
        person = Person(user, self.post("customers", **form)["id"], currency)
        kinds: dict[Callable[[Person], None], float] = {
            self.pays_by_card: 50,
            self.subscribes_in_checkout: 12,
            self.pays_from_a_bank: 10,
            self.tries_with_a_card: 8,
            self.tries_without_a_card: 4,
            self.pays_by_invoice: 4,
            self.never_pays: 2,
            self.buys_only: 10,
        }
        self.random.choices(list(kinds), list(kinds.values()))[0](person)
        return person

    def plan(self, person: Person) -> str:
        return self.plans[person.currency, self.random.choices(list(PLANS), (6, 3, 1))[0]]

    def subscribes(self, person: Person, **form: Any) -> None:
        if person.currency in self.taxes and self.chance(0.7):
            form["default_tax_rates[0]"] = self.taxes[person.currency]
        made = self.post(
            "subscriptions",
            **{"customer": person.customer, "items[0][price]": self.plan(person)},
            **{"metadata[user_id]": person.user_id, **form},
        )
        person.subscription = made["id"]

    def takes_card(self, person: Person, token: str) -> None:
        """A card that pays from now on."""
        card = self.post(f"payment_methods/{token}/attach", customer=person.customer)["id"]
        self.pays_with(person, card)
        person.has_bad_card = token == BAD_CARD

    def pays_with(self, person: Person, method: str) -> None:
        form = {"invoice_settings[default_payment_method]": method}
        self.post(f"customers/{person.customer}", **form)

    def pays_by_card(self, person: Person) -> None:
        self.takes_card(person, GOOD_CARDS[person.currency])
        self.subscribes(person)

    def subscribes_in_checkout(self, person: Person) -> None:
        told = self.sandbox.story(
            "subscribe", customer=person.customer, user_id=person.user_id, price=self.plan(person)
        )
        person.subscription = told["subscription"]

    def pays_from_a_bank(self, person: Person) -> None:
        """By direct debit from a bank in the United States: dollars only."""
        person.currency = "usd"
        account = BANK_THAT_REFUSES if self.chance(0.2) else BANK
        form = {"us_bank_account[account_number]": account, "type": "us_bank_account"}
        method = self.post("payment_methods", **form)["id"]
        self.post(f"payment_methods/{method}/attach", customer=person.customer)
        self.pays_with(person, method)
        self.subscribes(person)

    def tries_with_a_card(self, person: Person) -> None:
        self.takes_card(person, GOOD_CARDS[person.currency])
        self.subscribes(person, trial_period_days=self.random.choice((2, 7, 14)))

    def tries_without_a_card(self, person: Person) -> None:
        behavior = self.random.choice(("create_invoice", "pause", "cancel"))
        ending = {"trial_settings[end_behavior][missing_payment_method]": behavior}
        self.subscribes(person, trial_period_days=14, **ending)

    def pays_by_invoice(self, person: Person) -> None:
        self.subscribes(person, collection_method="send_invoice", days_until_due=14)

    def never_pays(self, person: Person) -> None:
        """The first payment fails."""
        self.takes_card(person, BAD_CARD)
        self.subscribes(person)

    def buys_only(self, person: Person) -> None:
        self.takes_card(person, GOOD_CARDS[person.currency])
        self.buys(person)

    # --- What people do ----------------------------------------------------------------------

    def live(self) -> None:
        """A month: some people do something on some day of it."""
        acts: list[tuple[Callable[[Person], None], float]] = [
            (self.buys, 8),
            (self.is_refunded, 3),
            (self.disputes, 1.5),
            (self.changes_plan, 2),
            (self.changes_quantity, 1),
            (self.card_goes_bad, 3),
            (self.card_is_replaced, 3),
            (self.leaves, 2),
            (self.pauses_collection, 0.7),
            (self.pays_what_is_open, 2),
            (self.comes_back, 1),
        ]
        doings = max(round(len(self.people) * ACTS_A_MONTH), 4)
        days = sorted(self.random.randrange(MONTH) for _ in range(doings))
        passed = 0
        for moment in days:
            if moment - passed > DAY:
                self.sandbox.advance(patience=600, seconds=moment - passed)
                passed = moment
            act = self.random.choices([a for a, _ in acts], [w for _, w in acts])[0]
            act(self.random.choice(self.people))
        self.sandbox.advance(patience=600, seconds=MONTH - passed)

    def subscription_of(self, person: Person, *statuses: str) -> Any:
        """The person's subscription if it has one of these statuses."""
        if person.subscription is None:
            return None
        found = self.get(f"subscriptions/{person.subscription}")
        return found if found["status"] in statuses else None

    def buys(self, person: Person) -> None:
        """A pack, by card or by a bank debit that takes days."""
        self.sandbox.story(
            "buy_pack",
            customer=person.customer,
            user_id=person.user_id,
            price=self.packs[person.currency, self.random.choice(list(PACKS))],
            quantity=self.random.randint(1, 3),
            payment_method=GOOD_CARDS[person.currency],
            **({"async": "pending"} if self.chance(0.15) else {}),
        )

    def is_refunded(self, person: Person) -> None:
        """Money of a pack or of an invoice goes back: all of it or a part; some of it returns."""
        charge = self.takeable(person)
        if charge is None:
            return
        left = charge["amount"] - charge["amount_refunded"]
        amount = left if self.chance(0.5) else max(left // 3, 1)
        told = self.sandbox.story("refund", charge=charge["id"], amount=amount)
        if self.chance(0.2):
            self.sandbox.story("fail_refund", refund=told["refund"])

    def disputes(self, person: Person) -> None:
        """A chargeback or an inquiry: won, lost, or forgotten until the bank decides."""
        charge = self.takeable(person)
        if charge is None or charge["amount_refunded"]:
            return
        told = self.sandbox.story("dispute", charge=charge["id"], inquiry=self.chance(0.3))
        if self.chance(0.7):
            self.sandbox.story("close_dispute", dispute=told["dispute"], won=self.chance(0.5))

    def takeable(self, person: Person) -> Any:
        """A charge of the person's that can be refunded or disputed."""
        charges = self.get("charges", customer=person.customer, limit=100)["data"]
        free = [
            charge
            for charge in charges
            if charge["status"] == "succeeded" and not charge["disputed"] and not charge["refunded"]
        ]
        return self.random.choice(free) if free else None

    def changes_plan(self, person: Person) -> None:
        made = self.subscription_of(person, "active")
        monthly = [self.plans[person.currency, name] for name in ("starter", "pro")]
        if made and (item := made["items"]["data"][0])["price"]["id"] in monthly:
            self.change_item(made, price=next(p for p in monthly if p != item["price"]["id"]))

    def changes_quantity(self, person: Person) -> None:
        if made := self.subscription_of(person, "active"):
            self.change_item(made, quantity=self.random.randint(1, 4))

    def change_item(self, subscription: Any, **change: Any) -> None:
        behavior = self.random.choice(("create_prorations", "always_invoice", "none"))
        item = {"items[0][id]": subscription["items"]["data"][0]["id"]}
        item |= {f"items[0][{name}]": value for name, value in change.items()}
        self.post(f"subscriptions/{subscription['id']}", proration_behavior=behavior, **item)

    def card_goes_bad(self, person: Person) -> None:
        if made := self.subscription_of(person, "active"):
            self.takes_card(person, BAD_CARD)
            self.post(f"subscriptions/{made['id']}", default_payment_method="")

    def card_is_replaced(self, person: Person) -> None:
        """Of somebody who needs it; the retries then succeed."""
        bad = [one for one in self.people if one.has_bad_card]
        if bad:
            lucky = self.random.choice(bad)
            self.takes_card(lucky, GOOD_CARDS[lucky.currency])

    def leaves(self, person: Person) -> None:
        """Now, at the end of the period, at a time; some think better of it."""
        made = self.subscription_of(person, "active", "trialing", "past_due")
        if made is None:
            return
        path = f"subscriptions/{made['id']}"
        match self.random.choice(("now", "period", "time", "undone")):
            case "now":
                self.sandbox.request("DELETE", f"/v1/{path}").raise_for_status()
            case "period":
                self.post(path, cancel_at_period_end="true")
            case "time":
                now = self.sandbox.control("clock", http="GET")["now"]
                self.post(path, cancel_at=now + self.random.randint(2, 80) * DAY)
            case "undone":
                self.post(path, cancel_at_period_end="true")
                self.post(path, cancel_at_period_end="false")

    def pauses_collection(self, person: Person) -> None:
        if made := self.subscription_of(person, "active"):
            behavior = self.random.choice(("keep_as_draft", "mark_uncollectible", "void"))
            now = self.sandbox.control("clock", http="GET")["now"]
            pause = {"behavior": behavior, "resumes_at": now + self.random.randint(10, 60) * DAY}
            form = {f"pause_collection[{name}]": value for name, value in pause.items()}
            self.post(f"subscriptions/{made['id']}", **form)

    def pays_what_is_open(self, person: Person) -> None:
        """On the hosted page, or outside of Stripe."""
        for status in ("open", "uncollectible"):
            form = {"customer": person.customer, "status": status}
            for invoice in self.get("invoices", **form)["data"]:
                if invoice["collection_method"] == "send_invoice" or self.chance(0.3):
                    self.post(f"invoices/{invoice['id']}/pay", paid_out_of_band="true")
                elif not self.is_being_paid(invoice):
                    self.post(
                        f"invoices/{invoice['id']}/pay", payment_method=GOOD_CARDS[person.currency]
                    )

    def is_being_paid(self, invoice: Any) -> bool:
        """Whether a bank has been asked already."""
        expand = {"expand[]": "payments.data.payment.payment_intent"}
        shown = self.get(f"invoices/{invoice['id']}", **expand)
        intents = [paying["payment"]["payment_intent"] for paying in shown["payments"]["data"]]
        return any(intent["status"] == "processing" for intent in intents)

    def comes_back(self, person: Person) -> None:
        """Somebody whose subscription ended takes a new one."""
        if self.subscription_of(person, "canceled", "incomplete_expired"):
            self.pays_by_card(person)

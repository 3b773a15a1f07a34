"""Stories as forms: who, what, how; each is told by the code behind `/_sandbox/stories`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias
from urllib.parse import urlencode

from backoffice.sandbox.errors import ApiError, invalid
from backoffice.sandbox.lifecycle import subscribing
from backoffice.sandbox.lifecycle.money import exponent
from backoffice.sandbox.pages import layout
from backoffice.sandbox.pages.html import Content, Html
from backoffice.sandbox.pages.portal import price_options
from backoffice.sandbox.resources import checkout, people
from backoffice.sandbox.routing import Call
from backoffice.sandbox.stories import STORIES, SUCCESS_URL
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

Form: TypeAlias = dict[str, str]
Teller: TypeAlias = Callable[[Work, Form], Json]
"""Tells a story as the form asks; returns the ids of what it touched, by name."""

AN_AMOUNT = re.compile(r"^[\d,]{1,12}(\.\d{1,3})?$", re.ASCII)
PACK_OUTCOMES = {
    "pm_card_visa": "by card, which works",
    "pm_card_chargeDeclined": "by card, which is declined",
    "pending": "by bank debit, still on its way",
    "succeed": "by bank debit, which arrives",
    "fail": "by bank debit, which fails",
}
CARD_OUTCOMES = {"pm_card_visa": "The card works", "pm_card_chargeDeclined": "It is declined"}


@dataclass(frozen=True, slots=True)
class Tale:
    """A story with the fields of its form: each is a name of `FIELDS`, or a list to choose from."""

    name: str
    title: str
    about: str
    tell: Teller
    fields: tuple[str, ...]
    outcomes: tuple[tuple[str, str], ...] = ()


TALES: dict[str, Tale] = {}


def tale(
    title: str, about: str, fields: str, outcomes: Iterable[tuple[str, str]] = ()
) -> Callable[[Teller], Teller]:
    """Registers a story for people."""

    def register(tell: Teller) -> Teller:
        name = tell.__name__
        TALES[name] = Tale(name, title, about, tell, tuple(fields.split()), tuple(outcomes))
        return tell

    return register


def inputs(work: Work, told: Tale, form: Form) -> Html:
    """The inputs of a story's form, with what was entered before."""
    return layout.fragment(*(FIELDS[name](work, told, form.get(name, "")) for name in told.fields))


def _who(work: Work, told: Tale, value: str) -> Content:
    hint = "their email address, or an id: cus_…, sub_…, ch_…"
    return layout.entry("Who", "who", hint=hint, value=value, required=True, list="customers")


def _buyer(work: Work, told: Tale, value: str) -> Content:
    hint = "email or cus_…; an unknown email is a new buyer"
    return layout.entry("Buyer", "buyer", hint=hint, value=value, required=True, list="customers")


def _user(work: Work, told: Tale, value: str) -> Content:
    return layout.entry("User id in the shop", "user", hint="may be empty", value=value)


def _amount(work: Work, told: Tale, value: str) -> Content:
    return layout.entry(
        "Amount", "amount", hint="empty for all of it", value=value, inputmode="decimal"
    )


def _days(work: Work, told: Tale, value: str) -> Content:
    return layout.entry("Days of trial", "days", type="number", min=0, max=730, value=value or "0")


def _outcome(work: Work, told: Tale, value: str) -> Content:
    return layout.choice("How", "outcome", told.outcomes, value)


def _pack(work: Work, told: Tale, value: str) -> Content:
    return layout.choice("Pack", "pack", price_options(work, on_sale(work, recurring=False)), value)


def _plan(work: Work, told: Tale, value: str) -> Content:
    return layout.choice("Plan", "plan", price_options(work, on_sale(work, recurring=True)), value)


def _anything(work: Work, told: Tale, value: str) -> Content:
    prices = [*on_sale(work, recurring=False), *on_sale(work, recurring=True)]
    return layout.choice("Price", "anything", price_options(work, prices), value)


FIELDS: dict[str, Callable[[Work, Tale, str], Content]] = {
    "who": _who,
    "buyer": _buyer,
    "user": _user,
    "amount": _amount,
    "days": _days,
    "outcome": _outcome,
    "pack": _pack,
    "plan": _plan,
    "anything": _anything,
}


def on_sale(work: Work, *, recurring: bool) -> list[Json]:
    """The active prices of packs, or of plans."""
    prices = work.select("price")
    return [one for one in prices if one["active"] and bool(one["recurring"]) == recurring]


def customer_named(work: Work, text: str) -> Json | None:
    """The customer with this id, or the newest one with this email address."""
    if text.startswith("cus_"):
        return work.find("customer", text)
    found = work.select("customer", email=text)
    return found[-1] if found else None


def buyer(work: Work, form: Form) -> Json:
    """How a story names its buyer: a customer, or the email address of a new one."""
    text = _entered(form, "buyer", "Say who buys: an email address or a customer's id.")
    customer = customer_named(work, text)
    if customer is None:
        people.check_email(text)
    user = {"user_id": form["user"]} if form.get("user") else {}
    return user | ({"customer": customer["id"]} if customer else {"email": text})


def _entered(form: Form, name: str, advice: str) -> str:
    if not form.get(name):
        raise invalid(advice, name)
    return form[name]


def theirs(work: Work, form: Form, kind: str, fits: Callable[[Json], bool], lacks: str) -> Json:
    """The object of `kind` that the form names: by its id, or that person's newest that fits."""
    text = _entered(form, "who", "Say whose: an email address or an id.")
    kept = work.stored(text)
    if kept and kept.value["object"] == kind:
        return work.find(kind, text)
    customer = customer_named(work, text)
    found = work.select(kind, customer=customer["id"]) if customer else []
    if kind in ("charge", "checkout.session"):
        found += _bought_as_guest(work, kind, text)
    if not found and not customer:
        raise ApiError(404, f"Nobody here has the email address or id '{text}'.")
    fitting = [one for one in found if fits(one)]
    if not fitting:
        raise invalid(f"{text} has no {lacks}.", "who")
    return max(fitting, key=lambda one: one["created"])


def _bought_as_guest(work: Work, kind: str, email: str) -> list[Json]:
    """The sessions, or their charges, of purchases that made no customer."""
    sessions = [one for one in work.select("checkout.session", email=email) if not one["customer"]]
    if kind == "checkout.session":
        return sessions
    intents = [work.get("payment_intent", session["payment_intent"]) for session in sessions]
    charges = [work.get("charge", intent["latest_charge"]) for intent in intents if intent]
    return [charge for charge in charges if charge]


def running(work: Work, form: Form) -> Json:
    """The subscription that the form names."""
    return theirs(
        work,
        form,
        "subscription",
        lambda one: one["status"] not in (*subscribing.TERMINAL, "incomplete"),
        "running subscription",
    )


def paid_charge(work: Work, form: Form) -> Json:
    """The paid charge that the form names."""
    return theirs(
        work,
        form,
        "charge",
        lambda one: one["status"] == "succeeded" and not one["refunded"] and not one["disputed"],
        "payment that could still be refunded or disputed",
    )


@tale(
    "Buy a pack",
    "Somebody buys a pack of credits in checkout.",
    "buyer user pack outcome",
    PACK_OUTCOMES.items(),
)
def buy_pack(work: Work, form: Form) -> Json:
    """Bought with a card, or with a bank debit in one of its states."""
    outcome = form.get("outcome", "")
    how = {"payment_method" if outcome.startswith("pm_") else "async": outcome}
    price = _entered(form, "pack", "There is no pack on sale: make a one-time price first.")
    return STORIES["buy_pack"](work, buyer(work, form) | {"price": price} | how)


@tale(
    "Subscribe",
    "Somebody subscribes in checkout.",
    "buyer user plan days outcome",
    CARD_OUTCOMES.items(),
)
def subscribe(work: Work, form: Form) -> Json:
    """With a trial, if it has days."""
    days = form.get("days") or "0"
    if not days.isdecimal() or int(days) > 730:
        raise invalid("Days of trial: a number from 0 to 730.", "days")
    price = _entered(form, "plan", "There is no plan on sale: make a recurring price first.")
    body = {"price": price, "payment_method": form.get("outcome"), "trial_days": int(days) or None}
    return STORIES["subscribe"](work, buyer(work, form) | body)


@tale(
    "Open a checkout page",
    "You pay by hand on the hosted page, as a customer would.",
    "buyer user anything",
)
def open_checkout(work: Work, form: Form) -> Json:
    """A session that takes cards and, for packs, bank debits."""
    wanted = _entered(form, "anything", "There is nothing on sale: make a price first.")
    price = work.find("price", wanted, "price")
    who = buyer(work, form)
    params: Json = {
        "mode": "subscription" if price["recurring"] else "payment",
        "line_items": [{"price": price["id"], "quantity": 1}],
        "payment_method_types": ["card"] if price["recurring"] else ["card", "us_bank_account"],
        "success_url": SUCCESS_URL,
    }
    params |= (
        {"customer": who["customer"]} if "customer" in who else {"customer_email": who["email"]}
    )
    if user := who.get("user_id"):
        params |= {"client_reference_id": user, "metadata": {"user_id": user}}
    made = checkout.create(Call(work, params, {}))
    return {"checkout_session": _id(made), "customer": who.get("customer")}


def _id(answer: object) -> str:
    if not isinstance(answer, dict):
        raise TypeError("the call answers one object")
    return str(answer["id"])


@tale("Open the billing portal", "You cancel or update a card by hand, as a customer would.", "who")
def open_portal(work: Work, form: Form) -> Json:
    """A session of the portal for a customer."""
    text = _entered(form, "who", "Say whose: an email address or an id.")
    customer = customer_named(work, text)
    if customer is None:
        raise ApiError(404, f"Nobody here has the email address or id '{text}'.")
    made = people.create_portal_session(Call(work, {"customer": customer["id"]}, {}))
    return {"portal": _id(made), "customer": customer["id"]}


@tale(
    "Renew",
    "The period of a subscription ends, and the next one is billed.",
    "who outcome",
    [("fail", "The card is declined"), ("", "The card works")],
)
def renew(work: Work, form: Form) -> Json:
    """Paid, or declined: then it is past due."""
    fail = form.get("outcome") == "fail"
    return STORIES["renew"](work, {"subscription": running(work, form)["id"], "fail": fail})


@tale(
    "Cancel in the portal",
    "A customer cancels their subscription.",
    "who outcome",
    [("", "At the end of the period"), ("now", "At once")],
)
def cancel(work: Work, form: Form) -> Json:
    """At the end of the period as the portal does it, by `cancel_at`."""
    subscription = running(work, form)
    end = subscribing.period_of(subscription)[1]
    at = None if form.get("outcome") == "now" else end
    return STORIES["cancel"](work, {"subscription": subscription["id"], "cancel_at": at})


@tale("Refund", "Money of a payment goes back.", "who amount")
def refund(work: Work, form: Form) -> Json:
    """All of the newest payment, or a part of it."""
    charge = paid_charge(work, form)
    amount = minor_units(form.get("amount", ""), charge["currency"])
    return STORIES["refund"](work, {"charge": charge["id"], "amount": amount})


def minor_units(text: str, currency: str) -> int | None:
    """The amount that somebody entered, in minor units of `currency`; None for nothing."""
    if not text:
        return None
    if not AN_AMOUNT.match(text):
        raise invalid(f"'{text}' is no amount. Enter it like 12.50.", "amount")
    amount = Decimal(text.replace(",", "")).scaleb(exponent(currency))
    if amount < 1 or amount != int(amount):
        least = layout.money(1, currency)
        raise invalid(f"Enter an amount of at least {least}, in whole steps of it.", "amount")
    return int(amount)


@tale(
    "Dispute",
    "The cardholder's bank disputes a payment, or only asks.",
    "who outcome",
    [("", "It takes the money back"), ("inquiry", "It only asks")],
)
def dispute(work: Work, form: Form) -> Json:
    """A chargeback or an inquiry."""
    inquiry = form.get("outcome") == "inquiry"
    return STORIES["dispute"](work, {"charge": paid_charge(work, form)["id"], "inquiry": inquiry})


@tale(
    "Settle a bank debit",
    "The bank answers for a pack that was bought by bank debit.",
    "who outcome",
    [("succeed", "It pays"), ("fail", "It refuses")],
)
def settle(work: Work, form: Form) -> Json:
    """Paid or refused, days later."""
    session = theirs(
        work,
        form,
        "checkout.session",
        lambda one: one["status"] == "complete" and one["payment_status"] == "unpaid",
        "purchase that waits for the bank",
    )
    succeed = form.get("outcome") != "fail"
    return STORIES["settle"](work, {"checkout_session": session["id"], "succeed": succeed})


def outcome_path(told: Tale, answer: Json, events: list[str]) -> str:
    """The address of the page that says what came of a story."""
    ids = [value for value in answer.values() if isinstance(value, str) and "_" in value]
    return f"/told/{told.name}?{urlencode({'id': ids, 'event': events}, doseq=True)}"

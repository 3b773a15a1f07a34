"""Finding people and things by whatever a customer gave: an email, an id, a card's last digits.

`search` reads our own tables, through indexes, with a number of statements that does not grow
with what it finds. `look_up` asks Stripe, by its id, for what is not here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from django.db.models import Model, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from djstripe.models import SubscriptionItem

from billing.diagnosis.facts import Person
from billing.diagnosis.lookup import Looked, look_up
from billing.diagnosis.terms import Card, cards, kind_of
from billing.formatting import format_money
from billing.gateway.shapes import clean, event_customer_id, metadata_user_id
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    CreditEntry,
    CreditPrice,
    InboxEvent,
    InvoicePayment,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    PaymentReversal,
    Purchase,
)

__all__ = ["Found", "Hit", "Looked", "Thing", "look_up", "search"]

MOST = 50  # people that a search shows; with more it must be more precise
MOST_AT_PRICE = 20  # customers with a live subscription that a price's search shows
MOST_CUSTOMERS = 1000  # of all users that are found
MOST_TYPED = 300  # characters that are looked for; what customers give is shorter
PART = 3  # characters from which on any part of an email or a name is looked for
LIVE = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")
NEEDS_MORE = (
    "A card's last four digits alone fit many payments: add the amount or the date, such as"
    " “{0} 49.00” or “{0} 20 Nov”."
)


@dataclass(slots=True)
class Hit:
    """Somebody who was found, with enough to choose by.

    `customer` is the Stripe customer that matched, or the person's newest where it was the user;
    None for a user without any. `matched` says in words what of theirs it was, and `row` is that
    row. `status` is the live subscription's, '' without one; `payment` the latest attempt;
    `balance` the user's credits, None where there is no row.
    """

    person: Person
    matched: str
    row: Model | None = None
    customer: BillingCustomer | None = None
    status: str = ""
    payment: BillingPayment | None = None
    balance: int | None = None

    @property
    def title(self) -> str:
        """The email, or else the best name there is."""
        found = self.customer
        return (
            found and (found.email or found.name or str(found))
        ) or f"User {self.person.user_id}"


@dataclass(frozen=True, slots=True)
class Thing:
    """What was found and is nobody's: a price, or what nobody is known for. In `words`."""

    row: Model
    words: str


@dataclass(slots=True)
class Found:
    """What a search found: `hits`, at most 50, and `things` that are nobody's.

    `more` where there were more people than are shown. `advice` is a sentence where the term
    needs something else to be found by. `kind` is the kind of Stripe's object whose id the term
    looks like, '' if it looks like none: where nothing was found, `look_up(term)` may know it.
    """

    term: str
    hits: list[Hit] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    more: bool = False
    advice: str = ""
    kind: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.hits and not self.things

    @property
    def only(self) -> Hit | Thing | None:
        """The one that was found, where it is one."""
        everything: list[Hit | Thing] = [*self.hits, *self.things]
        return everything[0] if len(everything) == 1 else None


@dataclass(frozen=True, slots=True)
class _Match:
    """A row that matched, whose it is as far as the row says, and in words what matched."""

    row: Model
    customer_id: str
    user_id: str
    words: str

    @property
    def is_somebodys(self) -> bool:
        return bool(self.customer_id or self.user_id)


def search(term: str) -> Found:
    """Whom and what a term names in our own tables. Never raises for what somebody typed."""
    typed = clean(term).strip()
    found = Found(typed[:MOST_TYPED])
    if not typed or "\x00" in term:
        return found
    if len(typed) > MOST_TYPED:
        found.advice = f"That is too long to be looked for: at most {MOST_TYPED} characters."
        return found
    found.kind = kind_of(typed)
    readings = cards(typed, timezone.now().date())
    if readings and not any(card.is_enough for card in readings):
        found.advice = NEEDS_MORE.format(readings[0].last4)
    _choose(found, _matches(typed, readings), MOST_AT_PRICE if found.kind == "price" else MOST)
    return found


def _matches(term: str, readings: list[Card]) -> list[_Match]:
    """Exact matches; or else, and beside what may be a word, parts of emails and names."""
    exact = list(_exact(term, readings))
    is_word = not any(letter.isdigit() or letter in "@_:" for letter in term)
    return [*exact, *_by_part(term)] if is_word or not exact else exact


def _exact(term: str, readings: list[Card]) -> Iterator[_Match]:
    if kind_of(term):
        yield from _by_stripe_id(term)
        return
    for card in readings:
        if card.is_enough:
            yield from _by_card(card)
    if term.startswith("op_"):
        for record in OperationRecord.objects.filter(key=term):
            yield _Match(record, "", "", f"Operation {record.name.replace('_', ' ')}")
    yield from _by_user(term)
    yield from _by_claim(term)
    numbers = {term, term.upper(), term.lower()}
    for invoice in BillingInvoice.objects.filter(number__in=numbers)[: MOST + 1]:
        yield _of(invoice, f"Invoice {invoice.number}")
    if "@" in term:
        for customer in BillingCustomer.objects.filter(email__iexact=term)[: MOST + 1]:
            yield _of(customer, "Email")
    if ":" in term:
        for entry in CreditEntry.objects.filter(source=term):
            yield _Match(entry, "", entry.user_id, f"Ledger entry of {term}")


def _of(row: Any, words: str) -> _Match:
    """A row that says itself whose it is."""
    return _Match(
        row, getattr(row, "stripe_customer_id", ""), getattr(row, "user_id", "") or "", words
    )


def _by_user(term: str) -> Iterator[_Match]:
    """A user of ours by the whole id: with customers, or with nothing but rows of their own."""
    customers = list(BillingCustomer.objects.filter(user_id=term)[: MOST + 1])
    for customer in customers:
        yield _Match(customer, customer.stripe_customer_id, term, "User")
    if not customers:
        for model in (LeadCredits, BillingSubscription, Purchase, LeadClaim):
            if row := model._default_manager.filter(user_id=term).first():
                yield _Match(row, getattr(row, "stripe_customer_id", ""), term, "User")
                return


def _by_claim(term: str) -> Iterator[_Match]:
    """Whoever claimed a lead, by the lead's id or, as `claim:<id>`, by the claim's."""
    number = term.removeprefix("claim:")
    if number != term:
        if fits_a_claim(number):
            for claim in LeadClaim.objects.filter(pk=int(number)):
                yield _of(claim, f"Claim {claim.pk}, of lead {claim.lead_id or 'unknown'}")
        return
    for claim in LeadClaim.objects.filter(lead_id=term)[: MOST + 1]:
        yield _of(claim, f"Lead {claim.lead_id}")


def fits_a_claim(text: str) -> bool:
    """Whether it can be the number of a claim."""
    return text.isascii() and text.isdigit() and len(text) < 19


def _by_card(card: Card) -> Iterator[_Match]:
    """Whoever paid by a card. A guest's payment names no customer: the purchase may know them."""
    payments = list(BillingPayment.objects.filter(card.matches())[: MOST + 1])
    guests = {payment.payment_intent_id for payment in payments if not payment.stripe_customer_id}
    bought = Purchase.objects.filter(payment_intent_id__in=guests - {""})
    purchases = {purchase.payment_intent_id: purchase for purchase in bought}
    for payment in payments:
        paid = format_money(payment.amount, payment.currency)
        when = f"{payment.created_at:%Y-%m-%d %H:%M} UTC"
        words = f"Card {card.last4}: {paid}, {when}, {payment.status}"
        whose = _of(purchases.get(payment.payment_intent_id) or payment, words)
        yield replace(whose, row=payment)


def _by_part(term: str) -> Iterator[_Match]:
    """Customers by any part of the email or name, in any case; by the beginning if it is short.

    Without an order: the trigrams' index has none, and to sort all that begin with an `a` would
    take longer than all else.
    """
    how = "icontains" if len(term) >= PART else "istartswith"
    seen = set()
    for name, words in (("email", "Email"), ("name", "Name")):
        for customer in BillingCustomer.objects.filter(**{f"{name}__{how}": term}).order_by()[
            : MOST + 1
        ]:
            if customer.pk not in seen:
                seen.add(customer.pk)
                yield _of(customer, words)


def _by_stripe_id(term: str) -> Iterator[_Match]:
    """Whatever has a Stripe id, or else whom an event about it was about."""
    matches = list(_of_its_kind(term))
    if matches:
        yield from matches
        return
    for event in InboxEvent.objects.filter(object_id=term).defer("body").order_by("-id")[:1]:
        yield _Match(event, event.customer_id, "", f"{term}, by the event {event.type}")


def _of_its_kind(term: str) -> Iterator[_Match]:
    match kind_of(term):
        case "customer":
            yield from _each(BillingCustomer.objects.filter(stripe_customer_id=term), "Customer")
        case "subscription":
            rows = BillingSubscription.objects.filter(stripe_subscription_id=term)
            yield from _each(rows, "Subscription")
        case "invoice":
            yield from _each(BillingInvoice.objects.filter(stripe_invoice_id=term), "Invoice")
        case "checkout.session":
            yield from _each(Purchase.objects.filter(source=term), "Purchase")
        case "payment_intent":
            yield from _paid_with([term], f"Payment {term}")
        case "charge":
            yield from _charged(term, f"Payment {term}")
        case "refund" | "dispute":
            for row in PaymentReversal.objects.filter(stripe_id=term):
                words = f"{row.get_kind_display()} {term}"
                paid = _paid_with([row.payment_intent_id], words) if row.payment_intent_id else ()
                whose = list(paid) or list(_charged(row.charge_id, words))
                yield from whose or [_of(row, words)]
        case "event":
            yield from _by_event(term)
        case "price":
            yield from _at_price(term)


def _each(rows: QuerySet[Any], what: str) -> Iterator[_Match]:
    for row in rows:
        yield _of(row, f"{what} {row}")


def _charged(charge_id: str, words: str) -> Iterator[_Match]:
    """Whoever a charge was of: a guest's is known by the purchase alone."""
    for payment in BillingPayment.objects.filter(stripe_charge_id=charge_id):
        if payment.stripe_customer_id or not payment.payment_intent_id:
            yield _of(payment, words)
        else:
            yield from _paid_with([payment.payment_intent_id], words)


def _paid_with(intents: list[str], words: str) -> Iterator[_Match]:
    """Whoever paid with payment intents: by the purchase, the charge or the invoice."""
    invoices = InvoicePayment.objects.filter(payment_intent_id__in=intents)
    matches = [
        _of(row, words)
        for rows in (
            Purchase.objects.filter(payment_intent_id__in=intents),
            BillingPayment.objects.filter(payment_intent_id__in=intents),
            BillingInvoice.objects.filter(
                stripe_invoice_id__in=invoices.values("stripe_invoice_id")
            ),
        )
        for row in rows[: MOST + 1]
    ]
    yield from [match for match in matches if match.is_somebodys] or matches[:1]


def _by_event(term: str) -> Iterator[_Match]:
    """Whom an event is about; one that names no customer by the purchase or payment in it."""
    for event in InboxEvent.objects.filter(stripe_event_id=term).defer("body"):
        words = f"Event {term} ({event.type})"
        match = _Match(event, event.customer_id, "", words)
        about = [] if match.is_somebodys else list(_of_its_kind(event.object_id))
        whose = [replace(one, row=event, words=words) for one in about if one.is_somebodys]
        yield from whose or [match]
        return
    for row in BillingEvent.objects.filter(stripe_event_id=term):
        customer = event_customer_id(row.payload)
        yield _Match(row, customer, metadata_user_id(row.payload), f"Event {term} ({row.type})")


def _at_price(term: str) -> Iterator[_Match]:
    """The price, and who has a live subscription at it, found through the mirror's index."""
    for price in CreditPrice.objects.filter(price_id=term):
        words = f"Price {price.name or term}: {price.credits:,} credits a unit"
        yield _Match(price, "", "", words)
    items = SubscriptionItem.objects.filter(price__id=term).values("subscription__id")
    rows = BillingSubscription.objects.filter(stripe_subscription_id__in=items, status__in=LIVE)
    for row in rows.order_by()[: MOST_AT_PRICE + 1]:
        yield _of(row, f"Subscription {row} at this price")


def _choose(found: Found, matches: list[_Match], most: int) -> None:
    """Makes hits and things of what matched: each person once, by what matched first."""
    found.more = len(matches) > most
    people = _People.of(matches)
    hits: dict[tuple[str, str], Hit] = {}
    for match in matches:
        customer = people.customer_of(match)
        user = (customer.user_id if customer else match.user_id) or ""
        if customer is None and not user:
            found.things.append(Thing(match.row, match.words))
            continue
        key = ("user", user) if user else ("customer", match.customer_id)
        if key not in hits:
            ids = people.ids_of(user) or ((customer.stripe_customer_id,) if customer else ())
            hits[key] = Hit(Person(user or None, ids), match.words, match.row, customer)
    found.hits, found.things = list(hits.values())[:most], found.things[:most]
    _add_standing(found.hits, people)


@dataclass(slots=True)
class _People:
    """The customers behind some matches by their Stripe ids, with all others of their users.

    `by_user` has a user's customers, the oldest first; `payments` each customer's latest one.
    """

    customers: dict[str, BillingCustomer]
    by_user: dict[str, list[BillingCustomer]] = field(default_factory=dict)
    payments: dict[str, BillingPayment] = field(default_factory=dict)

    @classmethod
    def of(cls, matches: list[_Match]) -> "_People":
        ids = {match.customer_id for match in matches if match.customer_id}
        rows = BillingCustomer.objects.filter(stripe_customer_id__in=ids)
        made = cls({customer.stripe_customer_id: customer for customer in rows})
        users = {customer.user_id or "" for customer in made.customers.values()}
        users |= {match.user_id for match in matches}
        theirs = BillingCustomer.objects.filter(user_id__in=users - {""})
        for customer in theirs.order_by("created_at", "id")[:MOST_CUSTOMERS]:
            made.customers[customer.stripe_customer_id] = customer
            made.by_user.setdefault(customer.user_id or "", []).append(customer)
        made._add_payments()
        return made

    def _add_payments(self) -> None:
        own = BillingPayment.objects.filter(stripe_customer_id=OuterRef("stripe_customer_id"))
        latest = Subquery(own.order_by("-created_at", "-id").values("pk")[:1])
        customers = BillingCustomer.objects.filter(stripe_customer_id__in=self.customers)
        pks = customers.annotate(latest=latest).values_list("latest", flat=True).order_by()
        found = BillingPayment.objects.filter(pk__in=[pk for pk in pks if pk])
        self.payments = {payment.stripe_customer_id: payment for payment in found}

    def customer_of(self, match: _Match) -> BillingCustomer | None:
        """The customer that matched, or else the user's newest."""
        own = self.customers.get(match.customer_id)
        return own or next(reversed(self.by_user.get(match.user_id, [])), None)

    def ids_of(self, user: str) -> tuple[str, ...]:
        return tuple(customer.stripe_customer_id for customer in self.by_user.get(user, ()))


def _add_standing(hits: list[Hit], people: _People) -> None:
    """Adds to all hits what people choose by, with one statement for each kind of it."""
    ids = {i for hit in hits for i in hit.person.customer_ids}
    users = {hit.person.user_id for hit in hits if hit.person.user_id}
    statuses = _live_statuses(ids, users)
    credits_ = LeadCredits.objects.filter(user_id__in=users)
    balances = dict(credits_.values_list("user_id", "balance"))
    for hit in hits:
        theirs = {*hit.person.customer_ids, hit.person.user_id or ""}
        live = {status for whose in theirs for status in statuses.get(whose, ())}
        hit.status = next((status for status in LIVE if status in live), "")
        paid = [people.payments[i] for i in hit.person.customer_ids if i in people.payments]
        if isinstance(hit.row, BillingPayment):
            paid.append(hit.row)
        hit.payment = max(paid, key=attrgetter("created_at"), default=None)
        hit.balance = balances.get(hit.person.user_id or "")


def _live_statuses(ids: set[str], users: set[str]) -> dict[str, set[str]]:
    """The statuses of live subscriptions, by Stripe customer and by user."""
    live = BillingSubscription.objects.filter(
        Q(stripe_customer_id__in=ids) | Q(user_id__in=users), status__in=LIVE
    )
    found: dict[str, set[str]] = {}
    for customer, user, status in live.order_by().values_list(
        "stripe_customer_id", "user_id", "status"
    ):
        for whose in filter(None, (customer, user)):
            found.setdefault(whose, set()).add(status)
    return found

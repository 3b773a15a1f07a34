"""One subscription or invoice side by side: Stripe's, ours, and ours after a sync.

With the events about it, so that it shows which one should have changed our row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from django.db.models import QuerySet
from django.utils import timezone

from billing.diagnosis import at_stripe
from billing.diagnosis.at_stripe import AtStripe
from billing.diagnosis.causes import Cause, causes_of
from billing.diagnosis.differences import INVOICE_FIELDS, SUBSCRIPTION_FIELDS, in_words, label_of
from billing.diagnosis.facts import Facts, Person, read_about, read_received
from billing.diagnosis.rehearsal import rehearse
from billing.formatting import format_time, iso_time
from billing.gateway.client import GatewayError, StripeNotFoundError, gateway, giving_up_on_silence
from billing.gateway.observation import Observation, StripeDict
from billing.models import BillingInvoice, BillingSubscription, StatusOverride
from billing.projection import overrides
from billing.projection.accounts import Row, invoice_row, subscription_row
from billing.projection.intake import fetch

Kind = Literal["subscription", "invoice"]
Ours = BillingSubscription | BillingInvoice

WHO_LOOKS = "side by side"  # as the actor of what is rolled back
MOST_EVENTS = 20  # that are shown, the newest
USER = "user_id"
UNKNOWN = "not known"
NOT_HERE = "not here"
FIELDS: Mapping[str, tuple[str, ...]] = {
    "subscription": (USER, *SUBSCRIPTION_FIELDS),
    "invoice": (USER, *INVOICE_FIELDS),
}


@dataclass(frozen=True, slots=True)
class Side:
    """One field in words, three times; `differs` where a sync would change ours.

    Where Stripe names no user, ours may come from its customer: that is no difference.
    """

    name: str
    stripe: str
    ours: str
    after: str
    differs: bool

    @property
    def label(self) -> str:
        return label_of(self.name)


@dataclass(slots=True)
class Sides:
    """An object of Stripe's beside our row (None where there is none).

    `asked_at` (UTC) is when Stripe was asked, and `api_calls` how often. `stripe` is its object
    as plain JSON; None where it does not know it (`is_unknown`) or did not answer (`silence`
    says why). `unsaid` says what else it did not answer: what a sync needs, or which events it
    sent. `events` are those about it, the newest first.
    """

    kind: Kind
    id: str
    asked_at: datetime
    ours: Ours | None
    override: StatusOverride | None = None
    stripe: StripeDict | None = None
    is_unknown: bool = False
    silence: str = ""
    unsaid: str = ""
    fields: list[Side] = field(default_factory=list)
    events: list[Cause] = field(default_factory=list)
    api_calls: int = 0

    @property
    def differs(self) -> bool:
        return any(each.differs for each in self.fields)

    @property
    def cause(self) -> Cause | None:
        """The event that should have changed our row: the newest whose effects are missing."""
        return next((e for e in self.events if e.is_open), None) if self.differs else None

    @property
    def verdict(self) -> str:
        """What the comparison shows, in a sentence or two."""
        if self.silence:
            return f"Stripe did not answer: {self.silence} Here is our own row alone."
        if self.is_unknown:
            return (
                f"Stripe knows no {self.kind} {self.id} in this account and mode: it was deleted,"
                " it belongs to the other mode, or the id is wrong. A sync cannot change our row."
            )
        if self.ours is None:
            return f"The {self.kind} is at Stripe and {NOT_HERE}. {self._why()}"
        if not self.differs:
            return "Stripe and we agree in every field."
        count = sum(each.differs for each in self.fields)
        differ = "1 field differs" if count == 1 else f"{count} fields differ"
        return f"{differ} from Stripe. {self._why()}"

    @property
    def by_hand(self) -> str:
        """What is to be said of a status that was set by hand; '' where none is in force."""
        if (found := self.override) is None:
            return ""
        return (
            f"The status differs on purpose: {found.actor} set it to {found.status} by hand"
            f" (before: {found.status_before}), until {format_time(found.expires_at)}. A sync ends"
            f" that. The reason: {found.reason}"
        )

    def row_as_dict(self) -> dict[str, Any]:
        """Our row's columns as JSON has them; {} without a row."""
        if self.ours is None:
            return {}
        values = {each.attname: getattr(self.ours, each.attname) for each in self.ours._meta.fields}
        return {k: iso_time(v) if isinstance(v, datetime) else v for k, v in values.items()}

    def _why(self) -> str:
        if cause := self.cause:
            return f"{cause.type} should have changed it: it {cause.in_words}."
        if any(each.name == "status" and each.differs for each in self.fields) and self.by_hand:
            return "Its status was set by hand."
        if self.events:
            return (
                "Every event about it that Stripe still has was received and processed: our row"
                " was changed since then, or Stripe's event is older than 30 days."
            )
        return "No event tells of it; Stripe keeps them for 30 days."


def sides_of(kind: Kind, stripe_id: str) -> Sides:
    """Compares Stripe's object with our row, in a constant number of requests.

    What Stripe does not say is in the result, in words: no GatewayError is raised. Nothing is
    written. To be called outside of any transaction.
    """
    row = _rows(kind, stripe_id).first()
    by_hand = overrides.in_force([stripe_id]).first() if kind == "subscription" else None
    sides = Sides(kind, stripe_id, timezone.now(), row, by_hand)
    facts = Facts(Person(None, ()), sides.asked_at)
    read_about(facts, [stripe_id])
    try:
        stripe = gateway()
        before = stripe.calls
        with giving_up_on_silence():
            _ask(sides, facts)
        sides.api_calls = stripe.calls - before
    except StripeNotFoundError:
        sides.is_unknown = True
    except GatewayError as error:
        sides.silence = str(error)
    if not sides.fields:
        sides.fields = _fields(sides, None)
    sides.events = causes_of(facts, stripe_id)[:MOST_EVENTS]
    return sides


def _ask(sides: Sides, facts: Facts) -> None:
    """Adds what Stripe says. Raises a GatewayError where it does not say what the object is."""
    seen = fetch(sides.kind, sides.id)
    after = _after(sides, seen)
    sides.stripe = seen.data
    sides.fields = _fields(sides, after)
    if not sides.differs:
        return
    found = facts.stripe = AtStripe(sides.asked_at, {sides.kind: {sides.id: seen.data}})
    last = {key: events[0].stripe_created_at for key, events in facts.about.items()}
    try:
        at_stripe.look_for_events(found, [(sides.kind, sides.id)], last)
    except GatewayError as error:
        sides.unsaid = sides.unsaid or f"Stripe did not list its events: {error}"
        return
    read_received(facts)


def _after(sides: Sides, seen: Observation) -> Ours | None:
    """Our row as a sync would leave it; None where that is not known."""
    try:
        return rehearse([seen], lambda _: _rows(sides.kind, sides.id).first(), actor=WHO_LOOKS)
    except GatewayError as error:
        sides.unsaid = f"What a sync would change is not known: {error}"
        return None


def _rows(kind: Kind, stripe_id: str) -> QuerySet[Any]:
    if kind == "subscription":
        return BillingSubscription.objects.filter(stripe_subscription_id=stripe_id)
    return BillingInvoice.objects.filter(stripe_invoice_id=stripe_id)


def _fields(sides: Sides, after: Ours | None) -> list[Side]:
    wanted = _wanted(sides)
    return [_side(name, wanted, sides.ours, after) for name in FIELDS[sides.kind]]


def _wanted(sides: Sides) -> Row | None:
    """Stripe's object as our columns have it; None where Stripe did not tell."""
    if sides.stripe is None:
        return None
    mapping = subscription_row if sides.kind == "subscription" else invoice_row
    return mapping(sides.stripe)


def _side(name: str, wanted: Row | None, ours: Ours | None, after: Ours | None) -> Side:
    currency = str(wanted.get("currency") or "") if wanted else ""
    return Side(
        name,
        in_words(name, wanted[name], currency) if wanted else UNKNOWN,
        _words(name, ours) if ours else NOT_HERE,
        _words(name, after) if after else UNKNOWN,
        _differs(name, wanted, ours, after),
    )


def _words(name: str, row: Ours) -> str:
    return in_words(name, getattr(row, name), row.currency)


def _differs(name: str, wanted: Row | None, ours: Ours | None, after: Ours | None) -> bool:
    """Whether our row is not as Stripe has it. Only a sync tells whose the object will be."""
    if wanted is None:
        return False
    if ours is None:
        return True
    if name != USER:
        return bool(getattr(ours, name) != wanted[name])
    if after is not None:
        return bool(after.user_id != ours.user_id)
    return bool(wanted[name]) and wanted[name] != ours.user_id

"""Which events to replay: those that Stripe has and we did not process, or the inbox's own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from django.db.models import Q, QuerySet

from billing.formatting import format_time
from billing.gateway.client import gateway
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import event_customer_id
from billing.ingress.handled import HANDLED
from billing.models import InboxEvent
from billing.operations import inputs
from billing.operations.base import InvalidInputError

Status = InboxEvent.Status
DONE = (Status.PROCESSED, Status.IGNORED)
OPEN = (Status.PENDING, Status.FAILED, Status.DEAD)
MOST = 100_000  # events of one selection

MISSING = "missing"
UNDELIVERED = "undelivered"
INBOX = "inbox"
SOURCES = {
    MISSING: "that Stripe has and that were not processed here",
    UNDELIVERED: "that Stripe could not deliver and that were not processed here",
    INBOX: "of the inbox",
}


@dataclass(slots=True)
class Found:
    """The events' ids, the oldest first, and those that came whole from Stripe.

    `left_out` says how many more there are than were asked for.
    """

    ids: list[str] = field(default_factory=list)
    events: list[StripeDict] = field(default_factory=list)
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """Events by where they are looked for, when they happened (UTC, both ends included),
    their types (`invoice.paid`, or `invoice.*`), their customer at Stripe and, in the
    inbox, their status. `most` is how many are taken, the oldest first.
    """

    source: str
    since: datetime | None = None
    until: datetime | None = None
    types: tuple[str, ...] = ()
    customer: str = ""
    statuses: tuple[str, ...] = ()
    most: int = MOST

    @classmethod
    def of(
        cls,
        *,
        source: str,
        since: str | None = None,
        until: str | None = None,
        types: Sequence[str] = (),
        customer: str = "",
        statuses: Sequence[str] = (),
        most: int = MOST,
    ) -> Self:
        """What was typed, or `as_json` said. Raises InvalidInputError."""
        if source not in SOURCES:
            raise InvalidInputError(f"Events are looked for in: {', '.join(SOURCES)}.")
        made = cls(
            source,
            inputs.moment(since) if since is not None else None,
            inputs.moment(until) if until is not None else None,
            tuple(dict.fromkeys(_type(one) for one in types)),
            inputs.stripe_id(customer, "cus_") if customer else "",
            tuple(dict.fromkeys(_status(one) for one in statuses)),
            inputs.whole_number(most, "The number of events", least=1, most=MOST),
        )
        if made.since and made.until and made.since > made.until:
            raise InvalidInputError("The time window ends before it begins.")
        if made.statuses and source != INBOX:
            raise InvalidInputError("Only events of the inbox have a status.")
        return made

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "since": self.since.isoformat() if self.since else None,
            "until": self.until.isoformat() if self.until else None,
            "types": list(self.types),
            "customer": self.customer,
            "statuses": list(self.statuses),
            "most": self.most,
        }

    def __str__(self) -> str:
        parts = ["events", SOURCES[self.source]]
        parts += [f"with status {' or '.join(self.statuses)}"] if self.statuses else []
        parts += [f"of type {' or '.join(self.types)}"] if self.types else []
        parts += [f"of customer {self.customer}"] if self.customer else []
        parts += [f"since {format_time(self.since)}"] if self.since else []
        parts += [f"until {format_time(self.until)}"] if self.until else []
        return " ".join(parts)

    def find(self) -> Found:
        """The events as they are now. Raises a GatewayError where Stripe is asked."""
        if self.source == INBOX:
            rows = self._in_inbox().order_by("stripe_created_at", "id")
            ids = list(rows.values_list("stripe_event_id", flat=True)[: self.most])
            return Found(ids, left_out=rows.count() - len(ids))
        events = list(self._at_stripe())[::-1]
        taken = events[: self.most]
        return Found([event["id"] for event in taken], taken, len(events) - len(taken))

    def _in_inbox(self) -> QuerySet[InboxEvent]:
        wanted = Q(status__in=self.statuses or OPEN)
        wanted &= Q(stripe_created_at__gte=self.since) if self.since else Q()
        wanted &= Q(stripe_created_at__lte=self.until) if self.until else Q()
        wanted &= Q(customer_id=self.customer) if self.customer else Q()
        types = Q()
        for one in self.types:
            types |= Q(type__startswith=one[:-1]) if one.endswith(".*") else Q(type=one)
        return InboxEvent.objects.filter(wanted, types)

    def _at_stripe(self) -> Iterator[StripeDict]:
        """Those that Stripe lists, the newest first; it lists 30 days."""
        created = {
            name: int(moment.timestamp())
            for name, moment in (("gte", self.since), ("lte", self.until))
            if moment
        }
        params: dict[str, Any] = {"created": created} if created else {}
        if self.source == UNDELIVERED:
            params["delivery_success"] = False
        for page in gateway().pages("/v1/events", params):
            wanted = [event for event in page.data if self._is_wanted(event)]
            done = processed(event["id"] for event in wanted)
            yield from (event for event in wanted if event["id"] not in done)

    def _is_wanted(self, event: StripeDict) -> bool:
        is_theirs = not self.customer or event_customer_id(event["data"]["object"]) == self.customer
        # Where an application has an endpoint of its own, what that one lacks need not be ours.
        if self.source == UNDELIVERED and not self.types and event["type"] not in HANDLED:
            return False
        return is_theirs and (not self.types or any(is_of(event["type"], t) for t in self.types))


def processed(event_ids: Iterable[str]) -> set[str]:
    """Those of the events that need nothing any more."""
    rows = InboxEvent.objects.filter(stripe_event_id__in=list(event_ids), status__in=DONE)
    return set(rows.values_list("stripe_event_id", flat=True))


def is_of(type_: str, wanted: str) -> bool:
    """Whether an event's type is the wanted one, or of the wanted group (`invoice.*`)."""
    return type_.startswith(wanted[:-1]) if wanted.endswith(".*") else type_ == wanted


def _type(text: str) -> str:
    cleaned = text.strip()
    if not cleaned.removesuffix(".*").replace(".", "").replace("_", "").isalnum():
        raise InvalidInputError(
            f"“{cleaned[:60]}” is no type of event: write it like invoice.paid or invoice.*"
        )
    return cleaned


def _status(text: str) -> str:
    if text not in (*OPEN, *DONE):
        known = ", ".join(map(str, (*OPEN, *DONE)))
        raise InvalidInputError(f"“{text[:60]}” is no status to replay. There are: {known}.")
    return text

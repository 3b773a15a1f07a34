"""What is listed at Stripe, with what of ours it is compared, and what it is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, Model, OuterRef, QuerySet

from billing.diagnosis import differences
from billing.gateway.client import PAGE_SIZE
from billing.gateway.history import KEPT_EVENTS
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import id_of, session_user_id
from billing.ingress.handled import HANDLED
from billing.models import (
    BillingCustomer,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    InboxEvent,
    PaymentReversal,
    Purchase,
    ReconciliationRun,
)
from billing.models.erasure import ERASED
from billing.projection.accounts import customer_row, payment_row
from billing.projection.purchases import is_paid_pack, reversal_of

EVENTS = "event"


def always(data: StripeDict) -> bool:
    return True


def never(row: Any, data: StripeDict) -> bool:
    return False


def nothing(data: StripeDict) -> tuple[str, int]:
    return "", 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One of Stripe's lists: `kind` is that of its objects, `name` its own.

    `rows` are ours of that kind, `key` the column with Stripe's id, `made` that with Stripe's
    time. `counts` says which objects belong to the comparison, `differs` whether our row is
    otherwise, `worth` gives an object's currency and amount (minor units). `expected` narrows our
    rows to those that Stripe's list has, too: it lists no deleted customers.
    """

    name: str
    kind: str
    path: str
    rows: Callable[[], QuerySet[Any]]
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)
    made: str = "created_at"
    counts: Callable[[StripeDict], bool] = always
    differs: Callable[[Any, StripeDict], bool] = never
    worth: Callable[[StripeDict], tuple[str, int]] = nothing
    our_worth: str = ""  # the column with our amount, beside `currency`
    has_status: bool = False  # counted by it, too
    is_all: bool = False  # listed from the beginning, whatever the run's window


def in_mode(model: type[Model], **narrowed: Any) -> Callable[[], QuerySet[Any]]:
    """Rows of the mode that the key is for: live and test mode never mix."""
    return lambda: model._default_manager.filter(livemode=settings.STRIPE_LIVE_MODE, **narrowed)


def differs_between(row_of: Callable[[StripeDict], Mapping[str, Any]]) -> Any:
    def differs(row: Model, data: StripeDict) -> bool:
        wanted = row_of(data)
        return bool(differences.between(row, wanted, sorted(wanted)))

    return differs


def customer_differs(row: BillingCustomer, data: StripeDict) -> bool:
    if data.get("deleted"):
        return not row.deleted
    if row.name == ERASED:  # Stripe may know them yet; we do not (billing.operations.erasure)
        return False
    wanted = customer_row(data)
    return (row.email, row.name) != (wanted["email"], wanted["name"])


def reversal_differs(row: PaymentReversal, data: StripeDict) -> bool:
    wanted = reversal_of(data)
    return (row.amount, row.status, row.active) != (wanted.amount, wanted.status, wanted.active)


def amount(name: str, unless: Callable[[StripeDict], bool] = lambda data: False) -> Any:
    def worth(data: StripeDict) -> tuple[str, int]:
        return str(data.get("currency") or ""), 0 if unless(data) else int(data.get(name) or 0)

    return worth


CUSTOMER = Listed(
    "customer",
    "customer",
    "/v1/customers",
    in_mode(BillingCustomer),
    "stripe_customer_id",
    expected={"deleted": False},
    differs=customer_differs,
)
INVOICE = Listed(
    "invoice",
    "invoice",
    "/v1/invoices",
    in_mode(BillingInvoice),
    "stripe_invoice_id",
    differs=lambda row, data: bool(differences.of_invoice(row, data)),
    worth=amount("amount_paid"),
    our_worth="amount_paid",
)
# `subscriptions` leaves out the canceled ones unless asked for all (STRIPE.md, API limits). Each
# brings its customer along, so that customers need not be listed.
LISTS: tuple[Listed, ...] = (
    Listed(
        "subscription",
        "subscription",
        "/v1/subscriptions",
        in_mode(BillingSubscription),
        "stripe_subscription_id",
        {"status": "all", "expand": ["data.customer"]},
        differs=lambda row, data: bool(differences.of_subscription(row, data)),
        has_status=True,
        is_all=True,
    ),
    CUSTOMER,
    INVOICE,
    Listed(
        "charge",
        "charge",
        "/v1/charges",
        in_mode(BillingPayment),
        "stripe_charge_id",
        differs=differs_between(payment_row),
        worth=amount("amount", unless=lambda data: data.get("status") != "succeeded"),
        our_worth="amount",
    ),
    Listed(
        "checkout.session",
        "checkout.session",
        "/v1/checkout/sessions",
        in_mode(Purchase, kind=Purchase.Kind.PACK),
        "source",
        counts=is_paid_pack,
        worth=amount("amount_total"),
        our_worth="amount",
    ),
    Listed(
        "refund",
        "refund",
        "/v1/refunds",
        in_mode(PaymentReversal, kind=PaymentReversal.Kind.REFUND),
        "stripe_id",
        differs=reversal_differs,
        worth=amount("amount"),
        our_worth="amount",
    ),
    Listed(
        "dispute",
        "dispute",
        "/v1/disputes",
        in_mode(PaymentReversal, kind=PaymentReversal.Kind.DISPUTE),
        "stripe_id",
        differs=reversal_differs,
        worth=amount("amount"),
        our_worth="amount",
    ),
    Listed(
        EVENTS,
        EVENTS,
        "/v1/events",
        lambda: InboxEvent.objects.filter(
            livemode=settings.STRIPE_LIVE_MODE, type__in=HANDLED
        ).exclude(status=InboxEvent.Status.SET_ASIDE),
        "stripe_event_id",
        made="stripe_created_at",
        counts=lambda event: event.get("type") in HANDLED,
    ),
)
# Invoices older than the window that may have been paid in it.
OPEN_INVOICE = Listed(
    "open_invoice",
    "invoice",
    INVOICE.path,
    INVOICE.rows,
    INVOICE.key,
    {"status": "open"},
    expected={"status": "open"},
    differs=INVOICE.differs,
    worth=INVOICE.worth,
    our_worth=INVOICE.our_worth,
)
BY_NAME = {listed.name: listed for listed in (*LISTS, OPEN_INVOICE)}


def spans_of(run: ReconciliationRun) -> list[tuple[Listed, datetime | None, datetime]]:
    """What a run lists: each list with when its objects were made (UTC, the end not included)."""
    found: list[tuple[Listed, datetime | None, datetime]] = []
    for listed in LISTS:
        since = None if listed.is_all else run.since
        if listed.name == EVENTS:
            since = max(filter(None, (run.since, run.until - KEPT_EVENTS, first_event(run.until))))
        if listed is CUSTOMER and run.since is None and not has_many_idle_customers():
            continue  # they come with their subscriptions, and the few others one by one
        found.append((listed, since, run.until))
    if run.since is not None:
        found.append((OPEN_INVOICE, None, run.since))
    return found


def idle_customers() -> QuerySet[BillingCustomer]:
    """Customers who never subscribed: over all time, no other list of Stripe's brings them."""
    theirs = BillingSubscription.objects.filter(stripe_customer_id=OuterRef("stripe_customer_id"))
    return BillingCustomer.objects.filter(
        ~Exists(theirs), deleted=False, livemode=settings.STRIPE_LIVE_MODE
    ).order_by()


def has_many_idle_customers() -> bool:
    """Whether the whole list of customers costs fewer requests than to ask for each of those."""
    few = max(BillingCustomer.objects.count() // PAGE_SIZE, PAGE_SIZE)
    return idle_customers()[few : few + 1].exists()


def first_event(until: datetime) -> datetime:
    """When the first event that was sent to us happened; `until` where none ever was.

    What Stripe has of before stands for nothing lost: nobody was there to receive it.
    """
    sent = InboxEvent.objects.filter(source=InboxEvent.Source.WEBHOOK)
    first = sent.order_by("stripe_created_at").values_list("stripe_created_at", flat=True).first()
    return min(first, until) if first else until


def customer_of(data: StripeDict) -> str:
    """The customer whom one of Stripe's objects names; '' where it names none."""
    if data.get("object") == "customer":
        return str(data["id"])
    return id_of(data.get("customer"))


def user_of(data: StripeDict) -> str:
    """The user of ours whom a checkout session names."""
    return session_user_id(data) if data.get("object") == "checkout.session" else ""

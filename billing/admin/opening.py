"""From an id to the page about it, so that lists can link rows without looking them up."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html
from django.views.decorators.http import require_GET

from billing.admin.cells import LINK, changelist_url, page_url
from billing.admin.operations import SYNC
from billing.diagnosis.search import fits_a_claim
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingPayment,
    BillingSubscription,
    CreditPrice,
    FindingRecord,
    InboxEvent,
    Incident,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    PaymentReversal,
    Purchase,
    ReconciliationRun,
)

NUMBERED: dict[str, QuerySet[Any]] = {
    "finding": FindingRecord.objects.all(),
    "incident": Incident.objects.all(),
    "run": ReconciliationRun.objects.all(),
}
SYNCABLE = {"cus": "customer", "sub": "subscription", "in": "invoice"}


@require_GET
def open_view(request: HttpRequest) -> HttpResponse:
    """Redirects to the page of `id` (Stripe's, or of our own making) or of `user`.

    What is not here leads home, with a message that offers to sync it. The pages
    themselves check who may see them.
    """
    given, user = request.GET.get("id", "").strip(), request.GET.get("user", "").strip()
    if "\x00" in given + user:
        given = user = ""
    url = of_user(user) if user else of_id(given) or of_user(given) or of_title(given)
    if url:
        return redirect(url)
    messages.warning(request, _not_here(request, user or given))
    return redirect("admin:index")


def of_user(user_id: str) -> str:
    """The customer's page; the list, if they are several; their balance, if there is none."""
    customers = list(BillingCustomer.objects.filter(user_id=user_id)[:2])
    if len(customers) > 1:
        return changelist_url(BillingCustomer, q=user_id)
    if customers:
        return page_url(customers[0])
    return _first(LeadCredits.objects.filter(user_id=user_id))


def of_title(title: str) -> str:
    """The page of the latest incident that is called so: what an operation opened it as."""
    return _first(Incident.objects.filter(title=title)) if title else ""


def of_id(given: str) -> str:
    """The page of what has this id; '' where nothing has."""
    for rows in _candidates(given):
        if url := _first(rows):
            return url
    return ""


def _candidates(given: str) -> list[QuerySet[Any]]:
    """Where an id can be found, likeliest first."""
    kind, _, rest = given.partition(":")
    if kind == "operation":
        return [OperationRecord.objects.filter(key=rest)]
    if kind in ("merge", "undo"):  # merge:<key>:from, and what was undone
        return [OperationRecord.objects.filter(key=rest.partition(":")[0])]
    if kind == "claim":
        return [LeadClaim.objects.filter(pk=int(rest))] if fits_a_claim(rest) else []
    if kind == "account":
        return [User.objects.filter(username=rest)]
    if kind in NUMBERED:
        return [NUMBERED[kind].filter(pk=int(rest))] if fits_a_claim(rest) else []
    if rest:  # a ledger entry's source, such as checkout:cs_1 or invoice:in_1:il_1
        return _candidates(rest.partition(":")[0])
    events = [
        InboxEvent.objects.filter(stripe_event_id=given),
        BillingEvent.objects.filter(stripe_event_id=given),
    ]
    purchases = Purchase.objects.filter(Q(source=given) | Q(payment_intent_id=given))
    payments = BillingPayment.objects.filter(Q(stripe_charge_id=given) | Q(payment_intent_id=given))
    by_prefix: dict[str, list[QuerySet[Any]]] = {
        "cus": [BillingCustomer.objects.filter(stripe_customer_id=given)],
        "sub": [BillingSubscription.objects.filter(stripe_subscription_id=given)],
        "in": [BillingInvoice.objects.filter(stripe_invoice_id=given), purchases],
        "cs": [purchases],
        "pi": [purchases, payments],
        "ch": [payments],
        "py": [payments],
        "evt": events,
        "price": [CreditPrice.objects.filter(price_id=given)],
    }
    reversals = PaymentReversal.objects.filter(stripe_id=given)
    about = InboxEvent.objects.filter(object_id=given).order_by("-id")
    return [*by_prefix.get(given.partition("_")[0], [reversals]), about]


def _first(rows: QuerySet[Any]) -> str:
    row = rows.only("pk").first()
    return page_url(row) if row else ""


def _not_here(request: HttpRequest, given: str) -> str:
    """That it is not here, and what may bring it."""
    kind = SYNCABLE.get(given.partition("_")[0])
    if kind is None or not SYNC.is_permitted(request.user):
        return f"Nothing here has the id {given}."
    return format_html(
        'Nothing here has the id {}. <a href="{}" class="{}">Sync it from Stripe</a>.',
        given,
        SYNC.url({"kind": kind, "target": given}),
        LINK,
    )

"""Manage Billing: a fresh session of Stripe's customer portal for every click."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from billing.gateway.client import gateway
from billing.models import BillingCustomer, BillingEvent, acting_as
from billing.operations.base import new_key, one_at_a_time
from billing.signed_links import Link

AUDIT_TYPE = "system.portal_session"
AN_HOUR = 10  # sessions of one customer


class TooManySessionsError(Exception):
    """The customer has opened the portal too often within an hour."""


def open_session(customer: BillingCustomer, link: Link) -> str:
    """The address of a new session, which leads back to the page. It is stored nowhere.

    Raises TooManySessionsError, OperationError where other clicks do not come to an end, and
    GatewayErrors.
    """
    customer_id = customer.stripe_customer_id
    with one_at_a_time(f"portal of {customer_id}"):
        if opened_lately(customer_id) >= AN_HOUR:
            raise TooManySessionsError
        session = gateway().post(
            "/v1/billing_portal/sessions",
            {"customer": customer_id, "return_url": link.url},
            idempotency_key=f"billing-page-{new_key()}",
        )
        with transaction.atomic(), acting_as(f"customer:{customer_id}"):
            BillingEvent.objects.create(
                type=AUDIT_TYPE, livemode=customer.livemode, payload=said(customer, link, session)
            )
    return str(session["url"])


def said(customer: BillingCustomer, link: Link, session: dict[str, Any]) -> dict[str, Any]:
    """What the audit event says."""
    return {
        "customer": customer.stripe_customer_id,
        "user_id": customer.user_id,
        "portal_session": session["id"],
        "operation": link.key,
        "summary": "The customer opened the billing portal from their billing page.",
    }


def opened_lately(customer_id: str) -> int:
    """How many sessions the customer opened in the last hour."""
    lately = BillingEvent.objects.filter(
        type=AUDIT_TYPE,
        payload__customer=customer_id,
        created_at__gt=Now() - timedelta(hours=1),
    )
    return lately.count()


def portal_origin() -> str:
    """Where Stripe's portal lives, for the page's content security policy."""
    is_stripe = settings.STRIPE_API_BASE == "https://api.stripe.com"
    return "https://billing.stripe.com" if is_stripe else str(settings.STRIPE_API_BASE)

"""Deliveries to the webhook, signed with code that is not the back office's own."""

import json
import time
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from django.test import Client

from backoffice.sandbox.delivery import signature
from billing.models import InboxEvent, WebhookRejection
from tests.support.environment import WEBHOOK_SECRET

PATH = "/webhooks/stripe"
LIMIT = 512 * 1024  # bytes


def event(**changes: Any) -> dict[str, Any]:
    """A snapshot event about a customer, with `changes` to its fields."""
    return {
        "id": "evt_1",
        "object": "event",
        "type": "customer.created",
        "api_version": settings.STRIPE_API_VERSION,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": {"id": "cus_1", "object": "customer"}},
        **changes,
    }


def without(*names: str) -> dict[str, Any]:
    """An event that lacks these fields."""
    return {name: value for name, value in event().items() if name not in names}


def about(**fields: Any) -> dict[str, Any]:
    """An event about a customer with these fields."""
    return event(data={"object": {"id": "cus_1", "object": "customer", **fields}})


def as_body(value: Any) -> bytes:
    return json.dumps(value).encode()


def signed(body: bytes, *, secret: str = WEBHOOK_SECRET, age: int = 0) -> str:
    """The header of a delivery that was signed `age` seconds ago."""
    return signature([secret], body, int(time.time()) - age)


def deliver(body: bytes, header: str | None = None, *, path: str = PATH) -> HttpResponse:
    """POSTs a body, signed by Stripe unless `header` says otherwise; '' leaves it out."""
    header = signed(body) if header is None else header
    headers = {"Stripe-Signature": header} if header else {}
    response: HttpResponse = Client().post(
        path, data=body, content_type="application/json", headers=headers
    )
    return response


def refused(response: HttpResponse) -> tuple[int, str]:
    """Status and reason of a refusal."""
    text = response.content.decode()
    assert text.startswith("refused: "), text
    return response.status_code, text.removeprefix("refused: ")


def rejections() -> dict[str, int]:
    """How many requests were refused, by reason."""
    return dict(WebhookRejection.objects.values_list("reason", "count"))


def kept() -> list[tuple[str, str]]:
    """Ids and statuses of the events in the inbox."""
    return list(InboxEvent.objects.order_by("id").values_list("stripe_event_id", "status"))

"""What a restricted key must permit, and whether it does: each permission is tried by itself.

Nothing changes at Stripe. Reads list one object. Writes are about an object that does not exist:
Stripe looks at the key first, so a key that may write is told that there is no such object (404,
or a 400 for an id among the parameters), and one that may not is told so (403).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from billing.gateway.client import Gateway, StripeForbiddenError, StripeRefusedError

READ, WRITE = "Read", "Write"
NOBODY = "billingbackofficepermissioncheck"  # as an id's ending, no object of Stripe's
WHERE = "Stripe's dashboard, Developers, API keys, the key's menu, Edit key"


@dataclass(frozen=True, slots=True)
class Permission:
    """One line of the page on which a restricted key is edited; `path` is what tries it."""

    name: str
    level: str
    why: str
    path: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}: {self.level}"


def _read(name: str, path: str, why: str) -> Permission:
    return Permission(name, READ, why, f"/v1/{path}", {"limit": 1})


READS = (
    _read("Customers", "customers", "who buys"),
    _read("Subscriptions", "subscriptions", "their state"),
    _read("Invoices", "invoices", "what is owed and paid"),
    _read("Invoice payments", "invoice_payments", "how an invoice was paid"),
    _read("Charges and refunds", "charges", "payments"),
    _read("Charges and refunds", "refunds", "what was given back"),
    _read("Payment intents", "payment_intents", "payments under way"),
    _read("Payment methods", "payment_methods", "the card that a customer has"),
    _read("Disputes", "disputes", "what was charged back"),
    _read("Checkout sessions", "checkout/sessions", "what was bought"),
    _read("Prices", "prices", "what it costs"),
    _read("Products", "products", "what is sold"),
    _read("Payouts", "payouts", "what was paid out"),
    _read("Balance transactions", "balance_transactions", "fees, and the balance"),
    _read("Events", "events", "what a webhook did not bring"),
    _read("Webhook endpoints", "webhook_endpoints", "whether events are sent to us"),
)

WRITES = (
    Permission("Subscriptions", WRITE, "to cancel and to reactivate one",
               f"/v1/subscriptions/sub_{NOBODY}"),
    Permission("Invoices", WRITE, "to send one again, to retry and to mark its payment",
               f"/v1/invoices/in_{NOBODY}"),
    Permission("Checkout sessions", WRITE, "to make a link to checkout",
               f"/v1/checkout/sessions/cs_test_{NOBODY}/expire"),
    Permission("Customer portal", WRITE, "to make a link to the portal",
               "/v1/billing_portal/sessions", {"customer": f"cus_{NOBODY}"}),
    Permission("Webhook endpoints", WRITE, "for connect_stripe itself; may be taken away after it",
               f"/v1/webhook_endpoints/we_{NOBODY}"),
)  # fmt: skip


def refused(stripe: Gateway, wanted: Iterable[Permission]) -> Iterator[tuple[Permission, str]]:
    """Those that the key lacks, each with Stripe's own words. Raises the other GatewayErrors."""
    for permission in wanted:
        try:
            _try(stripe, permission)
        except StripeForbiddenError as error:
            yield permission, str(error)


def _try(stripe: Gateway, permission: Permission) -> None:
    if permission.level == READ:
        stripe.page(permission.path, permission.params)
        return
    try:
        stripe.request("post", permission.path, permission.params)
    except StripeForbiddenError:
        raise
    except StripeRefusedError:
        return  # for want of the object, and not of the permission

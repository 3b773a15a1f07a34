"""Our own Stripe account, which owns the mirrored rows."""

from djstripe.models import Account

from billing.gateway.client import Gateway
from billing.gateway.observation import StripeDict


def own_account_id() -> str | None:
    """Its id as mirrored; None while nobody asked Stripe whose key this is."""
    return Account.objects.order_by("djstripe_id").values_list("id", flat=True).first()


def ask(stripe: Gateway) -> StripeDict:
    """The account that the key belongs to. Raises a GatewayError."""
    return stripe.request("get", "/v1/account")[0]

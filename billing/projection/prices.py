"""How many credits a price is worth: our own table, seeded from Stripe's metadata."""

from collections.abc import Iterable

from djstripe.models import Price

from billing.database import cursor
from billing.gateway.observation import StripeDict
from billing.gateway.shapes import dig, id_of
from billing.models import CreditPrice

HINT = "lead_credits"
MOST = 1_000_000  # credits for one unit; anything above is a slip


def seed(prices: Iterable[StripeDict], names: dict[str, str] | None = None) -> set[str]:
    """Maps prices that are not mapped yet and whose metadata gives a number of credits.

    `names` are product names by product id. An existing mapping is never changed: it
    is ours to decide (STRIPE.md, Checkout and credits). Returns the prices mapped now.
    """
    hinted = {}
    for price in prices:
        worth = _hint(price)
        if worth is not None:
            product = id_of(price.get("product"))
            name = price.get("nickname") or (names or {}).get(product) or product
            hinted[str(price["id"])] = (str(name), worth)
    if not hinted:
        return set()
    ordered = sorted(hinted)
    with cursor() as bound:
        bound.execute(
            """
            INSERT INTO billing_credit_prices (price_id, name, credits, updated_by)
            SELECT n.*, 'stripe' FROM unnest(%s::text[], %s::text[], %s::int[]) AS n(a, b, c)
            ON CONFLICT (price_id) DO NOTHING RETURNING price_id
            """,
            [ordered, [hinted[p][0] for p in ordered], [hinted[p][1] for p in ordered]],
        )
        return {row[0] for row in bound.fetchall()}


def credits_by_price(price_ids: Iterable[str]) -> dict[str, int]:
    """Credits for one unit of each of these prices that is mapped."""
    return dict(
        CreditPrice.objects.filter(price_id__in=set(price_ids)).values_list("price_id", "credits")
    )


def unknown(price_ids: Iterable[str]) -> set[str]:
    """Those of the prices that are neither mapped to credits nor mirrored.

    A purchase may tell of a price whose own event was missed, or came before us.
    """
    wanted = set(price_ids) - {""}
    if wanted:
        wanted -= credits_by_price(wanted).keys()
    if wanted:
        wanted -= set(Price.objects.filter(id__in=wanted).values_list("id", flat=True))
    return wanted


def _hint(price: StripeDict) -> int | None:
    value = dig(price, "metadata", HINT)
    digits = str(value).strip() if value is not None else ""
    if not digits.isascii() or not digits.isdigit() or len(digits) > 7:
        return None
    return int(digits) if int(digits) <= MOST else None

"""What the marketplace sells: plans and packs of lead credits, with `lead_credits` metadata."""

import random
from dataclasses import dataclass

from backoffice.sandbox import shapes
from backoffice.sandbox.store import Row
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Stored
from backoffice.sandbox.world.history import History, history

OPENED_BEFORE = 500 * 86400
MONTHLY = {"interval": "month", "interval_count": 1}
YEARLY = {"interval": "year", "interval_count": 1}

# name, credits a period, [(currency, minor units, rhythm)]
PLANS = (
    ("Starter", 50, [("usd", 2900, MONTHLY)]),
    ("Pro", 200, [("usd", 9900, MONTHLY), ("eur", 9200, MONTHLY), ("usd", 99000, YEARLY)]),
    ("Team", 600, [("usd", 24900, MONTHLY)]),
)
# credits, [(currency, minor units)]
PACKS = (
    (10, [("usd", 1500), ("jpy", 2200)]),
    (50, [("usd", 6500), ("eur", 5900)]),
    (200, [("usd", 22000)]),
)
# country -> (what its tax is called, type, per cent within the price)
TAXES = {
    "GB": ("VAT", "vat", 20.0),
    "DE": ("VAT", "vat", 19.0),
    "FR": ("VAT", "vat", 20.0),
    "NL": ("VAT", "vat", 21.0),
    "JP": ("Consumption tax", "jct", 10.0),
}


@dataclass(frozen=True)
class Catalogue:
    """The products and prices, the tax rates by country, and their rows."""

    plans: list[Json]
    packs: list[Json]
    taxes: dict[str, Json]
    known: dict[str, Stored]
    rows: list[Row]


def make_catalogue(seed: int, now: int, base_url: str) -> Catalogue:
    """The catalogue of a world that ends at `now`."""
    work = history(random.Random(f"{seed} catalogue"), now - OPENED_BEFORE, now, base_url, {})  # noqa: S311
    plans, packs = [], []
    for name, credits_, prices in PLANS:
        product = _product(work, f"{name} plan", f"{credits_} leads a month", credits_)
        for currency, amount, rhythm in prices:
            a_year = rhythm is YEARLY
            plans.append(
                _price(
                    work,
                    product,
                    currency,
                    amount,
                    credits_ * (12 if a_year else 1),
                    nickname=f"{name} {'yearly' if a_year else 'monthly'}",
                    recurring=rhythm
                    | {"meter": None, "trial_period_days": None, "usage_type": "licensed"},
                )
            )
    for credits_, amounts in PACKS:
        product = _product(work, f"{credits_} lead credits", "Credits that do not expire", credits_)
        packs += [
            _price(work, product, currency, amount, credits_, nickname=f"Pack of {credits_}")
            for currency, amount in amounts
        ]
    taxes = {country: _tax_rate(work, country) for country in TAXES}
    return Catalogue(plans, packs, taxes, work.kept(), work.all_rows())


def _tax_rate(work: History, country: str) -> Json:
    name, kind, percentage = TAXES[country]
    return work.add(
        shapes.tax_rate(
            work.new_id("txr_"),
            work.now,
            country=country,
            display_name=name,
            inclusive=True,
            jurisdiction=country,
            percentage=percentage,
            tax_type=kind,
        )
    )


def _product(work: History, name: str, description: str, credits_: int) -> Json:
    return work.add(
        shapes.product(
            work.new_id("prod_"),
            work.now,
            description=description,
            metadata={"lead_credits": str(credits_)},
            name=name,
        )
    )


def _price(
    work: History,
    product: Json,
    currency: str,
    amount: int,
    credits_: int,
    *,
    nickname: str,
    recurring: Json | None = None,
) -> Json:
    price = work.add(
        shapes.price(
            work.new_id("price_"),
            work.now,
            currency=currency,
            metadata={"lead_credits": str(credits_)},
            nickname=nickname,
            product=product["id"],
            recurring=recurring,
            unit_amount=amount,
        )
    )
    if product["default_price"] is None:
        work.change(product, default_price=price["id"])
    return price

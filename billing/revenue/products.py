"""Products and prices by their names, as dj-stripe's rows have them."""

from collections.abc import Collection

from billing.database import rows

MOST_CHOICES = 200
NAMES = {
    "product": "SELECT id, name AS name FROM djstripe_product",
    "price": "SELECT id, coalesce(nullif(nickname, ''), id) AS name FROM djstripe_price",
}


def products() -> list[tuple[str, str]]:
    """Ids and names, for a choice."""
    return _choices("product")


def prices() -> list[tuple[str, str]]:
    return _choices("price")


def _choices(kind: str) -> list[tuple[str, str]]:
    found = rows(f"{NAMES[kind]} ORDER BY 2, 1 LIMIT %s", [MOST_CHOICES])
    return [(row["id"], row["name"] or row["id"]) for row in found]


def names_of(kind: str, ids: Collection[str]) -> dict[str, str]:
    """The names of products or prices; without those that have none."""
    found = rows(f"{NAMES[kind]} WHERE id = ANY(%s)", [list(ids)])
    return {row["id"]: row["name"] for row in found if row["name"]}

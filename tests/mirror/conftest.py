"""What a sandbox's small world looks like to the mirror."""

from collections.abc import Iterator

import pytest
import stripe
from pytest_django import Settings

from billing.gateway.observation import StripeDict
from billing.mirror import store
from tests.mirror import extra
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.environment import SECRET_KEY

LISTS = [
    "products",
    "prices",
    "customers",
    "invoices",
    "invoiceitems",
    "subscriptions",
    "payment_intents",
    "charges",
    "balance_transactions",
    "refunds",
    "disputes",
    "checkout/sessions",
    "events",
]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox with a few customers to whom everything has happened; tests only read it."""
    data = tmp_path_factory.mktemp("mirror") / "stripe.sqlite3"
    with run_sandbox(data, customers=8, seed=5) as running:
        price = next(price for price in listed(running, "prices") if price["recurring"] is None)
        subscribed = running.story("subscribe", email="ada@example.com", user_id="ada")
        running.story("renew", subscription=subscribed["subscription"])
        for what in ("refund", "dispute"):
            bought = running.story(
                "buy_pack", customer=subscribed["customer"], user_id="ada", price=price["id"]
            )
            running.story(what, charge=bought["charge"])
        invoice_item = {"customer": subscribed["customer"], "pricing[price]": price["id"]}
        assert running.post("/v1/invoiceitems", invoice_item).status_code == 200
        yield running


@pytest.fixture(scope="session")
def objects(world: SandboxProcess) -> dict[str, list[StripeDict]]:
    """Every object of the world, and some that the sandbox does not know, by kind."""
    found = [item for path in LISTS for item in listed(world, path)]
    found.append(world.get("/v1/account").json())
    methods = {item["payment_method"] for item in found if item.get("payment_method")}
    found += [world.get(f"/v1/payment_methods/{method}").json() for method in sorted(methods)]
    by_kind: dict[str, list[StripeDict]] = {}
    for item in [*found, *extra.objects(found)]:
        by_kind.setdefault(item["object"], []).append(item)
    return by_kind


@pytest.fixture
def account_id(db: None, objects: dict[str, list[StripeDict]]) -> str:
    """The account that owns the world, as stored."""
    (account,) = objects["account"]
    store.ensure_account(account)
    return str(account["id"])


@pytest.fixture
def djstripe_at_world(
    world: SandboxProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dj-stripe asks the world for what it misses."""
    settings.STRIPE_API_HOST = world.url
    settings.STRIPE_SECRET_KEY = settings.STRIPE_TEST_SECRET_KEY = SECRET_KEY
    monkeypatch.setattr(stripe, "api_base", world.url)


def listed(running: SandboxProcess, path: str) -> list[StripeDict]:
    """Every object of a list."""
    params = {"status": "all"} if path == "subscriptions" else {}
    found: list[StripeDict] = []
    more = True
    while more:
        after = {"starting_after": found[-1]["id"]} if found else {}
        page = running.get(f"/v1/{path}", limit=100, **params, **after).json()
        found += page["data"]
        more = page["has_more"]
    return found

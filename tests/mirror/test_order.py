"""Whatever the order in which objects come, and in which groups, the rows end the same."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.gateway.observation import Observation, StripeDict
from billing.mirror import store
from billing.models import MirrorReference
from tests.mirror.extra import listing, thing
from tests.mirror.rows import Rows, rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)


PRICE = thing("price", "price_1", product="prod_1", active=True, currency="usd")
ITEM = thing("subscription_item", "si_1", subscription="sub_1", price=PRICE)
LINE = thing(
    "line_item",
    "il_1",
    period={"start": 1, "end": 2},
    invoice="in_1",
    subscription="sub_1",
    parent={"subscription_item_details": {"subscription_item": "si_1"}},
)
MANUAL_LINE = thing(
    "line_item",
    "il_2",
    period={"start": 1, "end": 2},
    invoice="in_1",
    parent={"invoice_item_details": {"invoice_item": "ii_1", "subscription": "sub_1"}},
)
MONEY = {"amount": 4900, "currency": "usd", "status": "succeeded"}
# Everything refers to something, some in circles, and some in columns that only one may have.
STORY = [
    thing("product", "prod_1", name="Leads", active=True, default_price="price_1"),
    PRICE,
    thing("customer", "cus_1", email="a@b.c", invoice_settings={"default_payment_method": "pm_1"}),
    thing("payment_method", "pm_1", customer="cus_1"),
    thing("subscription", "sub_1", customer="cus_1", items=listing(ITEM), latest_invoice="in_1"),
    thing(
        "invoice",
        "in_1",
        customer="cus_1",
        default_payment_method="pm_1",
        parent={"subscription_details": {"subscription": "sub_1"}},
        payment_intent="pi_1",
        charge="ch_1",
        lines=listing(LINE, MANUAL_LINE),
    ),
    thing(
        "invoiceitem",
        "ii_1",
        customer="cus_1",
        invoice="in_1",
        period={"start": 1, "end": 2},
        pricing={"price_details": {"price": "price_1"}},
        parent={"subscription_details": {"subscription": "sub_1"}},
    ),
    thing("payment_intent", "pi_1", customer="cus_1", payment_method="pm_1"),
    thing(
        "charge",
        "ch_1",
        **MONEY,
        customer="cus_1",
        payment_intent="pi_1",
        payment_method="pm_1",
        invoice="in_1",
        balance_transaction="txn_1",
        source="card_1",
    ),
    thing("balance_transaction", "txn_1", **MONEY, source="ch_1", type="charge"),
    thing("refund", "re_1", **MONEY, charge="ch_1", balance_transaction="txn_2"),
    thing("balance_transaction", "txn_2", **MONEY, source="re_1", type="refund"),
    thing("dispute", "dp_1", **MONEY, charge="ch_1", payment_intent="pi_1"),
    thing("setup_intent", "seti_1", customer="cus_1", payment_method="pm_1"),
    thing(
        "checkout.session",
        "cs_1",
        customer="cus_1",
        payment_intent="pi_1",
        setup_intent="seti_1",
        subscription="sub_1",
    ),
    thing("payout", "po_1", **MONEY, reversed_by="po_2", balance_transaction="txn_1"),
    thing("payout", "po_2", **MONEY, original_payout="po_1", destination="ba_1"),
    thing("bank_account", "ba_1", account="acct_1", fingerprint="f"),
    thing("discount", "di_1", customer="cus_1", invoice="in_1", subscription="sub_1"),
]
ACCOUNT = {"id": "acct_1", "object": "account"}


def write(data: Sequence[StripeDict]) -> None:
    """As callers do: what dj-stripe's tables require is written in the same call."""
    by_name = {(item["object"], item["id"]): item for item in STORY}
    batch = {(item["object"], item["id"]): item for item in data}
    while missing := store.missing_parents(seen(batch.values())) - batch.keys():
        batch |= {name: by_name[name] for name in missing}
    store.write(seen(batch.values()), account_id="acct_1", livemode=False)


def seen(data: Iterable[StripeDict]) -> list[Observation]:
    return [Observation(item, NOW, NOW) for item in data]


def rows_after(groups: Sequence[Sequence[StripeDict]]) -> Rows:
    """The rows after writing one group after the other; undone afterwards."""
    with transaction.atomic():
        store.ensure_account(ACCOUNT)
        for group in groups:
            write(group)
        connection.check_constraints()
        assert list(MirrorReference.objects.all()) == []
        found = rows()
        transaction.set_rollback(True)
    return found


@st.composite
def tellings(draw: st.DrawFn) -> list[list[StripeDict]]:
    """The story in any order, some of it twice, cut into groups anywhere."""
    told = draw(st.permutations(STORY)) + draw(st.lists(st.sampled_from(STORY), max_size=4))
    cuts = sorted(draw(st.sets(st.integers(1, len(told) - 1))))
    return [told[start:end] for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True)]


@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(telling=tellings())
def test_the_order_does_not_matter(telling: list[list[StripeDict]]) -> None:
    assert rows_after(telling) == rows_after([STORY])


@pytest.mark.django_db
def test_every_reference_of_the_story_is_stored() -> None:
    found = rows_after([STORY])
    assert found["invoice"]["in_1"]["charge"] == "ch_1"
    assert found["invoice"]["in_1"]["payment_intent"] == "pi_1"
    assert found["invoice"]["in_1"]["subscription"] == "sub_1"
    assert found["line_item"]["il_1"]["subscription_item"] == "si_1"
    assert found["line_item"]["il_2"]["invoice_item"] == "ii_1"
    assert found["line_item"]["il_2"]["subscription"] == "sub_1"
    assert found["invoiceitem"]["ii_1"]["price"] == "price_1"
    assert found["subscription_item"]["si_1"]["price"] == "price_1"
    assert found["customer"]["cus_1"]["default_payment_method"] == "pm_1"
    assert found["payout"]["po_1"]["reversed_by"] == "po_2"
    assert found["payout"]["po_2"]["original_payout"] == "po_1"
    assert found["payout"]["po_2"]["destination"] == "ba_1"
    assert found["charge"]["ch_1"]["source"] == "card_1"

"""What is written, what is left alone, and what is refused."""

import copy
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from djstripe import models
from djstripe.models import APIKey

from billing.gateway.observation import Observation, StripeDict
from billing.mirror import store
from billing.models import MirrorReference
from tests.mirror.extra import TAX_RATE, listing, thing
from tests.support.databases import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRODUCT = thing("product", "prod_1", name="Leads", active=True)
PRICE = thing("price", "price_1", product="prod_1", active=True, currency="usd")
CUSTOMER = thing("customer", "cus_1", email="ada@example.com", default_source=None)
CHARGE = thing("charge", "ch_1", amount=4900, currency="usd", status="succeeded")
PERIOD = {"start": 1_750_000_000, "end": 1_752_592_000}
EVENT = thing(
    "event",
    "evt_1",
    type="customer.updated",
    api_version="2026-08-26.dahlia",
    data={"object": CUSTOMER},
    request={"id": "req_1", "idempotency_key": "a-key"},
)


def write(*data: StripeDict, deleted: bool = False) -> None:
    seen = [Observation(item, NOW, NOW, deleted=deleted) for item in data]
    store.write(seen, account_id=None, livemode=False)
    connection.check_constraints()


def subscription(number: int = 1, **given: Any) -> StripeDict:
    """A subscription of `cus_1` with one item."""
    price = given.pop("price", PRICE)
    rates = given.pop("tax_rates", [])
    item = thing(
        "subscription_item",
        f"si_{number}",
        subscription=f"sub_{number}",
        price=price,
        tax_rates=rates,
    )
    return thing("subscription", f"sub_{number}", customer="cus_1", items=listing(item), **given)


def invoice(number: int = 1, **given: Any) -> StripeDict:
    """An invoice of `cus_1` for `sub_1` with one line."""
    line = thing("line_item", f"il_{number}", period=PERIOD, invoice=f"in_{number}")
    parent = {"subscription_details": {"subscription": "sub_1"}}
    return thing(
        "invoice", f"in_{number}", customer="cus_1", parent=parent, lines=listing(line), **given
    )


@pytest.fixture
def catalogue(db: None) -> None:
    write(PRODUCT, PRICE, CUSTOMER)


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("make", [subscription, invoice])
def test_the_number_of_statements_does_not_grow_with_the_page(make: Any) -> None:
    write(subscription())
    numbers = []
    for first, size in ((1000, 1), (2000, 10), (3000, 100)):
        seen = [Observation(make(number), NOW, NOW) for number in range(first, first + size)]
        with CaptureQueriesContext(connection) as queries:
            store.write(seen, account_id=None, livemode=False)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1] == numbers[2] <= 8


@pytest.mark.usefixtures("catalogue")
def test_a_row_changes_only_if_something_about_it_does() -> None:
    write(invoice())
    models.Invoice.objects.update(djstripe_updated=NOW)
    write(invoice())
    assert models.Invoice.objects.get().djstripe_updated == NOW
    write(invoice(status="paid"))
    changed = models.Invoice.objects.get()
    assert changed.djstripe_updated > NOW
    assert changed.status == "paid"


@pytest.mark.usefixtures("catalogue")
def test_a_row_that_djstripe_filled_less_is_completed() -> None:
    write(subscription(), invoice())
    models.Invoice.objects.update(subscription=None)
    write(invoice())
    assert models.Invoice.objects.get().subscription_id == "sub_1"


@pytest.mark.django_db
def test_texts_that_postgresql_refuses() -> None:
    write(
        thing(
            "customer",
            "cus_1",
            email="nul\x00@example.com",
            name="high \ud83d low",
            description=r"the text \u0000 itself",
            metadata={"key\x00": "größer 🎟 \\u0000", "quote": "'%s' \" \n"},
            balance=2**70,
        )
    )
    customer = models.Customer.objects.get()
    assert customer.email == "nul\ufffd@example.com"
    assert customer.stripe_data["name"] == "high \ufffd low"
    assert customer.stripe_data["description"] == r"the text \u0000 itself"
    assert customer.metadata == {"key\ufffd": "größer 🎟 \\u0000", "quote": "'%s' \" \n"}
    assert customer.stripe_data["balance"] == 2**70


@pytest.mark.django_db
def test_huge_values() -> None:
    metadata = {f"key {number}": "💶" * 100 for number in range(50)}
    charge = CHARGE | {"amount": 99_999_999_999, "metadata": metadata}
    moved = thing(
        "balance_transaction",
        "txn_1",
        amount=-(2**53),
        currency="usd",
        type="charge",
        source=charge,
    )
    write(charge, moved, PRODUCT, PRICE | {"nickname": "n" * 5000})
    assert models.Charge.objects.get().amount == Decimal("999999999.99")
    assert models.Charge.objects.get().metadata == metadata
    assert models.BalanceTransaction.objects.get().amount == -(2**53)
    assert models.BalanceTransaction.objects.get().source == "ch_1"
    price = models.Price.objects.get()
    assert (len(price.nickname), len(price.stripe_data["nickname"])) == (250, 5000)


@pytest.mark.django_db
def test_what_is_observed_stays_as_it_is() -> None:
    seen = [PRODUCT, PRICE, CUSTOMER, subscription(), invoice()]
    before = copy.deepcopy(seen)
    write(*seen)
    assert seen == before
    assert models.Invoice.objects.get().stripe_data == invoice()


@pytest.mark.django_db
def test_a_required_parent_that_is_missing() -> None:
    seen = [Observation(subscription(), NOW, NOW), Observation(invoice(), NOW, NOW)]
    assert store.missing_parents(seen) == {("customer", "cus_1"), ("product", "prod_1")}
    with pytest.raises(store.MissingParentError, match=r"before customer cus_1 is\.") as raised:
        store.write(seen, account_id=None, livemode=False)
    assert (raised.value.kind, raised.value.id) == ("customer", "cus_1")
    assert not models.Invoice.objects.exists()
    write(PRODUCT, CUSTOMER)
    assert store.missing_parents(seen) == set()


@pytest.mark.django_db
def test_the_account_that_owns_the_rows_is_required() -> None:
    for call in (
        lambda: store.write([Observation(PRODUCT, NOW, NOW)], account_id="acct_1", livemode=False),
        lambda: store.write_events([EVENT], "acct_1"),
    ):
        with pytest.raises(store.MissingParentError, match="before account acct_1 is"):
            call()
    store.ensure_account({"id": "acct_1", "object": "account", "email": "us@example.com"})
    store.ensure_account({"id": "acct_1", "object": "account", "email": "new@example.com"})
    account = models.Account.objects.get()
    assert account.stripe_data["email"] == "new@example.com"
    assert account.djstripe_owner_account_id == "acct_1"
    assert not APIKey.objects.exists()
    write(PRODUCT)
    store.write([Observation(PRODUCT, NOW, NOW)], account_id="acct_1", livemode=False)
    assert models.Product.objects.get().djstripe_owner_account_id == "acct_1"


@pytest.mark.django_db
def test_events_that_came_before_the_account_get_their_owner_with_it() -> None:
    store.write_events([EVENT], None)
    assert models.Event.objects.get().djstripe_owner_account_id is None
    store.ensure_account({"id": "acct_1", "object": "account"})
    assert models.Event.objects.get().djstripe_owner_account_id == "acct_1"


@pytest.mark.django_db
def test_expanded_objects_are_stored_but_never_replace_known_ones() -> None:
    newer = CUSTOMER | {"email": "new@example.com"}
    intent = thing("payment_intent", "pi_1", customer=newer, latest_charge=CHARGE)
    write(intent)
    assert models.Customer.objects.get().email == "new@example.com"
    assert models.Charge.objects.get().amount == Decimal(49)
    assert models.PaymentIntent.objects.get().stripe_data["customer"] == newer
    write(CUSTOMER)
    write(intent)
    assert models.Customer.objects.get().email == "ada@example.com"
    write(intent | {"customer": newer}, newer)
    assert models.Customer.objects.get().email == "new@example.com"


@pytest.mark.django_db
def test_an_expanded_object_waits_for_what_it_requires() -> None:
    write(CUSTOMER)
    write(thing("checkout.session", "cs_1", customer="cus_1", line_items=listing({"price": PRICE})))
    assert not models.Price.objects.exists()
    write(subscription())
    assert models.SubscriptionItem.objects.get().price is None
    write(PRODUCT, PRICE)
    assert models.SubscriptionItem.objects.get().price.id == "price_1"


@pytest.mark.django_db
def test_a_reference_that_is_dropped_is_not_filled_later() -> None:
    method = thing("payment_method", "pm_1", customer="cus_1")
    write(method)
    assert MirrorReference.objects.get().parent_id == "cus_1"
    write(method | {"customer": None})
    write(CUSTOMER)
    assert models.PaymentMethod.objects.get().customer is None
    assert not MirrorReference.objects.exists()


@pytest.mark.django_db
def test_references_that_nobody_filled_are_mended() -> None:
    write(
        thing("payment_method", "pm_1", customer="cus_1"), thing("discount", "di_1", customer="x")
    )
    write(CUSTOMER)
    models.PaymentMethod.objects.update(customer=None)
    MirrorReference.objects.create(
        child_kind="payment_method", child_id="pm_1", field="customer", parent_id="cus_1"
    )
    store.mend()
    assert models.PaymentMethod.objects.get().customer_id == "cus_1"
    assert MirrorReference.objects.get().child_id == "di_1"


@pytest.mark.django_db
def test_ids_of_different_kinds_may_be_the_same() -> None:
    write(thing("discount", "di_1", customer="gold"))
    write(thing("product", "gold", name="Gold"))
    assert models.Discount.objects.get().customer is None
    write(thing("customer", "gold"))
    assert models.Discount.objects.get().customer_id == "gold"


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("at_once", [True, False])
def test_only_the_first_invoice_keeps_a_charge(at_once: bool) -> None:
    rivals = [invoice(1, charge="ch_1"), invoice(2, charge="ch_1")]
    for group in [rivals] if at_once else [rivals[:1], rivals[1:]]:
        write(*group)
    write(CHARGE)
    write(*rivals)
    assert [found.id for found in models.Invoice.objects.exclude(charge=None)] == ["in_1"]


@pytest.mark.django_db
def test_tax_rates_follow_their_item() -> None:
    write(PRODUCT, CUSTOMER, subscription(tax_rates=[TAX_RATE]))
    assert [rate.id for rate in models.SubscriptionItem.objects.get().tax_rates.all()] == ["txr_1"]
    write(subscription(tax_rates=[]))
    assert not models.SubscriptionItem.objects.get().tax_rates.exists()
    assert models.TaxRate.objects.exists()


@pytest.mark.usefixtures("catalogue")
def test_deleted_objects_keep_their_rows() -> None:
    write(subscription())
    for kind, object_id in (("customer", "cus_1"), ("price", "price_1"), ("product", "prod_1")):
        write({"id": object_id, "object": kind, "deleted": True}, deleted=True)
    customer = models.Customer.objects.get()
    assert customer.deleted
    assert customer.email == "ada@example.com"
    assert customer.date_purged == NOW
    assert models.SubscriptionItem.objects.get().price.active is False
    assert models.Product.objects.get().active is False
    assert models.Product.objects.get().stripe_data == PRODUCT | {"deleted": True}


@pytest.mark.django_db
def test_deleted_objects_that_were_never_seen() -> None:
    write({"id": "cus_1", "object": "customer", "deleted": True}, deleted=True)
    write({"id": "prod_1", "object": "product", "deleted": True}, deleted=True)
    write({"id": "price_1", "object": "price", "deleted": True}, deleted=True)
    assert models.Customer.objects.get().deleted
    assert not models.Price.objects.exists()
    write(CUSTOMER | {"email": "last@example.com"}, deleted=True)
    assert models.Customer.objects.get().email == "last@example.com"
    write(PRICE)
    assert models.Price.objects.get().product_id == "prod_1"


@pytest.mark.django_db
def test_what_djstripe_cannot_hold_is_left_out_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refund = thing("refund", "re_1", amount=100, currency="usd", charge=None)
    write(CHARGE, refund, refund | {"id": "re_2", "charge": "ch_1"})
    assert [found.id for found in models.Refund.objects.all()] == ["re_2"]
    assert "refund re_1 has no charge" in caplog.text


@pytest.mark.django_db
def test_kinds_without_a_table_are_ignored() -> None:
    assert store.supported("subscription")
    assert not store.supported("invoice_payment")
    write(thing("invoice_payment", "inpay_1", invoice=invoice()), thing("invoice_payment", "x"))
    write()
    assert not models.Invoice.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"object": "customer"}, "customer has no id"),
        (thing("line_item", "il_1"), "line_item il_1 is malformed"),
        (CUSTOMER | {"livemode": True}, "customer cus_1 is not of test mode"),
    ],
)
def test_bad_input(data: StripeDict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write(data)


def test_a_transaction_is_needed(real_database: Database) -> None:
    for call in (lambda: write(CUSTOMER), lambda: store.write_events([EVENT], None)):
        with pytest.raises(TransactionManagementError, match="the caller's transaction"):
            call()


@pytest.mark.django_db
def test_events_are_stored_once_and_their_objects_not() -> None:
    store.write_events([EVENT, thing("event", "evt_2", type="ping", data={}), EVENT], None)
    store.write_events([EVENT | {"type": "other"}], None)
    write(EVENT | {"type": "other"})
    first, second = models.Event.objects.order_by("id")
    assert (first.type, first.request_id, first.idempotency_key) == (
        "customer.updated", "req_1", "a-key",
    )  # fmt: skip
    assert json.dumps(first.stripe_data, sort_keys=True) == json.dumps(EVENT, sort_keys=True)
    assert (second.request_id, second.idempotency_key, second.api_version) == ("", "", "")
    assert not models.Customer.objects.exists()

"""Two transactions at once, one with a row and one with the parent that it refers to."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction
from djstripe.models import PaymentIntent

from billing.gateway.observation import Observation, StripeDict
from billing.mirror import store
from billing.models import MirrorReference
from tests.mirror.extra import thing
from tests.support.databases import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMER = thing("customer", "cus_1")
INTENT = thing("payment_intent", "pi_1", customer="cus_1")


def write(data: StripeDict) -> None:
    store.write([Observation(data, NOW, NOW)], account_id=None, livemode=False)


def write_alone(data: StripeDict) -> None:
    with transaction.atomic():
        write(data)


def in_a_transaction(data: StripeDict) -> None:
    """In a thread: a connection of its own, and a transaction that ends before ours."""
    try:
        write_alone(data)
    finally:
        connection.close()


def test_who_refers_to_a_row_does_not_wait_while_it_is_replaced(real_database: Database) -> None:
    """Foreign keys are looked at in the end, when the other transaction may wait for us."""
    write_alone(CUSTOMER)
    with ThreadPoolExecutor(1) as other, transaction.atomic():
        write(CUSTOMER | {"name": "Ada"})
        other.submit(in_a_transaction, INTENT).result(timeout=30)
    assert PaymentIntent.objects.get().customer.name == "Ada"


@pytest.mark.parametrize(("first", "second"), [(CUSTOMER, INTENT), (INTENT, CUSTOMER)])
def test_a_parent_is_not_missed_while_it_is_being_written(
    real_database: Database, first: StripeDict, second: StripeDict
) -> None:
    with ThreadPoolExecutor(1) as other, transaction.atomic():
        write(first)
        other.submit(in_a_transaction, second).result(timeout=30)
        assert PaymentIntent.objects.filter(customer="cus_1").count() == 0
    assert PaymentIntent.objects.get().customer_id == "cus_1"
    assert not MirrorReference.objects.exists()

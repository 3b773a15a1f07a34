"""A database after some months of real processing, of which each test has its own copy."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from billing.models import BillingCustomer, CreditEntry, LeadClaim, LeadCredits, acting_as
from billing.projection import ledger
from billing.projection.ledger import Entry
from tests.commands.conftest import run
from tests.conftest import connected_to
from tests.operations.shop import Shop
from tests.reconciliation.world import at_home, make_base
from tests.sandbox.server import run_sandbox
from tests.support.databases import Database, Databases

__all__ = ["run"]

CUSTOMERS = 20
Claimed = CreditEntry.Kind.CLAIM


@pytest.fixture(scope="session")
def lived_in(
    databases: Databases,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Database]:
    """The template: what the sandbox's customers did, and what they claimed with their credits."""
    folder = tmp_path_factory.mktemp("lived_in")
    with django_db_blocker.unblock():
        base = make_base(databases, folder, CUSTOMERS, at=datetime.now(UTC) - timedelta(minutes=5))
        with run_sandbox(base.file) as sandbox, at_home(sandbox, base.database):
            refund(Shop(sandbox))
            spend()
    yield base.database
    databases.drop(base.database)


def refund(shop: Shop) -> None:
    """Packs of which two are paid back, one in part, and one is disputed."""
    bought = [shop.buy(user_id=f"u_{n}", email=f"u{n}@example.com") for n in range(4)]
    paid = [each["payment_intent"] for each in bought]
    shop.sandbox.story("refund", payment_intent=paid[0])
    shop.sandbox.story("refund", payment_intent=paid[1], amount=900)
    shop.sandbox.story("dispute", payment_intent=paid[2])
    shop.deliver()


def spend() -> None:
    """Claims, of which one failed and was given back."""
    for row in LeadCredits.objects.filter(balance__gt=3):
        with transaction.atomic(), acting_as("marketplace"):
            claim = LeadClaim.objects.create(user_id=row.user_id, lead_id="lead", credits_spent=3)
            ledger.post([Entry(row.user_id, -3, Claimed)])
    claim.status = LeadClaim.Status.FAILED
    with transaction.atomic(), acting_as("cli:bob"):
        claim.save()
        ledger.post([Entry(claim.user_id, 3, Claimed, f"claim:{claim.pk}", "It failed")])
    assert BillingCustomer.objects.count() >= CUSTOMERS


@pytest.fixture
def database(
    lived_in: Database, databases: Databases, django_db_blocker: DjangoDbBlocker
) -> Iterator[Database]:
    """A copy for this test alone, to be damaged. Django is connected to it."""
    made = databases.create(template=lived_in)
    with django_db_blocker.unblock(), connected_to(made):
        yield made
    databases.drop(made)

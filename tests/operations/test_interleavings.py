"""Operators, webhooks and crashes in any order: the ledger adds up, and nothing is given twice.

What may happen is a list of events, which Stripe may deliver in any order and again, and a
list of operations, each with its key: what is tried again, after success or a crash, is the
same operation. A crash is the database's: it refuses the audit event, the last thing that
is written before the commit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis
import pytest
from django.db import DatabaseError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from billing.ingress import worker
from billing.models import (
    BillingEvent,
    CreditEntry,
    LeadClaim,
    LeadCredits,
    OperationRecord,
    PaymentReversal,
    Purchase,
)
from billing.operations.base import Actor, Operation, OperationError
from billing.operations.claims import RefundClaim
from billing.operations.credits import CorrectBalance, GrantCredits
from billing.operations.people import MergeCustomers
from billing.operations.purchases import AttributePayment, GrantPurchase
from billing.operations.registry import undo
from tests.operations.shop import Shop, balance
from tests.sandbox.server import run_sandbox
from tests.support.events import Event, deliver, events_of

pytestmark = pytest.mark.django_db

BOB: dict[str, Any] = {"actor": Actor.cli("bob"), "reason": "Something is wrong"}
SPENT = 3  # credits of each failed claim
WANTED = ("checkout.session.", "refund.", "charge.dispute.")
MOST = 100  # credits that one purchase of the story can be worth

# Stands for a power cut just before the commit, while `test.crash` is on.
CRASHES = """
    CREATE FUNCTION pg_temp.crash() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'crash'; END $$;
    CREATE TRIGGER crash BEFORE INSERT ON billing_events FOR EACH ROW
    WHEN (NEW.type LIKE 'manual.%' AND current_setting('test.crash', true) = 'on')
    EXECUTE FUNCTION pg_temp.crash();
"""


@dataclass(frozen=True)
class Story:
    """What happened at Stripe: packs, refunds, a dispute, two customers of one person."""

    shop: Shop
    known: list[Event]  # what the back office knows from the start: prices and customers
    events: list[Event]
    packs: dict[str, Any]
    customers: tuple[str, str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    data = tmp_path_factory.mktemp("story") / "sandbox.sqlite3"
    with run_sandbox(data) as sandbox:
        shop = Shop(sandbox)
        prices = events_of(sandbox)
        customers = [
            sandbox.stripe.v1.customers.create({"metadata": {"user_id": user}}).id
            for user in ("u_ada", "u_bob")
        ]
        packs = {
            "adas": shop.buy(),
            "bobs": shop.buy(user_id="u_bob", customer=customers[1], quantity=2),
            "nobodys": shop.buy(attributed=False),
            "disputed": shop.buy(),
        }
        for name, amount in (("adas", 900), ("adas", 900), ("bobs", 9000)):
            intent = packs[name]["payment_intent"]
            sandbox.story("refund", payment_intent=intent, amount=amount)
        sandbox.story("dispute", charge=packs["disputed"]["charge"])
        told = events_of(sandbox)
        known = [e for e in told if e["type"].startswith("customer.")]
        events = [e for e in told if e["type"].startswith(WANTED)]
        yield Story(shop, [*prices, *known], events, packs, (customers[0], customers[1]))


Make = Callable[[str], Operation]  # from its key


def catalogue(story: Story, claims: list[int]) -> list[Make]:
    """The operations that may be tried, each any number of times."""
    session = {name: pack["checkout_session"] for name, pack in story.packs.items()}
    intent = story.packs["adas"]["payment_intent"]

    def merged(key: str) -> Operation:
        operation = MergeCustomers(kept=story.customers[0], gone=story.customers[1], key=key, **BOB)
        operation.approved_by = "carol"
        return operation

    return [
        lambda key: GrantCredits(user_id="u_ada", amount=5, key=key, **BOB),
        lambda key: GrantCredits(user_id="u_bob", amount=60, key=key, **BOB),
        lambda key: GrantCredits(
            user_id="u_ada", amount=40, purchase=session["adas"], key=key, **BOB
        ),
        lambda key: CorrectBalance(user_id="u_bob", balance=0, key=key, **BOB),
        lambda key: CorrectBalance(user_id="u_ada", balance=90, key=key, **BOB),
        lambda key: GrantPurchase(purchase_id=intent, key=key, **BOB),
        lambda key: GrantPurchase(purchase_id=session["adas"], key=key, **BOB),
        lambda key: GrantPurchase(purchase_id=session["bobs"], key=key, **BOB),
        lambda key: GrantPurchase(purchase_id=session["disputed"], key=key, **BOB),
        lambda key: GrantPurchase(
            purchase_id=session["nobodys"], user_id="u_bob", key=key, **BOB
        ),
        lambda key: AttributePayment(
            purchase_id=session["nobodys"], user_id="u_ada", key=key, **BOB
        ),
        lambda key: AttributePayment(
            purchase_id=session["nobodys"], user_id="u_bob", key=key, **BOB
        ),
        lambda key: RefundClaim(claim_id=claims[0], key=key, **BOB),
        lambda key: RefundClaim(claim_id=claims[0], key=key, **BOB),
        lambda key: RefundClaim(claim_id=claims[1], key=key, **BOB),
        merged,
    ]  # fmt: skip


OPERATIONS = 16  # entries of the catalogue
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("operate"), st.integers(0, OPERATIONS - 1), st.booleans()),
        st.tuples(st.just("undo"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("deliver"), st.integers(0, 99), st.just(False)),
    ),
    min_size=5,
    max_size=30,
)
# A purchase that was paid back in part is granted less that, and undone while there are credits.
REFUNDED = [("operate", 5, False), ("operate", 4, False), ("undo", 1, False), ("undo", 0, False)]
# Each operation crashes, succeeds, is tried again, and is undone, which crashes first.
EACH = [
    step
    for which in range(OPERATIONS)
    for step in (
        ("operate", which, True), ("operate", which, False), ("operate", which, False),
        ("undo", 0, True), ("undo", 0, False),
    )
]  # fmt: skip


def test_whatever_happens_in_whatever_order_the_books_add_up(story: Story, settings: Any) -> None:
    settings.STRIPE_API_BASE = story.shop.sandbox.url
    done: set[str] = set()

    @given(STEPS)
    @hypothesis.example(EACH)
    @hypothesis.example(REFUNDED)
    @hypothesis.example([("deliver", number, False) for number in range(30)] + EACH)
    @hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
    def check(steps: list[tuple[str, int, bool]]) -> None:
        with transaction.atomic():
            play(story, steps)
            done.update(CreditEntry.objects.values_list("kind", flat=True))
            done.update(
                OperationRecord.objects.filter(status="applied").values_list("name", flat=True)
            )
            transaction.set_rollback(True)

    check()
    # All of it was tried, and had its effect in some order or other.
    assert done >= {
        "grant", "correction", "pack", "refund", "dispute", "claim",
        "grant_credits", "correct_balance", "take_back_credits", "grant_purchase",
        "attribute_payment", "refund_claim", "merge_customers",
    }  # fmt: skip


def play(story: Story, steps: list[tuple[str, int, bool]]) -> None:
    """Does what the steps say, and looks at the books after each of them."""
    with connection.cursor() as cursor:
        cursor.execute(CRASHES)
    deliver(story.known)
    worker.drain()
    claims = [
        LeadClaim.objects.create(user_id=user, credits_spent=SPENT, status="failed").pk
        for user in ("u_ada", "u_bob")
    ]
    operations = catalogue(story, claims)
    assert len(operations) == OPERATIONS
    for what, which, crashing in steps:
        if what == "deliver":
            deliver([story.events[which % len(story.events)]])
            worker.drain()
        else:
            attempt(
                partial(operations[which], f"operation-{which}")
                if what == "operate"
                else partial(taking_back, which),
                crashing=crashing,
            )
        the_books_add_up()
    deliver(story.events)
    assert not worker.drain().needs_attention
    the_books_add_up()
    purchases_are_settled(story)


def attempt(make: Callable[[], Operation | None], *, crashing: bool) -> None:
    """Tries an operation; it may be refused, or crash, and has changed nothing then."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('test.crash', %s, true)", ["on" if crashing else "off"])
    before = books()
    try:
        if operation := make():
            operation.apply()
    except OperationError:
        unchanged = True
    except DatabaseError as error:
        if not (crashing and "crash" in str(error)):
            raise
        unchanged = True
    else:
        unchanged = False
    assert not unchanged or books() == before


def taking_back(which: int) -> Operation | None:
    """The undo of what was applied, 0 for the latest. Raises OperationError."""
    applied = OperationRecord.objects.filter(status="applied").order_by("-id")
    record = applied[which : which + 1].first()
    if record is None:
        return None
    operation = undo(record, key=f"{record.key}-undo", **BOB)
    operation.approved_by = "carol"
    return operation


def books() -> list[tuple[str, int, int]]:
    """Every user's balance and debt, as the ledger has them."""
    users = LeadCredits.objects.order_by("user_id").values_list("user_id", flat=True)
    return [(user, *balance(user)) for user in users if balance(user) != (0, 0)]


def the_books_add_up() -> None:
    """Balances are the ledger's sums and never negative; each audit event has its operation."""
    for credits_ in LeadCredits.objects.all():
        balance_, owed = 0, 0
        for entry in CreditEntry.objects.filter(user_id=credits_.user_id).order_by("id"):
            balance_, owed = balance_ + entry.delta, owed + entry.owed_delta
            assert (balance_, owed) == (entry.balance_after, entry.owed_after)
            assert balance_ >= 0
            assert owed >= 0
        assert (balance_, owed) == (credits_.balance, credits_.owed)
    sources = list(CreditEntry.objects.exclude(source=None).values_list("source", flat=True))
    assert len(sources) == len(set(sources))
    applied = OperationRecord.objects.filter(status="applied").values_list("key", flat=True)
    audited = BillingEvent.objects.filter(type__startswith="manual.")
    assert sorted(applied) == sorted(audited.values_list("payload__operation", flat=True))
    for purchase in Purchase.objects.all():
        assert 0 <= net(purchase) <= MOST, purchase.source
    for claim in LeadClaim.objects.all():
        given = CreditEntry.objects.filter(user_id=claim.user_id, kind="claim")
        assert sum(entry.delta - entry.owed_delta for entry in given) in (0, SPENT)


def given_for(*sources: str) -> int:
    """Credits given and taken under these sources, whatever part of them was owed."""
    entries = CreditEntry.objects.filter(source__in=sources)
    return sum(entry.delta - entry.owed_delta for entry in entries)


def reversals(purchase: Purchase) -> list[PaymentReversal]:
    return list(PaymentReversal.objects.filter(payment_intent_id=purchase.payment_intent_id))


def net(purchase: Purchase) -> int:
    """What a purchase has brought by now, less what was taken back for it."""
    whole = f"checkout:{purchase.source}"
    sources = [whole, f"{whole}:undone"]
    for reversal in reversals(purchase):
        sources += [
            f"{reversal.kind}:{reversal.stripe_id}",
            f"{reversal.kind}_reversed:{reversal.stripe_id}",
        ]
    return given_for(*sources)


def purchases_are_settled(story: Story) -> None:
    """Once everything has come, each purchase stands for what was not paid back of it."""
    for name, pack in story.packs.items():
        purchase = Purchase.objects.get(source=pack["checkout_session"])
        whole = f"checkout:{purchase.source}"
        granted = given_for(whole, f"{whole}:undone")
        back = sum(reversal.amount for reversal in reversals(purchase) if reversal.active)
        assert net(purchase) == granted - granted * back // purchase.amount, name
        if purchase.status == Purchase.Status.GRANTED:
            assert CreditEntry.objects.filter(source=whole).count() == 1, name
        else:
            assert (name, granted) == ("nobodys", 0)

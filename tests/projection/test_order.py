"""Order never matters (DESIGN, rule 3): any permutation, duplication and batching of a
story's events ends in the same rows and the same credits."""

import json
import random
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from django.db import connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from billing.gateway.client import gateway
from billing.ingress import worker
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.events import Event, deliver, events_of

pytestmark = pytest.mark.django_db

# Every row that the story ends in, without what only tells of the way there: our own row
# numbers, clocks, and in the ledger the balance after each entry.
STATE = """
    SELECT 'customer', jsonb_agg(to_jsonb(t) - 'id' - 'updated_at' ORDER BY t.stripe_customer_id)
        FROM billing_customers t
    UNION ALL SELECT 'subscription',
        jsonb_agg(to_jsonb(t) - 'id' - 'updated_at' ORDER BY t.stripe_subscription_id)
        FROM billing_subscriptions t
    UNION ALL SELECT 'invoice',
        jsonb_agg(to_jsonb(t) - 'id' - 'updated_at' ORDER BY t.stripe_invoice_id)
        FROM billing_invoices t
    UNION ALL SELECT 'purchase',
        jsonb_agg(to_jsonb(t) - 'id' - 'updated_at' - 'granted_at' ORDER BY t.source)
        FROM billing_purchases t
    UNION ALL SELECT 'reversal',
        jsonb_agg(to_jsonb(t) - 'id' - 'updated_at' ORDER BY t.stripe_id)
        FROM billing_payment_reversals t
    UNION ALL SELECT 'credits',
        jsonb_agg(to_jsonb(t) - 'updated_at' ORDER BY t.user_id)
        FROM lead_credits t WHERE balance > 0 OR owed > 0
    UNION ALL SELECT 'granted', jsonb_agg(x ORDER BY x) FROM (
        SELECT jsonb_build_array(user_id, source, delta - owed_delta) AS x FROM credit_entries
        WHERE kind IN ('pack', 'subscription')) t
    UNION ALL SELECT 'logged', jsonb_agg(stripe_event_id ORDER BY stripe_event_id)
        FROM billing_events WHERE stripe_event_id IS NOT NULL
    UNION ALL SELECT 'mirror subscription',
        jsonb_agg(to_jsonb(t) - 'djstripe_id' - 'djstripe_created' - 'djstripe_updated'
                  ORDER BY t.id) FROM djstripe_subscription t
    UNION ALL SELECT 'mirror invoice',
        jsonb_agg(to_jsonb(t) - 'djstripe_id' - 'djstripe_created' - 'djstripe_updated'
                  ORDER BY t.id) FROM djstripe_invoice t
    UNION ALL SELECT 'mirror charge',
        jsonb_agg(to_jsonb(t) - 'djstripe_id' - 'djstripe_created' - 'djstripe_updated'
                  ORDER BY t.id) FROM djstripe_charge t
"""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SandboxProcess, list[Event]]]:
    """A life with everything in it: packs, a subscription, refunds, a dispute, a renewal."""
    data = tmp_path_factory.mktemp("story") / "sandbox.sqlite3"
    with run_sandbox(data) as sandbox:
        tell(sandbox)
        yield sandbox, events_of(sandbox)


def tell(sandbox: SandboxProcess) -> None:
    create = sandbox.stripe.v1.prices.create
    product = sandbox.stripe.v1.products.create({"name": "Credits"}).id
    hint = {"lead_credits": "50"}
    pack = create({"product": product, "currency": "usd", "unit_amount": 4500, "metadata": hint}).id
    plan = create(
        {
            "product": product,
            "currency": "usd",
            "unit_amount": 9900,
            "recurring": {"interval": "month"},
            "metadata": {"lead_credits": "120"},
        }
    ).id
    ada: dict[str, Any] = {"email": "ada@example.com", "user_id": "u_ada"}
    subscribed = sandbox.story("subscribe", **ada, price=plan)
    sandbox.story("renew", subscription=subscribed["subscription"])
    bought = sandbox.story("buy_pack", customer=subscribed["customer"], user_id="u_ada", price=pack)
    for amount in (1500, 1500):
        sandbox.story("refund", payment_intent=bought["payment_intent"], amount=amount)
    third = sandbox.story("refund", payment_intent=bought["payment_intent"], amount=1500)
    sandbox.story("fail_refund", refund=third["refund"])
    disputed = sandbox.story("buy_pack", **ada, price=pack, quantity=2)
    dispute = sandbox.story("dispute", charge=disputed["charge"])
    sandbox.story("close_dispute", dispute=dispute["dispute"], won=False)
    sandbox.story("buy_pack", email="nobody@example.com", price=pack, attributed=False)
    sandbox.story("cancel", subscription=subscribed["subscription"], at_period_end=True)


def outcome(batches: list[list[Event]]) -> dict[str, Any]:
    """The state after these deliveries, each drained before the next; then all is undone."""
    with transaction.atomic():
        for batch in batches:
            deliver(batch)
            tally = worker.drain()
            assert not tally.needs_attention, tally
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute(STATE)
            state = dict(cursor.fetchall())
        transaction.set_rollback(True)
    return state


@pytest.mark.parametrize("spacing", [0, 10], ids=["one second", "ten seconds apart"])
def test_any_order_duplication_and_batching_ends_in_the_same_rows(
    story: tuple[SandboxProcess, list[Event]], spacing: int, settings: Any
) -> None:
    """Events of one second cannot be ordered by their time, so objects are fetched; events
    seconds apart can, so payloads are used. The outcome is the same."""
    sandbox, told = story
    settings.STRIPE_API_BASE = sandbox.url
    first = told[0]["created"] - spacing * len(told)
    events = [{**event, "created": first + spacing * i} for i, event in enumerate(told)]
    expected = outcome([[event] for event in told])
    assert json.loads(expected["credits"]) == [{"user_id": "u_ada", "balance": 257, "owed": 0}]
    assert len(json.loads(expected["granted"])) == 4

    @given(
        st.randoms(use_true_random=False),
        st.integers(1, 25),
        st.lists(st.sampled_from(events), max_size=10),
    )
    @hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
    def check(rnd: random.Random, size: int, again: list[Event]) -> None:
        shuffled = [*events, *again]
        rnd.shuffle(shuffled)
        batches = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
        result = outcome(batches)
        for name, rows in expected.items():
            assert result[name] == rows, name

    check()


def test_events_in_order_need_hardly_any_request(
    story: tuple[SandboxProcess, list[Event]], settings: Any
) -> None:
    """In order, nearly only a pack session's lines are asked for (STRIPE.md, Checkout)."""
    sandbox, told = story
    settings.STRIPE_API_BASE = sandbox.url
    first = told[0]["created"] - 10 * len(told)
    events = [{**event, "created": first + 10 * i} for i, event in enumerate(told)]
    with transaction.atomic():
        outcome([[events[0]]])
        before = gateway().calls
        outcome([[event] for event in events])
        packs = sum(event["type"] == "checkout.session.completed" for event in events)
        # A refund that failed and a dispute change their charge, which no event shows.
        reversals = sum(
            event["data"]["object"]["object"] in ("refund", "dispute") for event in events
        )
        assert gateway().calls - before <= packs + reversals + 1  # and once the account

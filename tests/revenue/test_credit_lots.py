"""What each credit was paid for, and what used it: first in, first out."""

import psycopg
import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import (
    CreditEntry,
    CreditLot,
    CreditProgress,
    LeadCredits,
    PaymentReversal,
    Purchase,
    acting_as,
)
from billing.projection import ledger
from billing.revenue.credits import lots as module
from billing.revenue.credits.checking import check
from tests.revenue.ledgers import (
    Kind,
    buy,
    by_hand,
    held,
    lots,
    post,
    reverse,
    sql,
    used,
    uses,
)
from tests.support.databases import Database
from tests.support.waiting import wait_until

in_a_transaction = pytest.mark.django_db


@in_a_transaction
def test_what_is_spent_takes_the_oldest_credits_at_what_they_were_paid_for() -> None:
    post(10, Kind.GRANT)
    buy("cs_1", 4500, {"price_pack": 50})
    sql("balance - 25")
    buy("cs_2", 8000, {"price_pack": 50}, quantity=2)
    sql("balance - 40")
    module.refresh()
    assert used() == [
        ("free", "sql", 10, 0, ""),
        ("pack", "sql", 15, 1350, "usd"),
        ("pack", "sql", 35, 3150, "usd"),
        ("pack", "sql", 5, 400, "usd"),
    ]
    assert held() == [("usd", 95, 7600)]
    assert CreditLot.objects.latest("pk").price_id == "price_pack"


@in_a_transaction
def test_the_uses_of_a_lot_add_up_to_what_was_paid() -> None:
    buy("cs_1", 100, {"price_three": 3})
    for _ in range(3):
        sql("balance - 1")
    module.refresh()
    assert [value for _, _, _, value, _ in used()] == [33, 33, 34]
    assert held() == []


@in_a_transaction
def test_a_refund_of_an_older_pack_takes_the_oldest_credits_that_are_left() -> None:
    buy("cs_1", 4500, {"price_pack": 50})
    sql("balance - 50")
    buy("cs_2", 9000, {"price_dear": 50})
    reverse("re_1", "cs_1", 4500)
    module.refresh()
    assert used()[-1] == ("pack", "refund", 50, 9000, "usd")
    assert held() == []


@in_a_transaction
def test_credits_that_paid_what_was_owed_are_no_lot() -> None:
    buy("cs_1", 5000, {"price_pack": 50})
    sql("balance - 30")
    reverse("re_1", "cs_1", 5000)
    assert LeadCredits.objects.get().owed == 30
    buy("cs_2", 5000, {"price_pack": 50})
    buy("cs_3", 1000, {"price_small": 10}, user="bob")
    sql("balance - 10", "bob")
    reverse("re_3", "cs_3", 1000)
    buy("cs_4", 1000, {"price_small": 10}, user="bob")
    module.refresh()
    assert [(credits_, paid) for _, credits_, paid, _ in lots()] == [
        (50, 5000), (20, 2000), (10, 1000),
    ]  # fmt: skip
    assert held() == [("usd", 20, 2000)]


@in_a_transaction
def test_a_dispute_that_is_won_brings_back_the_value_that_it_took() -> None:
    post(10, Kind.GRANT)
    buy("cs_1", 5000, {"price_pack": 50})
    reverse("dp_1", "cs_1", 5000)
    reverse("dp_1", "cs_1", 5000, active=False)
    reverse("re_1", "cs_1", 5000)
    reverse("re_1", "cs_1", 5000, active=False)
    module.refresh()
    assert used() == [
        ("free", "dispute", 10, 0, ""),
        ("pack", "dispute", 40, 4000, "usd"),
        ("pack", "refund", 10, 1000, "usd"),
        ("returned", "refund", 40, 3200, "usd"),
    ]
    assert held() == [("usd", 60, 5000)]


@in_a_transaction
def test_what_came_back_is_worth_its_share_where_a_part_paid_what_was_owed() -> None:
    buy("cs_1", 5000, {"price_pack": 50})
    sql("balance - 20")
    reverse("dp_1", "cs_1", 5000)
    reverse("dp_1", "cs_1", 5000, active=False)
    module.refresh()
    assert held() == [("usd", 30, 3000)]


@in_a_transaction
def test_a_claim_that_failed_gives_back_the_value_that_it_took() -> None:
    buy("cs_1", 1000, {"price_pack": 10})
    sql("balance - 3")
    post(3, Kind.CLAIM, "claim:1")
    post(2, Kind.CLAIM, "claim:2")
    module.refresh()
    assert held() == [("", 2, 0), ("usd", 10, 1000)]


@in_a_transaction
def test_an_invoice_is_shared_over_its_lines_by_their_credits() -> None:
    buy("in_1", 1000, {"price_plan": 20, "price_extra": 10})
    module.refresh()
    by_price = dict(CreditLot.objects.values_list("price_id", "paid"))
    assert by_price == {"price_plan": 666, "price_extra": 334}
    assert set(CreditLot.objects.values_list("origin", flat=True)) == {"subscription"}


@in_a_transaction
def test_corrections_and_raw_sql_are_free_credits_or_take_the_oldest() -> None:
    buy("cs_1", 5000, {"price_yen": 5}, currency="jpy")
    with acting_as("test"):
        ledger.correct("ada", 8)
        ledger.correct("ada", 4)
    sql("balance + 6")
    sql("3")
    module.refresh()
    assert used() == [
        ("pack", "correction", 4, 4000, "jpy"),
        ("pack", "sql", 1, 1000, "jpy"),
        ("free", "sql", 3, 0, ""),
        ("free", "sql", 3, 0, ""),
    ]
    assert held() == [("", 3, 0)]


@in_a_transaction
def test_credits_that_move_to_another_user_keep_their_value_there_and_back() -> None:
    buy("cs_1", 1000, {"price_pack": 10})
    sql("balance - 4")
    buy("cs_2", 300, {"price_cheap": 10}, user="Zoe")
    with acting_as("test"):
        sources = ("merge:k:from", "merge:k:to")
        ledger.move("ada", "Zoe", reason="One person", sources=sources)
        module.refresh()
        assert held() == [("usd", 16, 900)]
        ledger.reverse(sources, reason="Two after all")
    module.refresh()
    assert held() == [("usd", 16, 900)]
    assert module.rebuild() == 2
    assert held() == [("usd", 16, 900)]


@in_a_transaction
def test_what_the_ledger_never_saw_come_waits_for_the_next_credits() -> None:
    """Written past the triggers; then the two are tied out."""
    post(5, Kind.GRANT)
    unseen("UPDATE lead_credits SET balance = 20")
    sql("balance - 12")
    module.refresh()
    assert [use[2:4] for use in used()] == [(5, 0)]
    with acting_as("test"):
        ledger.tie_out("ada", reason="Tied out", source="tie:1")
    buy("cs_1", 100, {"price_one": 1})
    module.refresh()
    assert held() == [("usd", 1, 100)]
    assert sum(credits_ for _, credits_, _, _ in lots()) - sum(use[2] for use in used()) == 1


def unseen(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE lead_credits DISABLE TRIGGER USER")
        cursor.execute(statement)
        cursor.execute("ALTER TABLE lead_credits ENABLE TRIGGER USER")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ada", "bob"]),
        st.sampled_from(["pack", "spend", "free", "correct", "refund", "dispute", "back", "look"]),
        st.integers(1, 40),
    ),
    max_size=25,
)


@in_a_transaction
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_any_history_is_as_one_would_reckon_it_by_hand(
    steps: list[tuple[str, str, int]],
) -> None:
    """However often the facts are brought up to date between, and made anew at the end."""
    with transaction.atomic():
        for number, step in enumerate(steps):
            live(number, *step)
        module.refresh()
        fifo = by_hand()
        assert lots() == [(x.id, x.credits, x.paid, x.currency) for x in fifo.lots.values()]
        assert uses() == fifo.uses
        kept = (lots(), uses())
        module.rebuild()
        assert (lots(), uses()) == kept
        balances = sum(LeadCredits.objects.values_list("balance", flat=True))
        assert sum(row[1] for row in held()) == balances
        transaction.set_rollback(True)


def live(number: int, user: str, what: str, count: int) -> None:
    """A step of a history; what cannot be is left out."""
    balance = sum(LeadCredits.objects.filter(user_id=user).values_list("balance", flat=True))
    bought = [p for p in Purchase.objects.order_by("id") if p.user_id == user]
    match what:
        case "pack":
            paid_in = "jpy" if user == "bob" else "usd"
            buy(f"cs_{number}", count * 37, {f"price_{count}": count}, user=user, currency=paid_in)
        case "spend" if balance:
            sql(f"balance - {min(count, balance)}", user)
        case "free":
            post(count, Kind.GRANT, user=user)
        case "correct":
            with acting_as("test"):
                ledger.correct(user, count)
        case "refund" | "dispute" if bought:
            named = "re" if what == "refund" else "dp"
            reverse(f"{named}_{number}", bought[-1].source, max(bought[-1].amount * count // 40, 1))
        case "back" if bought:
            intents = [purchase.payment_intent_id for purchase in bought]
            active = PaymentReversal.objects.filter(active=True, payment_intent_id__in=intents)
            if found := active.first():
                source = found.payment_intent_id.removeprefix("pi_")
                reverse(found.stripe_id, source, found.amount, active=False)
        case "look":
            module.refresh()


@in_a_transaction
def test_a_check_finds_what_differs_from_the_ledger() -> None:
    buy("cs_1", 5000, {"price_pack": 50})
    sql("balance - 20")
    post(5, Kind.GRANT, user="bob")
    module.refresh()
    sql("balance - 1")  # which the facts do not have yet
    assert check() == []
    with connection.cursor() as cursor:
        for statement, told in PLANTED.items():
            with transaction.atomic():
                cursor.execute(statement)
                found = check()
                assert len(found) == len(told), found
                assert all(map(str.startswith, (each["fact"] for each in found), told)), found
                transaction.set_rollback(True)
    module.refresh()
    assert check() == []


PLANTED = {
    "UPDATE billing_credit_lots SET paid = paid + 1": ["Lot ", "Lot "],
    "DELETE FROM billing_credit_lots WHERE user_id = 'bob'": ["Lot ", "Balance of user bob"],
    "UPDATE billing_credit_uses SET value = 0": ["Use of lot "],
    "UPDATE billing_credit_spenders SET spent = '{7}'": ["What user ada "],
    "DELETE FROM billing_credit_spenders": ["What user ada "],
    "UPDATE billing_credit_flows SET sold = 0 WHERE item = 'pack'": ["Flow ", "Flow of the day "],
    """INSERT INTO billing_credit_lots (entry_id, user_id, at, credits, origin)
       VALUES (0, 'zoe', now(), 7, 'free')""": ["Lot "],
}


def test_an_entry_that_is_committed_late_is_not_passed_over(real_database: Database) -> None:
    """It has a lower id than others that the lots know already; who is known is not read again."""
    granted = "INSERT INTO lead_credits (user_id, balance) VALUES ('ada', 7)"
    with psycopg.connect(real_database.url) as slow:
        slow.execute("SET LOCAL billing.actor = 'slow'")  # unlike raw SQL, it waits for nobody
        slow.execute(granted)
        for balance in (1, 2, 3):
            sql(str(balance), "bob")
            assert module.refresh() == 1
        assert CreditProgress.objects.get().floor == 0
    assert module.refresh() == 1
    assert lots()[0][1] == 7
    assert module.refresh() == 0
    assert check() == []
    # Whose transaction is open anywhere on the server might still commit an entry.
    wait_until(lambda: module.refresh() == 0 and has_read_all(), seconds=60)


def test_nor_is_one_whose_transaction_began_last(real_database: Database) -> None:
    """It is the newest that is open, and has the lower entry: no snapshot ends above it."""
    module.refresh()
    with (
        psycopg.connect(real_database.url) as elder,
        psycopg.connect(real_database.url) as younger,
    ):
        for connection_ in (elder, younger):
            connection_.execute("SELECT set_config('billing.actor', 'olga', true)")
            connection_.execute("SELECT pg_current_xact_id()")
        give = "INSERT INTO lead_credits (user_id, balance) VALUES (%s, 5)"
        younger.execute(give, ["late"])
        elder.execute(give, ["early"])
        elder.commit()
        for _ in range(3):
            module.refresh()
    module.refresh()
    users = CreditLot.objects.order_by("user_id").values_list("user_id", flat=True)
    assert list(users) == ["early", "late"]


def has_read_all() -> bool:
    return CreditProgress.objects.get().floor == CreditEntry.objects.latest("pk").pk

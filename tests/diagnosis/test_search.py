"""Search by anything: whatever a customer gave leads to them (runbook: F1, S2, P1, P2)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.diagnosis.search import MOST, MOST_AT_PRICE, Found, look_up, search
from billing.diagnosis.terms import Card, cards, kind_of
from billing.models import BillingPayment, InboxEvent, Purchase
from tests.admin import rows
from tests.operations.shop import Shop
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 24)


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    """A shop in which nobody has bought yet."""
    return Shop(sandbox)


def payment(id_: str = "ch_1", **more: Any) -> BillingPayment:
    """Ada's, of 49.00 USD by a card that ends in 4242."""
    fields = {
        "stripe_customer_id": rows.CUSTOMER,
        "payment_intent_id": f"pi_of_{id_}",
        "status": "succeeded",
        "amount": 4900,
        "currency": "usd",
        "last4": "4242",
        "created_at": datetime(2026, 11, 20, 9, tzinfo=UTC),
        **more,
    }
    with rows.writing():
        return BillingPayment.objects.create(stripe_charge_id=id_, **fields)


def emails(found: Found) -> list[str]:
    return sorted(hit.title for hit in found.hits)


def test_everything_of_hers_leads_to_ada(shop: Shop) -> None:
    """What Stripe's own objects are called by, and what she may say herself."""
    subscribed = shop.subscribe()
    bought = shop.buy()
    shop.deliver()
    refund = shop.sandbox.stripe.v1.refunds.create({"charge": bought["charge"], "amount": 450})
    shop.deliver()
    subscription = shop.at_stripe(subscribed["subscription"])
    invoice = shop.sandbox.get(f"/v1/invoices/{subscription['latest_invoice']}").json()
    given = {
        "ada@example.com": "Email",
        "ADA@Example.COM": "Email",
        "ada@ex": "Email",
        "@example.c": "Email",
        "u_ada": "User",
        subscription["customer"]: "Customer",
        subscription["id"]: "Subscription",
        subscription["items"]["data"][0]["price"]["id"]: "Subscription",
        invoice["id"]: "Invoice",
        invoice["number"].lower(): f"Invoice {invoice['number']}",
        bought["checkout_session"]: "Purchase",
        bought["payment_intent"]: "Payment",
        bought["charge"]: "Payment",
        refund.id: "Refund",
        shop.event_of("checkout.session.completed"): "Event",
        shop.event_of("refund.created"): "Event",
        "4242 45.00": "Card 4242: 45.00 USD",
        f"checkout:{bought['checkout_session']}": "Ledger entry",
    }
    for term, words in given.items():
        found = search(term)
        if found.kind == "price":  # is something of its own, too
            assert [thing.words[-17:] for thing in found.things] == ["20 credits a unit"]
        else:
            assert found.things == [], term
        assert [hit.person.user_id for hit in found.hits] == ["u_ada"], term
        assert found.hits[0].matched.startswith(words), (term, found.hits[0].matched)
        assert found.hits[0].customer is not None, term
        assert found.hits[0].status == "active", term
        assert found.hits[0].balance == 65, term
        assert found.hits[0].payment is not None, term


def test_names_and_emails_are_found_by_any_part(db: None) -> None:
    """In any case; one letter or two are a beginning."""
    rows.customer("u_1", "cus_1", email="ada@example.com", name="Ada Lovelace")
    rows.customer("u_2", "cus_2", email="grace@example.org", name="Grace Ada Hopper")
    rows.customer(None, "cus_3", email="", name="Zoë O'Hara")
    assert emails(search("ADA")) == ["ada@example.com", "grace@example.org"]
    assert emails(search("love")) == ["ada@example.com"]
    assert emails(search("gr")) == ["grace@example.org"]
    assert emails(search("ce")) == []
    assert emails(search("zoë")) == ["Zoë O'Hara"]
    assert emails(search("o'h")) == ["Zoë O'Hara"]
    assert emails(search("example")) == ["ada@example.com", "grace@example.org"]


def test_a_whole_email_finds_no_longer_ones(db: None) -> None:
    rows.customer("u_1", "cus_1", email="ada@example.com")
    rows.customer("u_2", "cus_2", email="nada@example.com")
    rows.customer("u_3", "cus_3", email="Ada@Example.com")
    assert emails(search("ada@example.com")) == ["Ada@Example.com", "ada@example.com"]


def test_a_person_with_two_customers_is_one_hit(db: None) -> None:
    rows.customer(id_="cus_1", created_at=timezone.now() - timedelta(days=9))
    rows.customer(id_="cus_2")
    [hit] = search("u_ada").hits
    assert hit.person.customer_ids == ("cus_1", "cus_2")
    assert hit.customer is not None
    assert hit.customer.stripe_customer_id == "cus_2"
    [hit] = search("cus_1").hits
    assert hit.customer is not None
    assert hit.customer.stripe_customer_id == "cus_1"


def test_a_user_with_credits_and_no_customer_is_found(db: None) -> None:
    rows.grant("u_lone", 7)
    [hit] = search("u_lone").hits
    assert (hit.customer, hit.balance, hit.title) == (None, 7, "User u_lone")


def test_leads_and_claims_lead_to_who_claimed_them(db: None) -> None:
    """S2: "lead claiming returns insufficient credits" comes with a lead."""
    rows.customer()
    claim = rows.claim("lead_77")
    rows.claim("lead_77", user_id="u_other")
    assert [hit.person.user_id for hit in search("lead_77").hits] == ["u_other", "u_ada"]
    assert [hit.person.user_id for hit in search(f"claim:{claim.pk}").hits] == ["u_ada"]
    assert search(f"claim:{claim.pk}").hits[0].matched.endswith("of lead lead_77")


@pytest.mark.parametrize(
    "term",
    [
        "4242 49.00",
        "49 4242",
        "4242 $49 2026-11-20",
        "card 4242, 49.00 on 20.11.2026",
        "4242 20 Nov",
        "Nov 20 4242",
        "20 November 2026 4242",
        "4242 November 20, 2026",
        "****4242 USD 49.00",
        "4242 49,00usd",
    ],
)
def test_a_card_is_found_with_an_amount_or_a_date(term: str, time_machine: Any) -> None:
    time_machine.move_to(datetime(2026, 11, 24, 12, tzinfo=UTC))
    rows.customer()
    payment()
    [hit] = search(term).hits
    assert hit.matched == "Card 4242: 49.00 USD, 2026-11-20 09:00 UTC, succeeded"


@pytest.mark.parametrize(
    "term", ["4242 49.01", "4242 €49", "4242 4 Nov", "4243 49.00", "4242 49.00 2025-11-20"]
)
def test_another_cards_payment_is_not_found(term: str) -> None:
    rows.customer()
    payment()
    assert search(term).is_empty


def test_an_amount_is_of_any_currency_by_its_exponent(db: None) -> None:
    for number, (amount, currency) in enumerate([(4900, "eur"), (49, "jpy"), (49000, "kwd")]):
        rows.customer(f"u_{number}", f"cus_{number}", email=f"{currency}@example.com")
        payment(
            f"ch_{number}", stripe_customer_id=f"cus_{number}", amount=amount, currency=currency
        )
    assert emails(search("4242 49.00")) == [
        "eur@example.com",
        "jpy@example.com",
        "kwd@example.com",
    ]
    assert emails(search("4242 49 jpy")) == ["jpy@example.com"]
    assert emails(search("4242 €49")) == ["eur@example.com"]


def test_a_cards_digits_alone_ask_for_more(db: None) -> None:
    rows.customer()
    payment()
    found = search("4242")
    assert found.is_empty
    assert "add the amount or the date, such as “4242 49.00”" in found.advice
    rows.grant("4242", 3)  # and may be a user
    assert [hit.person.user_id for hit in search("4242").hits] == ["4242"]


def test_days_are_the_customers_wherever_they_are(db: None) -> None:
    """What is the 20th in Auckland is the 19th in UTC."""
    rows.customer()
    payment(created_at=datetime(2026, 11, 19, 11, tzinfo=UTC))
    assert search("4242 2026-11-20").hits
    assert search("4242 2026-11-19").hits
    assert search("4242 2026-11-21").is_empty


def test_what_is_nobodys_is_shown_as_it_is(db: None) -> None:
    """An event without a customer, an unattributed payment, a price that nobody pays."""
    rows.inbox_event("evt_1", customer_id="", object_id="")
    rows.purchase("cs_1", user_id=None, stripe_customer_id="", status=Purchase.Status.UNATTRIBUTED)
    rows.price("price_1")
    payment("ch_9", stripe_customer_id="", payment_intent_id="")
    for term, model in (
        ("evt_1", InboxEvent),
        ("cs_1", Purchase),
        ("pi_of_cs_1", Purchase),
        ("ch_9", BillingPayment),
    ):
        found = search(term)
        assert found.hits == [], term
        assert [type(thing.row) for thing in found.things] == [model], term
    assert [thing.words for thing in search("price_1").things] == ["Price Pack: 50 credits a unit"]


def test_an_events_guest_is_known_by_the_purchase(db: None) -> None:
    rows.purchase("cs_1", stripe_customer_id="")
    rows.inbox_event("evt_1", customer_id="")
    [hit] = search("evt_1").hits
    assert hit.person.user_id == "u_ada"


def test_many_are_cut_off_and_said_to_be(db: None) -> None:
    for number in range(MOST + 3):
        rows.customer(f"u_{number}", f"cus_{number}")
    found = search("ada@example.com")
    assert (len(found.hits), found.more) == (MOST, True)
    assert not search("u_1").more


def test_a_price_shows_some_of_its_customers(shop: Shop) -> None:
    for number in range(3):
        shop.subscribe(email=f"{number}@example.com", user_id=f"u_{number}")
    shop.deliver()
    assert emails(search(shop.plan)) == ["0@example.com", "1@example.com", "2@example.com"]
    assert MOST_AT_PRICE == 20


HOSTILE = [
    "",
    "   ",
    "x" * 5000,
    "\x00",
    "ada\x00",
    "%",
    "_",
    "%%%",
    "a_a%",
    "'; DROP TABLE billing_customers; --",
    '"quoted"',
    "\\",
    "😀😀😀",
    "\ud800",
    "9" * 40,
    "4242 " + "9" * 40,
    "4242 99999999999999999999.99",
    "claim:" + "9" * 40,
    "claim:-1",
    "claim:",
    "cus_" + "a" * 300,
    "cus_'; --",
    "in_../../etc",
    "4242 2026-13-45",
    "4242 31 Feb",
    "4242 4242 4242 4242",
    "<script>alert(1)</script>",
    "١٢٣٤ 49",
]


@pytest.mark.parametrize("term", HOSTILE, ids=lambda term: repr(term[:20]))
def test_whatever_is_typed_is_no_error_and_finds_nobody(term: str) -> None:
    rows.customer()
    payment()
    assert search(term).is_empty


def test_it_takes_as_many_statements_however_many_it_finds(db: None) -> None:
    def statements(term: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert not search(term).is_empty
        return len(captured)

    def fill(start: int, end: int) -> None:
        for number in range(start, end):
            id_ = f"cus_{number}"
            rows.customer(f"u_{number}", id_, email="many@example.com")
            rows.subscription(f"sub_{number}", stripe_customer_id=id_, user_id=f"u_{number}")
            payment(f"ch_{number}", stripe_customer_id=id_)
            rows.claim("lead_1", user_id=f"u_{number}")

    terms = ("many@example.com", "many", "4242 49.00", "lead_1")
    fill(0, 1)
    few = [statements(term) for term in terms]
    fill(1, 40)
    assert [statements(term) for term in terms] == few
    assert max(few) <= 16


def test_kinds_of_ids() -> None:
    kinds = {
        "cus_1": "customer",
        "py_1": "charge",
        "du_1": "dispute",
        "cs_test_a1": "checkout.session",
    }
    assert {term: kind_of(term) for term in kinds} == kinds
    for term in ("cus", "cus_", "u_ada", "lead_1", "cus_ö", "cus_1 ", "cus_1/..", "CUS_1"):
        assert kind_of(term) == "", term


def test_two_numbers_may_each_be_the_card() -> None:
    read = cards("4900 4242", TODAY)
    assert read == [Card("4900", (4242, "")), Card("4242", (4900, ""))]
    assert cards("20 Dec 4242", TODAY) == [Card("4242", day=date(2025, 12, 20))]
    assert cards("29 Feb 4242", TODAY) == [Card("4242", day=date(2024, 2, 29))]
    assert cards("Lovelace 4242 49", TODAY) == [] == cards("Ada Lovelace", TODAY)


def test_stripe_is_asked_for_what_is_not_here(shop: Shop) -> None:
    """F1: by id, with the operation that brings it in."""
    bought = shop.buy(payment_method="pm_card_visa")
    subscribed = shop.subscribe()
    refund = shop.sandbox.stripe.v1.refunds.create({"charge": bought["charge"], "amount": 450})
    customer = subscribed["customer"]
    [charge] = shop.sandbox.get(f"/v1/charges?customer={customer}").json()["data"]
    guest = {"purchase_id": bought["checkout_session"]}
    expected = {
        customer: ("sync_from_stripe", {"kind": "customer", "id": customer}),
        subscribed["subscription"]: (
            "sync_from_stripe",
            {"kind": "subscription", "id": subscribed["subscription"]},
        ),
        subscribed["invoice"]: (
            "sync_from_stripe",
            {"kind": "invoice", "id": subscribed["invoice"]},
        ),
        charge["id"]: ("sync_from_stripe", {"kind": "customer", "id": customer}),
        bought["checkout_session"]: ("grant_purchase", guest),
        bought["payment_intent"]: ("grant_purchase", guest),
        bought["charge"]: ("grant_purchase", guest),
        refund.id: ("grant_purchase", guest),
        (event := shop.event_of("invoice.paid")): ("replay_events", {"event_ids": [event]}),
    }
    for term, (operation, params) in expected.items():
        found = search(term)
        assert found.is_empty, term
        assert found.kind, term
        looked = look_up(term)
        assert not looked.error, term
        assert looked.created is not None, term
        assert looked.bring_in is not None, term
        assert (looked.bring_in.operation, looked.bring_in.params) == (operation, params), term
    looked = look_up(bought["charge"])
    assert (looked.amount, looked.currency, looked.status) == (4500, "usd", "succeeded")
    assert look_up(shop.plan).bring_in is None
    assert look_up(shop.plan).advice


def test_what_stripe_does_not_know_is_said(shop: Shop) -> None:
    """Another account's id, or another mode's."""
    looked = look_up("cus_ofAnother")
    assert "Stripe knows no customer cus_ofAnother in this account and mode" in looked.error
    assert looked.is_unknown
    assert looked.bring_in is None
    with pytest.raises(ValueError, match="does not look like an id"):
        look_up("ada@example.com")


def test_a_dead_stripe_is_said(shop: Shop) -> None:
    shop.sandbox.control("faults", path="/v1/*", status=500)
    looked = look_up("cus_1")
    assert "Try again" in looked.error
    assert not looked.is_unknown
    assert looked.as_dict()["error"] == looked.error

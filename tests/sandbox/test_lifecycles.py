"""What objects go through, and the events that tell of it, in order."""

from typing import Any

import pytest
import stripe

from tests.sandbox.server import SandboxProcess

PAID_INVOICE = [
    "payment_intent.created",
    "invoice.finalized",
    "invoice.updated",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
]
FAILED_INVOICE = [
    "payment_intent.created",
    "invoice.finalized",
    "invoice.updated",
    "charge.failed",
    "payment_intent.payment_failed",
    "invoice.updated",
    "invoice.payment_failed",
]


@pytest.fixture
def shop(shared: SandboxProcess) -> "Shop":
    return Shop(shared)


class Shop:
    """A sandbox with a plan and a pack, and what happened there lately."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.client = sandbox.stripe.v1
        product = self.client.products.create({"name": "Leads"}).id
        self.pack = self.client.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": 1500,
                "metadata": {"lead_credits": "10"},
            }
        ).id
        self.plan, self.bigger = (
            self.client.prices.create(
                {
                    "product": product,
                    "currency": "usd",
                    "unit_amount": amount,
                    "recurring": {"interval": "month"},
                }
            ).id
            for amount in (3000, 9000)
        )
        self.seen = self.get("events", limit=1)["data"][0]["id"]

    def news(self) -> list[Any]:
        """The events since the last call, oldest first."""
        body = self.get("events", limit=100, ending_before=self.seen)
        assert not body["has_more"]
        if body["data"]:
            self.seen = body["data"][0]["id"]
        return list(reversed(body["data"]))

    def types(self) -> list[str]:
        """The types of the events since the last call."""
        return [event["type"] for event in self.news()]

    def customer(self, card: str | None = "pm_card_visa", **fields: Any) -> str:
        """A new customer whose invoices `card` pays."""
        made: Any = {"email": "c@example.com", **fields}
        if card:
            made |= {
                "payment_method": card,
                "invoice_settings": {"default_payment_method": card},
            }
        return self.client.customers.create(made).id

    def subscribe(self, card: str | None = "pm_card_visa", **fields: Any) -> Any:
        """A new subscription made by the application."""
        customer = fields.pop("customer", None) or self.customer(card)
        made: Any = {"customer": customer, "items": [{"price": self.plan}], **fields}
        return self.client.subscriptions.create(made)

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of `GET /v1/path`."""
        answer = self.sandbox.get(f"/v1/{path}", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()


def test_a_pack_is_bought_by_card(shop: Shop) -> None:
    ids = shop.sandbox.story(
        "buy_pack", email="a@example.com", user_id="u_1", price=shop.pack, quantity=2
    )
    events = shop.news()
    assert [event["type"] for event in events] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
        "charge.updated",
    ]
    assert [event["id"] for event in events] == ids["events"]
    session = shop.get(f"checkout/sessions/{ids['checkout_session']}")
    assert events[3]["data"] == {"object": session}
    assert events[1]["data"]["object"]["balance_transaction"] is None
    assert events[4]["data"] == {
        "object": shop.get(f"charges/{ids['charge']}"),
        "previous_attributes": {"balance_transaction": None},
    }
    assert session["client_reference_id"] == session["metadata"]["user_id"] == "u_1"
    assert (session["payment_status"], session["status"]) == ("paid", "complete")
    assert (session["customer"], session["amount_total"]) == (None, 3000)
    assert session["customer_details"]["email"] == "a@example.com"
    intent = shop.get(f"payment_intents/{ids['payment_intent']}")
    assert intent["metadata"] == {}
    assert (intent["amount_received"], intent["status"]) == (3000, "succeeded")
    lines = shop.get(f"checkout/sessions/{session['id']}/line_items")["data"]
    assert [(line["price"]["id"], line["quantity"]) for line in lines] == [(shop.pack, 2)]
    assert lines[0]["price"]["metadata"] == {"lead_credits": "10"}


def test_nobody_knows_who_bought_an_unattributed_pack(shop: Shop) -> None:
    ids = shop.sandbox.story("buy_pack", user_id="u_1", price=shop.pack, attributed=False)
    session = shop.get(f"checkout/sessions/{ids['checkout_session']}")
    assert (session["client_reference_id"], session["metadata"]) == (None, {})


@pytest.mark.parametrize(
    ("outcome", "later", "status"),
    [
        ("succeed", ["charge.succeeded", "payment_intent.succeeded",
                     "checkout.session.async_payment_succeeded"], "paid"),
        ("fail", ["charge.failed", "payment_intent.payment_failed",
                  "checkout.session.async_payment_failed"], "unpaid"),
        ("pending", [], "unpaid"),
    ],
)  # fmt: skip
def test_a_bank_debit_takes_days(shop: Shop, outcome: str, later: list[str], status: str) -> None:
    ids = shop.sandbox.story("buy_pack", price=shop.pack, async_=outcome)
    events = shop.news()
    assert [event["type"] for event in events] == [
        "payment_intent.created",
        "charge.pending",
        "payment_intent.processing",
        "checkout.session.completed",
        *later,
    ]
    completed = events[3]["data"]["object"]
    assert (completed["payment_status"], completed["status"]) == ("unpaid", "complete")
    session = shop.get(f"checkout/sessions/{ids['checkout_session']}")
    assert session["payment_status"] == status
    if outcome == "pending":
        shop.sandbox.story("settle", checkout_session=session["id"], succeed=True)
        assert shop.types()[-1] == "checkout.session.async_payment_succeeded"


def test_a_subscription_is_bought_in_checkout(shop: Shop) -> None:
    ids = shop.sandbox.story("subscribe", email="a@example.com", user_id="u_1", price=shop.plan)
    events = shop.news()
    assert [event["type"] for event in events] == [
        "customer.created",
        "payment_method.attached",
        "customer.updated",
        "invoice.created",
        "customer.subscription.created",
        *PAID_INVOICE,
        "customer.subscription.updated",
        "checkout.session.completed",
    ]
    created, updated = events[4]["data"], events[-2]["data"]
    assert created["object"]["status"] == "incomplete"
    assert updated["previous_attributes"] == {"status": "incomplete"}
    assert updated["object"]["status"] == "active"
    invoice = shop.get(f"invoices/{ids['invoice']}", **{"expand[]": "payments"})
    details = invoice["parent"]["subscription_details"]
    assert details["subscription"] == ids["subscription"]
    assert (invoice["status"], invoice["billing_reason"]) == ("paid", "subscription_create")
    assert (invoice["amount_paid"], invoice["amount_remaining"]) == (3000, 0)
    payment = invoice["payments"]["data"][0]
    assert (payment["status"], payment["amount_paid"]) == ("paid", 3000)
    listed = shop.get("invoice_payments", invoice=invoice["id"], status="paid")["data"]
    assert listed == [payment]
    by_intent = {"payment[type]": "payment_intent",
                 "payment[payment_intent]": payment["payment"]["payment_intent"]}  # fmt: skip
    assert shop.get("invoice_payments", **by_intent)["data"] == [payment]
    item = shop.get("subscription_items", subscription=ids["subscription"])["data"][0]
    line = shop.get(f"invoices/{invoice['id']}/lines")["data"][0]
    assert line["period"] == {
        "end": item["current_period_end"],
        "start": item["current_period_start"],
    }
    assert line["pricing"]["price_details"]["price"] == shop.plan


def test_a_declined_checkout_stays_open(shop: Shop) -> None:
    session = shop.client.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://x.example",
            "line_items": [{"price": shop.pack, "quantity": 1}],
            "payment_intent_data": {"metadata": {"order": "7"}},
        }
    )
    shop.news()
    path = f"/v1/payment_pages/{session.id}"
    assert shop.sandbox.get(path).json()["id"] == session.id
    wrong = shop.sandbox.post(
        f"{path}/confirm", {"payment_method": "pm_card_visa", "expected_amount": "1"}
    )
    assert wrong.status_code == 400
    declined = shop.sandbox.post(f"{path}/confirm", {"payment_method": "pm_card_chargeDeclined"})
    assert declined.status_code == 402
    assert shop.types() == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]
    paid = shop.sandbox.post(
        f"{path}/confirm", {"payment_method": "pm_card_visa", "expected_amount": "1500"}
    ).json()
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    assert shop.get(f"payment_intents/{paid['payment_intent']}")["metadata"] == {"order": "7"}
    assert shop.types()[-2:] == ["checkout.session.completed", "charge.updated"]
    again = shop.sandbox.post(f"{path}/confirm", {"payment_method": "pm_card_visa"})
    assert again.status_code == 400


def test_a_session_expires(shop: Shop) -> None:
    session = shop.client.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://x.example",
            "line_items": [
                {
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 100,
                        "product_data": {"name": "One lead"},
                    },
                    "quantity": 3,
                }
            ],
        }
    )
    assert (session.amount_total, session.status) == (300, "open")
    shop.news()
    expired = shop.client.checkout.sessions.expire(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    assert shop.types() == ["checkout.session.expired"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.checkout.sessions.expire(session.id)


def test_a_subscription_renews_into_the_next_period(shop: Shop) -> None:
    made = shop.subscribe()
    before = made["items"].data[0]
    shop.news()
    told = shop.sandbox.story("renew", subscription=made.id)
    events = shop.news()
    assert [event["type"] for event in events] == [
        "invoice.created",
        "customer.subscription.updated",
        *PAID_INVOICE,
    ]
    previous = events[1]["data"]["previous_attributes"]
    assert set(previous) == {"items", "latest_invoice"}
    item = shop.get(f"subscriptions/{made.id}")["items"]["data"][0]
    assert item["current_period_start"] == before.current_period_end
    assert 28 * 86400 <= item["current_period_end"] - item["current_period_start"] <= 31 * 86400
    invoice = shop.get(f"invoices/{told['invoice']}")
    assert invoice["billing_reason"] == "subscription_cycle"
    assert invoice["period_end"] == before.current_period_end
    assert invoice["number"].endswith("-0002")


def test_a_failed_renewal_is_past_due_until_it_is_paid(shop: Shop) -> None:
    made = shop.subscribe()
    shop.news()
    told = shop.sandbox.story("past_due", subscription=made.id)
    assert told["status"] == "past_due"
    events = shop.news()
    assert [event["type"] for event in events][2:] == [
        *FAILED_INVOICE,
        "customer.subscription.updated",
        "customer.updated",
    ]
    assert events[-1]["data"]["previous_attributes"] == {"delinquent": False}
    invoice = shop.get(f"invoices/{told['invoice']}")
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
    assert invoice["next_payment_attempt"] > invoice["created"]
    paid = shop.client.invoices.pay(told["invoice"])
    assert (paid.status, paid.next_payment_attempt) == ("paid", None)
    events = shop.news()
    assert events[-2]["data"]["previous_attributes"] == {"status": "past_due"}
    assert shop.get(f"subscriptions/{made.id}")["status"] == "active"


def test_an_unpaid_subscription_is_paid_by_its_latest_draft(shop: Shop) -> None:
    made = shop.subscribe()
    assert shop.sandbox.story("unpaid", subscription=made.id)["status"] == "unpaid"
    told = shop.sandbox.story("renew", subscription=made.id)
    assert told["status"] == "unpaid"
    assert shop.get(f"invoices/{told['invoice']}")["status"] == "draft"
    shop.client.invoices.finalize_invoice(told["invoice"])
    shop.client.invoices.pay(told["invoice"])
    assert shop.get(f"subscriptions/{made.id}")["status"] == "active"


def test_a_first_payment_that_fails_leaves_it_incomplete(shop: Shop) -> None:
    made = shop.subscribe("pm_card_chargeCustomerFail")
    assert made.status == "incomplete"
    types = shop.types()
    assert "customer.subscription.created" in types
    assert types[-1] == "invoice.payment_failed"
    with pytest.raises(stripe.CardError):
        shop.client.invoices.pay(made.latest_invoice)
    good = shop.client.payment_methods.attach("pm_card_visa", {"customer": made.customer})
    shop.client.invoices.pay(made.latest_invoice, {"payment_method": good.id})
    assert shop.get(f"subscriptions/{made.id}")["status"] == "active"
    late = shop.subscribe("pm_card_chargeCustomerFail")
    shop.sandbox.story("expire_incomplete", subscription=late.id)
    assert shop.get(f"subscriptions/{late.id}")["status"] == "incomplete_expired"
    assert shop.get(f"invoices/{late.latest_invoice}")["status"] == "void"


def test_error_if_incomplete_makes_no_subscription(shop: Shop) -> None:
    customer = shop.customer("pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        shop.subscribe(customer=customer, payment_behavior="error_if_incomplete")
    assert shop.get("subscriptions", customer=customer, status="all")["data"] == []
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.subscribe(None)
    assert refused.value.code == "resource_missing"


def test_a_cancellation_is_scheduled_and_cleared(shop: Shop) -> None:
    made = shop.subscribe()
    end = made["items"].data[0].current_period_end
    shop.news()
    planned = shop.client.subscriptions.update(made.id, {"cancel_at_period_end": True})
    assert (planned.cancel_at_period_end, planned.cancel_at) == (True, end)
    assert planned.canceled_at
    assert planned.status == "active"
    cleared = shop.client.subscriptions.update(made.id, {"cancel_at_period_end": False})
    assert (cleared.cancel_at_period_end, cleared.cancel_at) == (False, None)
    assert cleared.canceled_at is None
    at = end + 86400
    planned = shop.client.subscriptions.update(made.id, {"cancel_at": at})
    assert (planned.cancel_at_period_end, planned.cancel_at) == (False, at)
    cleared = shop.client.subscriptions.update(made.id, {"cancel_at": ""})
    assert cleared.cancel_at is None
    events = shop.news()
    assert [event["type"] for event in events] == ["customer.subscription.updated"] * 4
    assert events[0]["data"]["previous_attributes"] == {
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"reason": None},
    }
    assert events[3]["data"]["previous_attributes"]["cancel_at"] == at


def test_it_ends_with_the_period_or_at_once(shop: Shop) -> None:
    made = shop.subscribe()
    shop.sandbox.story("cancel", subscription=made.id, at_period_end=True)
    shop.news()
    assert shop.sandbox.story("renew", subscription=made.id)["status"] == "canceled"
    assert shop.types() == ["customer.subscription.deleted"]
    now = shop.subscribe()
    ended = shop.client.subscriptions.cancel(now.id)
    assert (ended.status, bool(ended.ended_at)) == ("canceled", True)
    assert shop.types()[-1] == "customer.subscription.deleted"
    assert shop.sandbox.request("DELETE", f"/v1/subscriptions/{now.id}").status_code == 404
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.subscriptions.update(now.id, {"cancel_at_period_end": True})
    kept = shop.client.subscriptions.update(now.id, {"metadata": {"why": "moved"}})
    assert kept.metadata["why"] == "moved"


def test_paused_collection_is_not_the_status_paused(shop: Shop) -> None:
    made = shop.subscribe()
    paused = shop.client.subscriptions.update(made.id, {"pause_collection": {"behavior": "void"}})
    assert paused.status == "active"
    assert shop.get(f"subscriptions/{made.id}")["pause_collection"] == {
        "behavior": "void",
        "resumes_at": None,
    }
    shop.news()
    told = shop.sandbox.story("renew", subscription=made.id)
    assert shop.get(f"invoices/{told['invoice']}")["status"] == "void"
    assert "invoice.voided" in shop.types()
    cleared = shop.client.subscriptions.update(made.id, {"pause_collection": ""})
    assert cleared.pause_collection is None


def test_a_trial_without_a_card_pauses_and_resumes(shop: Shop) -> None:
    made = shop.subscribe(
        None,
        trial_period_days=7,
        trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
    )
    assert made.status == "trialing"
    assert shop.get(f"invoices/{made.latest_invoice}")["status"] == "paid"
    shop.news()
    shop.sandbox.story("renew", subscription=made.id)
    assert shop.types() == ["customer.subscription.updated", "customer.subscription.paused"]
    assert shop.get(f"subscriptions/{made.id}")["status"] == "paused"
    card = shop.client.payment_methods.attach("pm_card_visa", {"customer": made.customer})
    shop.client.customers.update(
        made.customer, {"invoice_settings": {"default_payment_method": card.id}}
    )
    shop.news()
    resumed = shop.client.subscriptions.resume(made.id)
    assert resumed.status == "active"
    types = shop.types()
    assert types[0] == "invoice.created"
    assert types[-2:] == ["customer.subscription.updated", "customer.subscription.resumed"]
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.subscriptions.resume(made.id)


def test_a_trial_with_a_card_becomes_active(shop: Shop) -> None:
    made = shop.subscribe(trial_period_days=7)
    shop.sandbox.story("renew", subscription=made.id)
    after = shop.get(f"subscriptions/{made.id}")
    assert after["status"] == "active"
    assert after["items"]["data"][0]["current_period_start"] == made.trial_end
    early = shop.subscribe(trial_period_days=7)
    shop.news()
    ended = shop.client.subscriptions.update(early.id, {"trial_end": "now"})
    assert ended.status == "active"
    (told,) = (e for e in shop.news() if e["type"] == "customer.subscription.updated")
    previous = told["data"]["previous_attributes"]
    assert (previous["status"], previous["trial_end"]) == ("trialing", early.trial_end)
    invoice = shop.get(f"invoices/{ended.latest_invoice}")
    assert (invoice["status"], invoice["amount_paid"]) == ("paid", 3000)


def test_the_end_of_a_trial_is_announced_three_days_before(shop: Shop) -> None:
    shop.subscribe(trial_period_days=2)
    assert "customer.subscription.trial_will_end" in shop.types()
    long = shop.subscribe(trial_period_days=20)
    assert "customer.subscription.trial_will_end" not in shop.types()
    soon = long.created + 86400
    shop.client.subscriptions.update(long.id, {"trial_end": soon})
    assert shop.types()[-1] == "customer.subscription.trial_will_end"


def test_a_card_that_is_refused_makes_no_customer(shop: Shop) -> None:
    with pytest.raises(stripe.CardError) as refused:
        shop.client.customers.create(
            {"email": "refused@example.com", "payment_method": "pm_card_visa_chargeDeclined"}
        )
    assert refused.value.code == "card_declined"
    assert shop.get("customers", email="refused@example.com")["data"] == []


def test_a_change_of_plan_is_prorated(shop: Shop) -> None:
    made = shop.subscribe()
    item = made["items"].data[0].id
    shop.news()
    changed = shop.client.subscriptions.update(
        made.id,
        {
            "items": [{"id": item, "price": shop.bigger}],
            "proration_behavior": "always_invoice",
        },
    )
    assert changed["items"].data[0].price.id == shop.bigger
    assert changed["items"].data[0].id == item
    invoice = shop.get(f"invoices/{changed.latest_invoice}")
    assert invoice["billing_reason"] == "subscription_update"
    amounts = sorted(line["amount"] for line in invoice["lines"]["data"])
    assert amounts[0] < 0 < amounts[1]
    assert 5990 <= invoice["amount_paid"] <= 6000
    assert shop.types()[:3] == ["invoiceitem.created", "invoiceitem.created", "invoice.created"]
    shop.client.subscriptions.update(made.id, {"items": [{"id": item, "quantity": 2}]})
    waiting = {"customer": made.customer, "pending": "true"}
    assert len(shop.get("invoiceitems", **waiting)["data"]) == 2
    told = shop.sandbox.story("renew", subscription=made.id)
    assert len(shop.get(f"invoices/{told['invoice']}")["lines"]["data"]) == 3
    assert shop.get("invoiceitems", **waiting)["data"] == []


def test_an_invoice_goes_every_way(shop: Shop) -> None:
    def drafted(**fields: Any) -> str:
        customer = shop.customer()
        shop.client.invoice_items.create(
            {"customer": customer, "amount": 4000, "currency": "usd", "description": "Work"}
        )
        made: Any = {
            "customer": customer,
            "pending_invoice_items_behavior": "include",
            **fields,
        }
        invoice = shop.client.invoices.create(made)
        assert (invoice.status, invoice.amount_due, invoice.parent) == ("draft", 4000, None)
        shop.news()
        return invoice.id

    paid = shop.client.invoices.pay(drafted())
    assert paid.status == "paid"
    assert shop.types() == PAID_INVOICE
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.invoices.pay(paid.id)
    outside = shop.client.invoices.pay(
        drafted(), {"paid_out_of_band": True, "expand": ["amount_paid_off_stripe"]}
    )
    assert (outside.status, outside.amount_paid, outside.amount_paid_off_stripe) == (
        "paid", 4000, 4000,
    )  # fmt: skip
    types = shop.types()
    assert "charge.succeeded" not in types
    assert types[-2:] == ["invoice.updated", "invoice.paid"]
    open_ = shop.client.invoices.finalize_invoice(drafted())
    shop.news()
    assert shop.client.invoices.void_invoice(open_.id).status == "void"
    assert shop.types() == ["payment_intent.canceled", "invoice.updated", "invoice.voided"]
    written_off = drafted()
    shop.client.invoices.finalize_invoice(written_off)
    assert shop.client.invoices.mark_uncollectible(written_off).status == "uncollectible"
    assert shop.types()[-1] == "invoice.marked_uncollectible"
    assert shop.client.invoices.pay(written_off).status == "paid"
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.invoices.send_invoice(drafted())
    by_mail = drafted(collection_method="send_invoice", days_until_due=14)
    shop.client.invoices.send_invoice(by_mail)
    assert shop.types()[-1] == "invoice.sent"


def test_a_long_invoice_pages_its_lines(shop: Shop) -> None:
    customer = shop.customer()
    for n in range(23):
        shop.client.invoice_items.create(
            {"customer": customer, "amount": 100 + n, "currency": "usd"}
        )
    invoice = shop.client.invoices.create(
        {"customer": customer, "pending_invoice_items_behavior": "include"}
    )
    assert len(invoice.lines.data) == 10
    assert invoice.lines.has_more
    assert invoice.amount_due == sum(100 + n for n in range(23))
    lines = shop.client.invoices.line_items.list(invoice.id, {"limit": 5})
    assert [line.amount for line in lines.auto_paging_iter()] == [100 + n for n in range(23)]


def test_refunds_add_up_and_can_fail(shop: Shop) -> None:
    charge = shop.sandbox.story("buy_pack", price=shop.pack)["charge"]
    shop.news()
    first = shop.client.refunds.create({"charge": charge, "amount": 500})
    events = shop.news()
    assert [event["type"] for event in events] == [
        "refund.created",
        "charge.refunded",
        "refund.updated",
        "charge.refund.updated",
    ]
    assert events[1]["data"]["previous_attributes"] == {"amount_refunded": 0}
    assert (first.amount, first.status) == (500, "succeeded")
    with pytest.raises(stripe.InvalidRequestError) as much:
        shop.client.refunds.create({"charge": charge, "amount": 1001})
    assert much.value.param == "amount"
    shop.client.refunds.create({"charge": charge})
    full = shop.get(f"charges/{charge}", **{"expand[]": "refunds"})
    assert (full["amount_refunded"], full["refunded"]) == (1500, True)
    assert [made["amount"] for made in full["refunds"]["data"]] == [1000, 500]
    with pytest.raises(stripe.InvalidRequestError) as again:
        shop.client.refunds.create({"charge": charge})
    assert again.value.code == "charge_already_refunded"
    shop.news()
    shop.sandbox.story("fail_refund", refund=first.id)
    assert shop.types() == ["refund.updated", "charge.refund.updated", "refund.failed"]
    after = shop.get(f"charges/{charge}")
    assert (after["amount_refunded"], after["refunded"]) == (1000, False)
    failed = shop.get(f"refunds/{first.id}")
    assert (failed["status"], failed["failure_reason"]) == ("failed", "expired_or_canceled_card")
    back = shop.get(f"balance_transactions/{failed['failure_balance_transaction']}")
    assert (back["amount"], back["reporting_category"]) == (500, "refund_failure")


def test_test_cards_make_refunds_fail_or_wait(shop: Shop) -> None:
    def pay(card: str) -> str:
        intent = shop.client.payment_intents.create(
            {"amount": 900, "currency": "usd", "payment_method": card, "confirm": True}
        )
        return intent.id

    answered = shop.client.refunds.create({"payment_intent": pay("pm_card_refundFail")})
    assert answered.status == "succeeded"
    assert shop.get(f"refunds/{answered.id}")["status"] == "failed"
    waiting = shop.client.refunds.create({"payment_intent": pay("pm_card_pendingRefund")})
    assert waiting.status == "pending"
    assert shop.client.refunds.cancel(waiting.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        shop.client.refunds.cancel(answered.id)


def test_chargebacks_move_money_and_inquiries_do_not(shop: Shop) -> None:
    def disputed(**params: Any) -> str:
        charge = shop.sandbox.story("buy_pack", price=shop.pack)["charge"]
        shop.news()
        return str(shop.sandbox.story("dispute", charge=charge, **params)["dispute"])

    won = disputed()
    assert shop.types() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe.InvalidRequestError) as refused:
        shop.client.refunds.create({"charge": shop.get(f"disputes/{won}")["charge"]})
    assert refused.value.code == "charge_disputed"
    shop.sandbox.story("close_dispute", dispute=won, won=True)
    assert shop.types() == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    moved = shop.get(f"disputes/{won}")["balance_transactions"]
    assert [(made["amount"], made["fee"], made["net"]) for made in moved] == [
        (-1500, 1500, -3000),
        (1500, -1500, 3000),
    ]
    lost = shop.client.disputes.close(disputed())
    assert lost.status == "lost"
    assert shop.types()[-1] == "charge.dispute.closed"
    inquiry = disputed(inquiry=True)
    assert shop.types() == ["charge.dispute.created"]
    assert shop.get(f"disputes/{inquiry}")["status"] == "warning_needs_response"
    shop.sandbox.story("close_dispute", dispute=inquiry)
    ended = shop.get(f"disputes/{inquiry}")
    assert (ended["status"], ended["balance_transactions"]) == ("warning_closed", [])


def test_test_cards_are_disputed_at_once(shop: Shop) -> None:
    for card, status in (
        ("pm_card_createDispute", "needs_response"),
        ("pm_card_createDisputeInquiry", "warning_needs_response"),
    ):
        intent = shop.client.payment_intents.create(
            {"amount": 900, "currency": "usd", "payment_method": card, "confirm": True}
        )
        found = shop.client.disputes.list({"payment_intent": intent.id}).data
        assert [made.status for made in found] == [status]
    evidence: Any = {"evidence": {"uncategorized_text": "winning_evidence"}}
    case = shop.client.disputes.list({"limit": 1}).data[0].id
    assert shop.client.disputes.update(case, evidence).status == "warning_closed"


def test_an_authorisation_is_captured_or_cancelled(shop: Shop) -> None:
    def authorised() -> str:
        intent = shop.client.payment_intents.create(
            {
                "amount": 2000,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "capture_method": "manual",
            }
        )
        assert (intent.status, intent.amount_capturable) == ("requires_capture", 2000)
        return intent.id

    taken = shop.client.payment_intents.capture(authorised(), {"amount_to_capture": 1500})
    assert (taken.status, taken.amount_received) == ("succeeded", 1500)
    shop.news()
    dropped = shop.client.payment_intents.cancel(authorised())
    assert dropped.status == "canceled"
    assert shop.types()[-1] == "payment_intent.canceled"
    with pytest.raises(stripe.InvalidRequestError) as wrong:
        shop.client.payment_intents.capture(dropped.id)
    assert wrong.value.code == "payment_intent_unexpected_state"


def test_foreign_money_is_settled_in_dollars(shop: Shop) -> None:
    for currency, amount, cents, rate in (("eur", 1000, 1080, 1.08), ("jpy", 1000, 670, 0.0067)):
        intent = shop.client.payment_intents.create(
            {
                "amount": amount,
                "currency": currency,
                "payment_method": "pm_card_visa",
                "confirm": True,
            }
        )
        charge = shop.get(f"charges/{intent.latest_charge}")
        booked = shop.get(f"balance_transactions/{charge['balance_transaction']}")
        assert (booked["amount"], booked["currency"]) == (cents, "usd")
        assert booked["exchange_rate"] == rate
        assert booked["net"] == cents - booked["fee"]
        assert booked["fee"] == round(cents * 0.029) + 30
        found = shop.get("balance_transactions", source=charge["id"], type="charge")["data"]
        assert [made["id"] for made in found] == [booked["id"]]


def test_a_changed_price_shows_in_its_subscriptions(shop: Shop) -> None:
    made = shop.subscribe()
    shop.client.prices.update(shop.plan, {"metadata": {"lead_credits": "50"}})
    item = shop.get(f"subscriptions/{made.id}")["items"]["data"][0]
    assert item["price"]["metadata"] == item["plan"]["metadata"] == {"lead_credits": "50"}


def test_stories_refuse_what_makes_no_sense(shop: Shop) -> None:
    made = shop.subscribe()
    for name, body, message in (
        ("renew", {}, "Missing required param: subscription"),
        ("renew", {"subscription": "sub_none"}, "No such subscription"),
        ("renew", {"subscription": made.id, "fail": "yes"}, "Invalid fail"),
        ("renew", {"subscription": made.id, "quickly": True}, "has no quickly"),
        ("buy_pack", {"price": shop.pack, "quantity": 0}, "at least 1"),
        ("buy_pack", {"price": shop.pack, "async": "maybe"}, "Invalid async"),
        ("dance", {}, "There is no story dance"),
    ):
        with pytest.raises(AssertionError, match=message):
            shop.sandbox.control(f"stories/{name}", **body)


def test_the_portal_has_sessions(shop: Shop) -> None:
    customer = shop.customer()
    session = shop.client.billing_portal.sessions.create(
        {"customer": customer, "return_url": "https://x.example/account"}
    )
    assert session.url.startswith(shop.sandbox.url)
    assert session.customer == customer

"""Setup intents: a card is checked and kept, or refused, or nobody wants it any more."""

import pytest
import stripe

from tests.sandbox.server import SandboxProcess
from tests.sandbox.typing_of import resource_problems


def told(sandbox: SandboxProcess, id: str) -> list[str]:  # noqa: A002
    """The types of the events about the object `id`, oldest first."""
    events = sandbox.get("/v1/events", limit=100).json()["data"]
    return [made["type"] for made in reversed(events) if made["data"]["object"].get("id") == id]


def test_a_card_is_kept_for_later(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    customer = client.customers.create({"email": "a@example.com"}).id
    intent = client.setup_intents.create({"customer": customer, "description": "For renewals"})
    assert (intent.status, intent.usage) == ("requires_payment_method", "off_session")
    chosen = client.setup_intents.update(intent.id, {"payment_method": "pm_card_visa"})
    assert chosen.status == "requires_confirmation"
    kept = client.setup_intents.confirm(intent.id)
    assert (kept.status, kept.customer) == ("succeeded", customer)
    method = client.payment_methods.retrieve(str(kept.payment_method))
    assert method.customer == customer
    assert told(shared, intent.id) == ["setup_intent.created", "setup_intent.succeeded"]
    assert told(shared, method.id) == ["payment_method.attached"]
    assert [one.id for one in client.setup_intents.list({"customer": customer}).data] == [kept.id]
    shown = shared.get(f"/v1/setup_intents/{intent.id}").json()
    assert resource_problems(shown) == []
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        client.setup_intents.cancel(intent.id)


def test_a_refused_card_is_not_kept_and_another_can_be_tried(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    intent = client.setup_intents.create({})
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        client.setup_intents.confirm(intent.id)
    with pytest.raises(stripe.CardError) as refused:
        client.setup_intents.confirm(intent.id, {"payment_method": "pm_card_chargeDeclined"})
    error = refused.value.error
    assert error is not None
    assert (error.code, error.decline_code) == ("card_declined", "generic_decline")
    assert error.setup_intent is not None
    shown = shared.get(f"/v1/setup_intents/{intent.id}").json()
    assert (shown["status"], shown["payment_method"]) == ("requires_payment_method", None)
    assert shown["last_setup_error"]["payment_method"]["card"]["last4"] == "0002"
    assert resource_problems(shown) == []
    again = client.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})
    assert (again.status, again.last_setup_error) == ("succeeded", None)
    assert told(shared, intent.id) == [
        "setup_intent.created",
        "setup_intent.setup_failed",
        "setup_intent.succeeded",
    ]


def test_an_intent_that_nobody_needs_is_canceled(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    intent = client.setup_intents.create({"metadata": {"order": "7"}})
    gone = client.setup_intents.cancel(intent.id, {"cancellation_reason": "abandoned"})
    assert (gone.status, gone.cancellation_reason) == ("canceled", "abandoned")
    assert told(shared, intent.id) == ["setup_intent.created", "setup_intent.canceled"]
    with pytest.raises(stripe.InvalidRequestError, match="status of canceled"):
        client.setup_intents.confirm(intent.id, {"payment_method": "pm_card_visa"})


def test_checkout_in_setup_mode_refuses_a_declined_card_and_stays_open(
    shared: SandboxProcess,
) -> None:
    client = shared.stripe.v1
    session = client.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "success_url": "https://x.example"}
    )
    confirm = f"/v1/payment_pages/{session.id}/confirm"
    declined = shared.post(confirm, {"payment_method": "pm_card_chargeDeclined"})
    assert declined.status_code == 402
    assert declined.json()["error"]["setup_intent"]["status"] == "requires_payment_method"
    assert client.checkout.sessions.retrieve(session.id).status == "open"
    done = shared.post(confirm, {"payment_method": "pm_card_visa"}).json()
    assert done["status"] == "complete"
    kept = client.setup_intents.retrieve(done["setup_intent"])
    assert kept.status == "succeeded"


def test_a_recurring_price_is_a_plan_too(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    product = client.products.create({"name": "Leads"}).id
    made = client.prices.create(
        {
            "product": product,
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        }
    )
    client.prices.update(made.id, {"nickname": "Starter"})
    client.prices.update(made.id, {"tax_behavior": "exclusive"})
    assert told(shared, made.id) == [
        "plan.created",
        "price.created",
        "plan.updated",
        "price.updated",
        "price.updated",
    ]
    once = client.prices.create({"product": product, "currency": "usd", "unit_amount": 900})
    assert told(shared, once.id) == ["price.created"]
    changed = shared.get("/v1/events", type="plan.updated").json()["data"][0]["data"]
    assert changed["previous_attributes"] == {"nickname": None}
    assert resource_problems(changed["object"]) == []


@pytest.mark.parametrize(
    ("iban", "status", "last"),
    [
        ("AT611904300234573201", "succeeded", "payment_intent.succeeded"),
        ("DE62 3704 0044 0532 0130 01", "requires_payment_method", "payment_intent.payment_failed"),
        ("AT321904300235473204", "processing", "payment_intent.processing"),
    ],
)
def test_some_bank_accounts_answer_at_once(
    shared: SandboxProcess, iban: str, status: str, last: str
) -> None:
    client = shared.stripe.v1
    account = client.payment_methods.create({"type": "sepa_debit", "sepa_debit": {"iban": iban}})
    assert account.sepa_debit is not None
    assert account.sepa_debit.country == iban[:2]
    intent = client.payment_intents.create(
        {
            "amount": 500,
            "currency": "eur",
            "payment_method": account.id,
            "payment_method_types": ["sepa_debit"],
            "confirm": True,
        }
    )
    assert intent.status == status
    assert told(shared, intent.id)[-1] == last
    for path in (f"payment_methods/{account.id}", f"charges/{intent.latest_charge}"):
        assert resource_problems(shared.get(f"/v1/{path}").json()) == []

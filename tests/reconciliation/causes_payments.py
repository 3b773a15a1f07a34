"""Causes at payments and credits: what was paid and not granted, and what was not taken back."""

from django.utils import timezone

from billing.diagnosis.kinds import Kind
from billing.models import BillingPayment, CreditEntry, CreditPrice, LeadClaim
from billing.operations.credits import GrantCredits
from tests.operations.shop import BOB
from tests.reconciliation.causes_subscriptions import REPLAYS, paid_bill
from tests.reconciliation.town import Expected, Town, restore, run_sql

COMPLETED = "checkout.session.completed"
REFUND = ("refund.created", "refund.updated", "charge.refund.updated")
DISPUTED = ("charge.dispute.created", "charge.dispute.funds_withdrawn")
GRANTS, CORRECTS = "grant_purchase", "correct_balance"


def pack_whose_event_is_lost(town: Town) -> Expected:
    """They buy a pack, and the one event that grants it never comes."""
    who = town.subscriber()
    bought = town.tell("buy_pack", customer=who.customer, user_id=who.user_id, price=town.pack)
    [_] = town.lose(COMPLETED)
    return Expected(Kind.PACK_NOT_GRANTED, bought["checkout_session"], REPLAYS, who.user_id)


def guest_s_pack_whose_event_is_lost(town: Town) -> Expected:
    """The session names the user, and no customer stands for it."""
    who = town.subscriber()
    email = town.at_stripe(f"customers/{who.customer}")["email"]
    bought = town.tell("buy_pack", email=email, user_id=who.user_id, price=town.pack)
    [_] = town.lose(COMPLETED)
    return Expected(Kind.PACK_NOT_GRANTED, bought["checkout_session"], REPLAYS, who.user_id)


def pack_whose_event_failed(town: Town) -> Expected:
    """It is received, and Stripe does not give the session's lines."""
    who = town.subscriber()
    bought = town.tell("buy_pack", customer=who.customer, user_id=who.user_id, price=town.pack)
    session = bought["checkout_session"]
    with town.fault(path=f"/v1/checkout/sessions/{session}*", status=400):
        town.bring()
    return Expected(Kind.PACK_NOT_GRANTED, session, REPLAYS, who.user_id)


def pack_of_a_price_that_was_mapped_late(town: Town) -> Expected:
    """It was worth nothing when it was bought; since then somebody has said how much it is."""
    who = town.subscriber()
    price = town.price(1100, None)
    bought = town.tell("buy_pack", customer=who.customer, user_id=who.user_id, price=price)
    town.bring()
    CreditPrice.objects.create(price_id=price, credits=11)
    return Expected(Kind.PACK_NOT_GRANTED, bought["checkout_session"], GRANTS, who.user_id)


def no_credits_this_period(town: Town) -> Expected:
    """A new plan is sold before anybody has mapped its price."""
    user, customer = town.newcomer()
    price = town.price(2100, None, **{"recurring[interval]": "month"})
    bought = town.tell("subscribe", customer=customer, user_id=user, price=price)
    town.bring()
    CreditPrice.objects.create(price_id=price, credits=21)
    return Expected(Kind.NO_CREDITS_THIS_PERIOD, bought["invoice"], GRANTS, user)


def price_unmapped(town: Town) -> Expected:
    who = town.subscriber()
    price = town.price(1300, None)
    bought = town.tell("buy_pack", customer=who.customer, user_id=who.user_id, price=price)
    town.bring()
    return Expected(Kind.PRICE_UNMAPPED, bought["checkout_session"], None, who.user_id)


def paid_by_a_stranger(town: Town) -> Expected:
    """A guest with an address that nobody here has."""
    email = f"guest{town.number()}@example.com"
    bought = town.tell("buy_pack", email=email, price=town.pack, attributed=False)
    town.bring()
    return Expected(Kind.PAYMENT_UNATTRIBUTED, bought["checkout_session"], None)


def paid_by_somebody_with_their_address(town: Town) -> Expected:
    """A guest whose address one user has: a hint."""
    who = town.subscriber()
    email = town.at_stripe(f"customers/{who.customer}")["email"]
    bought = town.tell("buy_pack", email=email, price=town.pack, attributed=False)
    town.bring()
    session = bought["checkout_session"]
    return Expected(Kind.PAYMENT_UNATTRIBUTED, session, "attribute_payment", who.user_id)


def runbook_s_grant(town: Town) -> Expected:
    """Somebody types the runbook's statement for the wrong user."""
    who = town.subscriber()
    run_sql(
        "INSERT INTO lead_credits (user_id, balance, updated_at) VALUES (%s, 7, NOW())"
        " ON CONFLICT (user_id) DO UPDATE SET balance = lead_credits.balance + 7,"
        " updated_at = NOW()",
        who.user_id,
    )
    entry = CreditEntry.objects.filter(user_id=who.user_id).latest("id")
    return Expected(Kind.GRANTED_WITHOUT_PAYMENT, f"entry:{entry.pk}", CORRECTS, who.user_id)


def agent_s_grant_and_then_the_webhook(town: Town) -> Expected:
    """The agent could not wait, and named no purchase."""
    user, customer = town.newcomer()
    town.tell("buy_pack", customer=customer, user_id=user, price=town.pack)
    GrantCredits(user_id=user, amount=37, **BOB).apply()
    entry = CreditEntry.objects.get(user_id=user)
    town.bring()
    return Expected(Kind.GRANTED_TWICE, f"entry:{entry.pk}", "take_back_credits", user)


def refund_not_taken_back(town: Town) -> Expected:
    user, _, bought = town.buyer()
    town.tell("refund", payment_intent=bought["payment_intent"])
    town.lose(*REFUND, "charge.refunded")
    return Expected(Kind.REFUND_NOT_TAKEN_BACK, bought["charge"], REPLAYS, user)


def dispute_not_taken_back(town: Town) -> Expected:
    user, _, bought = town.buyer()
    town.tell("dispute", payment_intent=bought["payment_intent"])
    town.lose(*DISPUTED)
    return Expected(Kind.DISPUTE_NOT_TAKEN_BACK, bought["charge"], REPLAYS, user)


def reversal_differs(town: Town) -> Expected:
    """A bill that brings no credits is refunded, and nobody tells of the refund itself."""
    user, customer = town.newcomer()
    paid_bill(town, customer)
    town.bring()
    charge = BillingPayment.objects.get(stripe_customer_id=customer)
    made = town.tell("refund", charge=charge.stripe_charge_id)
    town.lose(*REFUND)
    return Expected(Kind.REVERSAL_DIFFERS, made["refund"], REPLAYS, user)


def payment_differs(town: Town) -> Expected:
    """The renewal arrives whole, but for its charge."""
    who = town.subscriber()
    renewed = town.tell("renew", subscription=who.subscription)
    [event] = town.lose("charge.succeeded")
    assert renewed["invoice"]
    return Expected(Kind.PAYMENT_DIFFERS, event["data"]["object"]["id"], REPLAYS, who.user_id)


def payment_unexplained(town: Town) -> Expected:
    """The application charges a card by itself, for nothing that anybody here knows."""
    user, customer = town.newcomer()
    form = {"amount": 2500, "currency": "usd", "payment_method": "pm_card_visa"}
    made = town.post("payment_intents", customer=customer, confirm="true", **form)
    town.bring()
    return Expected(Kind.PAYMENT_UNEXPLAINED, made["latest_charge"], None, user)


def unknown_payment(town: Town) -> Expected:
    """A backup of the staging system is restored into this one: one row of it stays."""
    who, unknown = town.subscriber(), f"ch_Staging{town.number():06d}"
    restore(
        "billing_payments",
        "INSERT INTO billing_payments (stripe_charge_id, stripe_customer_id, status, amount,"
        " currency, created_at) VALUES (%s, %s, 'failed', 2900, 'usd', %s)",
        unknown,
        who.customer,
        timezone.now(),
    )
    return Expected(Kind.UNKNOWN_AT_STRIPE, unknown, None, who.user_id)


def balance_differs(town: Town) -> Expected:
    """A balance comes back from a backup, and the ledger does not."""
    who = town.subscriber()
    restore("lead_credits", "UPDATE lead_credits SET balance = 3 WHERE user_id = %s", who.user_id)
    return Expected(Kind.BALANCE_DIFFERS, who.user_id, "tie_out_balance", who.user_id)


def balance_negative(town: Town) -> Expected:
    """The same, while the constraint was gone: it does not look at what is there already."""
    who = town.subscriber()
    constraint = "lead_credits_not_negative"
    run_sql(f"ALTER TABLE lead_credits DROP CONSTRAINT {constraint}")
    restore("lead_credits", "UPDATE lead_credits SET balance = -5 WHERE user_id = %s", who.user_id)
    run_sql(f"ALTER TABLE lead_credits ADD CONSTRAINT {constraint} CHECK (balance >= 0) NOT VALID")
    return Expected(Kind.BALANCE_NEGATIVE, who.user_id, "tie_out_balance", who.user_id)


def claim_debited(town: Town) -> Expected:
    """The application takes the credits of a claim, which then fails."""
    who = town.subscriber()
    run_sql("UPDATE lead_credits SET balance = balance - 4 WHERE user_id = %s", who.user_id)
    claim = LeadClaim.objects.create(
        user_id=who.user_id,
        lead_id="lead_7",
        credits_spent=4,
        status=LeadClaim.Status.FAILED,
        failure_reason="Lead was sold",
    )
    return Expected(Kind.CLAIM_DEBITED, f"claim:{claim.pk}", "refund_claim", who.user_id)


def stray_debit(town: Town) -> Expected:
    """Somebody types over a balance, and no claim explains it."""
    who = town.subscriber()
    run_sql("UPDATE lead_credits SET balance = balance - 6 WHERE user_id = %s", who.user_id)
    entry = CreditEntry.objects.filter(user_id=who.user_id).latest("id")
    return Expected(Kind.RAW_SQL, f"entry:{entry.pk}", CORRECTS, who.user_id)

"""The three support scripts: steps with their evidence, one fix, and a reply free of ids."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Facts, Person
from billing.diagnosis.findings import Evidence, Finding, Fix, Report, Severity
from billing.diagnosis.kinds import Kind
from billing.diagnosis.replies import reply, safe, was_mended
from billing.diagnosis.runbook import BY_SLUG, CANCELLED, NO_ACCESS, NO_CREDITS, SCRIPTS
from billing.diagnosis.scripts import Followed, Script, State, follow
from tests.diagnosis.planting import deliver_all_but, fix, subscribed
from tests.operations.shop import Shop, balance, status_here
from tests.sandbox.server import SandboxProcess

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ID = re.compile(r"\w+_\w+|\S+@\S+")


def followed(script: Script, who: str = "u_ada") -> Followed:
    return follow(script, *examine(Person.of_user(who), ask_stripe=True))


def told(done: Followed) -> str:
    said = reply(done, mended=was_mended(done.case.facts))
    assert not ID.search(said), said
    return said


def states(done: Followed) -> list[str]:
    return [step.outcome.state.value for step in done.steps]


def test_they_have_the_runbooks_lines_in_its_order() -> None:
    """P1, P2, P3."""
    assert [[line for line, _ in script.lines] for script in SCRIPTS] == [
        [
            "Look up customer by email in Stripe Dashboard",
            "Check subscription status and recent invoices",
            "Check database subscription record",
            "If mismatch, sync from Stripe or manually update",
            "If webhook issue, replay the event",
        ],
        [
            "Find the payment in Stripe Dashboard",
            "Check for corresponding webhook event in billing_events",
            "If event missing, manually replay webhook",
            "If event present, manually grant credits",
            "Add audit log entry",
        ],
        [
            "Check for failed payment in Stripe",
            "Guide user to Customer Portal to update payment method",
            "If payment method valid, check for webhook issues",
            "Manually reactivate subscription if appropriate",
        ],
    ]
    assert BY_SLUG.keys() == {"no-access", "no-credits", "cancelled"}


@pytest.mark.django_db
def test_paid_and_no_access(shop: Shop) -> None:
    """P1: the notice that the late renewal was paid never came; its replay mends it."""
    sub = subscribed(shop)
    late = shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    shop.sandbox.story("pay_invoice", invoice=late["invoice"])
    deliver_all_but(shop, "customer.subscription.updated")

    before = followed(NO_ACCESS)
    assert states(before) == ["fine", "fine", "found", "found", "found"]
    assert before.recommended is not None
    assert before.recommended.kind == Kind.PAID_NOT_ACTIVE
    assert "never arrived" in before.steps[4].outcome.said
    assert "Your payment arrived, but our system missed the notice" in told(before)
    assert before.well == ""

    fix(before.recommended)
    assert status_here(sub) == "active"
    after = followed(NO_ACCESS)
    assert (after.recommended, states(after)) == (None, ["fine"] * 5)
    assert "here and at Stripe" in after.well
    assert "This is put right now. Your subscription is active until" in told(after)


@pytest.mark.django_db
def test_charged_and_no_credits(shop: Shop) -> None:
    """P2: the pack's event got lost."""
    shop.deliver()
    made = {"email": "ada@example.com", "metadata": {"user_id": "u_ada"}}
    customer = shop.sandbox.stripe.v1.customers.create(made)
    shop.deliver()
    shop.buy(customer=customer.id)

    before = followed(NO_CREDITS)
    assert states(before) == ["fine", "found", "found", "fine", "fine"]
    assert "45.00 USD" in before.steps[0].outcome.evidence[0].value
    assert before.recommended is not None
    assert before.recommended.kind == Kind.PACK_NOT_GRANTED
    assert "We are adding them now." in told(before)
    assert before.steps[3].outcome.said.startswith("Not by hand:")
    assert "writes its own audit entry" in before.steps[4].outcome.said

    fix(before.recommended)
    assert balance("u_ada") == (50, 0)
    after = followed(NO_CREDITS)
    assert (after.recommended, states(after)) == (None, ["fine"] * 5)
    said = told(after)
    assert "Your payment of 45.00 USD on" in said
    assert "its 50 credits were added" in said
    assert "Your balance is 50 credits now." in said
    assert "We are sorry that they came late." in said


@pytest.mark.django_db
def test_cancelled_after_failed_payments(shop: Shop) -> None:
    """P3: the card failed until Stripe gave up; only a new subscription will do."""
    sub = subscribed(shop)
    shop.sandbox.story("unpaid", subscription=sub)
    shop.sandbox.stripe.v1.subscriptions.cancel(sub)
    shop.deliver()
    done = followed(CANCELLED)
    assert done.recommended is not None
    assert done.steps[0].outcome.state == State.FOUND
    assert "over for good" in done.steps[3].outcome.said
    assert told(done)


@pytest.mark.django_db
def test_past_due_leads_to_the_portal(shop: Shop) -> None:
    """P3: nothing is cancelled yet, the card is declined."""
    shop.sandbox.story("past_due", subscription=subscribed(shop))
    shop.deliver()
    done = followed(CANCELLED)
    assert done.recommended is not None
    assert done.recommended.fix is not None
    assert done.recommended.fix.operation == "create_portal_link"
    assert states(done)[:2] == ["found", "found"]
    said = told(done)
    assert "Your last payment of 29.00 USD did not go through" in said
    assert "We are sending you a link with which you can update it." in said


@pytest.mark.django_db
def test_cancelled_by_the_customer_and_still_running(shop: Shop) -> None:
    """P3: it is set to end, and reactivating keeps it."""
    shop.sandbox.story("cancel", subscription=subscribed(shop), at_period_end=True)
    shop.deliver()
    done = followed(CANCELLED)
    assert done.recommended is not None
    assert done.recommended.kind == Kind.CANCELLATION_SCHEDULED
    assert "reactivating it keeps it" in done.steps[3].outcome.said
    assert "Tell us if you would like to keep it" in told(done)
    fix(done.recommended)
    after = followed(CANCELLED)
    assert after.recommended is None
    assert "Your subscription is active until" in told(after)


@pytest.mark.django_db
def test_all_is_well(shop: Shop) -> None:
    """P1, P2, P3 with somebody with whom nothing is wrong: the script says why."""
    subscribed(shop)
    assert states(followed(NO_ACCESS)) == ["fine"] * 5
    assert "logged in as somebody else than user u_ada" in followed(NO_ACCESS).well
    assert "log out, and log in again" in told(followed(NO_ACCESS))
    assert "brought 20 credits" in followed(NO_CREDITS).well
    assert "nothing is set to end it" in followed(CANCELLED).well


@pytest.mark.django_db
def test_a_silent_stripe_leaves_steps_open(shop: Shop, sandbox: SandboxProcess) -> None:
    subscribed(shop)
    sandbox.control("faults", path="/v1/*", status=503)
    done = followed(NO_ACCESS)
    assert states(done) == ["unknown", "unknown", "fine", "unknown", "unknown"]
    assert (done.recommended, done.well) == (None, "")
    assert "We are looking into this" in told(done)


@pytest.mark.django_db
def test_somebody_who_never_paid(shop: Shop) -> None:
    made = {"email": "ada@example.com", "metadata": {"user_id": "u_ada"}}
    shop.sandbox.stripe.v1.customers.create(made)
    shop.deliver()
    assert "search for those" in followed(NO_ACCESS).well
    assert "could not find a subscription" in told(followed(NO_ACCESS))
    assert "could not find a payment" in told(followed(NO_CREDITS))
    assert "Your balance is 0 credits now." in told(followed(NO_CREDITS))
    assert states(followed(NO_CREDITS))[0] == "found"


PREFIXES = ["cus", "sub", "in", "pi", "ch", "re", "cs", "evt", "price", "pm", "we", "u", "user"]
ids = st.builds(
    "{}_{}".format,
    st.sampled_from(PREFIXES),
    st.text("abcXYZ0189", min_size=1, max_size=24),
)
EVE = ("eve@example.net", "Eve Moneypenny")  # of somebody else
secrets = st.one_of(ids, st.sampled_from(EVE))
words = st.lists(st.one_of(secrets, st.sampled_from(["Declined", "by", "the", "bank"])), max_size=6)


@given(
    script=st.sampled_from(SCRIPTS),
    kind=st.sampled_from(Kind),
    severity=st.sampled_from(Severity),
    inside=words,
    bank=st.lists(st.one_of(ids, st.just(EVE[0]), st.sampled_from(["card", "stolen"])), max_size=4),
    operation=st.sampled_from(["replay_events", "create_portal_link", "void_invoice"]),
    mended=st.booleans(),
)
def test_no_reply_has_an_id_or_anybody_else_in_it(
    script: Script,
    kind: Kind,
    severity: Severity,
    inside: list[str],
    bank: list[str],
    operation: str,
    mended: bool,
) -> None:
    """Verdicts, evidence and fixes are never quoted; what a bank said is, without its ids."""
    telling = " ".join(inside)
    finding = Finding(
        kind,
        severity,
        "sub_1",
        telling,
        (Evidence(telling, telling, "cus_1"),),
        Fix(operation, {"customer": "cus_1"}),
        for_customer=f"It did not go through ({' '.join(bank)}). Ask your bank.",
    )
    facts = Facts(Person("user-4711", ("cus_1",)), NOW)
    said = reply(follow(script, facts, Report([finding], NOW)), mended=mended)
    assert not ID.search(said), said
    assert "user-4711" not in said
    assert not any(each in said for each in EVE)


@given(st.text(max_size=200), st.text(max_size=20))
def test_making_a_text_safe_never_fails(text: str, user_id: str) -> None:
    assert not ID.search(safe(text, user_id))


def test_what_is_safe_stays_as_it_is() -> None:
    text = "Your payment of 45.00 USD (insufficient funds) on 4 November 2026 arrived."
    assert safe(text, "45") == text
    assert safe("Failed (No such method: pm_1). Try again.", "") == "Failed. Try again."
    assert safe("User auth0|77 has none.", "auth0|77") == "User … has none."

"""`manage.py diagnose`: whom it is about, what is wrong with them, and what mends it."""

import shlex

import pytest
from django.core.management import load_command_class

from billing.diagnosis.findings import Fix
from billing.management.command_lines import COMMANDS, arguments, command_line
from billing.models import BillingCustomer, InboxEvent
from billing.operations.base import Actor
from billing.operations.registry import BY_NAME
from tests.commands.conftest import Ran, Run
from tests.operations.shop import Shop, balance
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver_and_drain, events_of

pytestmark = pytest.mark.django_db

# What a check fills in, for every operation that a command line is made for.
RECOMMENDED = {
    "sync_from_stripe": {"kind": "subscription", "id": "sub_1"},
    "replay_events": {"event_ids": ["evt_1", "evt_2"]},
    "grant_purchase": {"purchase_id": "cs_1"},
    "attribute_payment": {"purchase_id": "cs_1", "user_id": "u ada"},
    "refund_claim": {"claim_id": 7},
    "correct_balance": {"user_id": "u_ada", "balance": 25},
    "tie_out_balance": {"user_id": "u_ada"},
    "reactivate_subscription": {"subscription_id": "sub_1"},
    "cancel_at_period_end": {"subscription_id": "sub_1"},
    "end_override": {"subscription_id": "sub_1"},
    "pay_invoice": {"invoice_id": "in_1"},
    "resend_invoice": {"invoice_id": "in_1"},
    "void_invoice": {"invoice_id": "in_1"},
    "create_portal_link": {"customer": "cus_1"},
    "create_checkout_link": {"customer": "cus_1", "price": "price_1"},
}


def lost_pack(shop: Shop, user: str = "u_ada", email: str = "ada@example.com") -> str:
    """A customer whose pack is paid and of whose purchase no event ever came; their id."""
    made = {"email": email, "name": "Ada Keller", "metadata": {"user_id": user}}
    customer = str(shop.sandbox.stripe.v1.customers.create(made).id)
    shop.deliver()
    shop.buy(customer=customer, user_id=user)
    return customer


def as_typed(ran: Ran) -> list[str]:
    """The command line of the one fix, split as a shell would, without `manage.py`."""
    [line] = [line for line in ran.stdout.splitlines() if line.startswith("  fix: ")]
    return shlex.split(line.removeprefix("  fix: "))[1:]


def test_a_lost_pack_is_named_and_what_it_prints_mends_it(run: Run, shop: Shop) -> None:
    """W2, C1: from the email to the finding, and from its command line to the credits."""
    customer = lost_pack(shop)
    ran = run("diagnose", "ADA@example.com")
    assert (ran.code, ran.error) == (1, "1 finding.")
    assert ran.stdout.startswith(
        f"Ada Keller, ada@example.com, user u_ada, {customer}, test mode\nStripe was asked at "
    )
    assert "money  Pack paid, not granted  (pack_not_granted)" in ran.stdout
    assert "They paid 45.00 USD for 50 credits, which were never granted." in ran.stdout
    assert "  - Checkout session: paid, 45.00 USD (cs_" in ran.stdout

    command, *rest = as_typed(ran)
    assert command == "replay_events"
    assert run(command, *rest).code == 0
    assert balance("u_ada") == (50, 0)
    well = run("diagnose", customer)
    assert (well.code, well.error) == (0, "")
    assert "Nothing is wrong: " in well.stdout


def test_the_json_is_as_agreed(run: Run, shop: Shop) -> None:
    customer = lost_pack(shop)
    ran = run("diagnose", "u_ada", "--json")
    assert ran.code == 1
    said = ran.document
    assert said["status"] == "attention"
    row = BillingCustomer.objects.get()
    assert said["customer"] == {
        "email": "ada@example.com",
        "name": "Ada Keller",
        "user_id": "u_ada",
        "stripe_customer_ids": [customer],
        "livemode": False,
        "created": f"{row.created_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    [finding] = said["findings"]
    assert {"kind", "severity", "subject", "verdict", "evidence", "fix"} <= set(finding)
    assert (finding["kind"], finding["severity"]) == ("pack_not_granted", "money")
    assert finding["subject"].startswith("cs_")
    assert finding["fix"]["operation"] == "replay_events"
    assert set(finding["evidence"][0]) == {"label", "value", "id", "time"}
    assert said["asked_at"].endswith("Z")
    assert said["silence"] is None
    assert 0 < said["api_calls"] < 20


def test_nobody_with_this_name(run: Run) -> None:
    ran = run("diagnose", "nobody@example.com", "--json")
    assert ran.code == 2
    assert ran.document["status"] == "failed"
    assert (ran.document["customer"], ran.document["findings"]) == (None, [])
    assert "Nothing matches “nobody@example.com”" in ran.error


@pytest.mark.parametrize("term", ["x" * 5000, "a\x00b", "%", "'; DROP TABLE x; --", "\udcff", " "])
def test_whatever_is_typed_is_answered(run: Run, term: str) -> None:
    ran = run("diagnose", term, "--no-stripe")
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.error


def test_several_people_are_listed_to_choose_from(run: Run, shop: Shop) -> None:
    one = lost_pack(shop)
    other = lost_pack(shop, "u_adam", "adam@example.com")
    ran = run("diagnose", "ada", "keller")
    assert ran.code == 2
    assert ran.error.startswith("Several match. Be more precise, by an id for example.")
    assert f"user u_ada, {one}" in ran.error
    assert f"user u_adam, {other}" in ran.error


def test_a_silent_stripe_leaves_what_our_own_rows_tell(
    run: Run, shop: Shop, sandbox: SandboxProcess
) -> None:
    """That they tell nothing is no word that all is well: it could not finish."""
    customer = lost_pack(shop)
    sandbox.control("faults", path="/v1/*", status=503)
    ran = run("diagnose", customer, "--json")
    assert ran.code == 2
    assert "Stripe did not answer:" in ran.error
    assert ran.document["findings"] == []
    assert ran.document["silence"]

    InboxEvent.objects.filter(customer_id=customer).update(status=InboxEvent.Status.DEAD)
    ran = run("diagnose", customer, "--json")
    assert ran.code == 1
    assert "Stripe did not answer:" in ran.error
    assert ran.document["findings"]


def test_without_stripe_nothing_is_asked(run: Run, shop: Shop) -> None:
    ran = run("diagnose", lost_pack(shop), "--no-stripe", "--json")
    assert (ran.code, ran.document["findings"]) == (0, [])
    assert (ran.document["asked_at"], ran.document["api_calls"]) == (None, 0)


def test_a_customer_who_is_not_here_is_examined_at_stripe(run: Run, shop: Shop) -> None:
    """W1: the endpoint was down all the time; support has an id from the receipt."""
    bought = shop.subscribe()
    ran = run("diagnose", bought["subscription"], "--json")
    assert ran.code == 1
    assert ran.document["customer"]["stripe_customer_ids"] == [bought["customer"]]
    assert ran.document["customer"]["email"] == "ada@example.com"
    assert "paid_not_active" in [finding["kind"] for finding in ran.document["findings"]]
    assert run("diagnose", bought["subscription"], "--no-stripe").code == 2


def test_an_id_that_stripe_does_not_know_matches_nothing(run: Run, shop: Shop) -> None:
    ran = run("diagnose", "cus_unknown123456")
    assert ran.code == 2
    assert "Stripe knows no customer cus_unknown123456" in ran.error


def test_an_id_that_is_not_here_while_stripe_is_silent(
    run: Run, shop: Shop, sandbox: SandboxProcess
) -> None:
    sandbox.control("faults", path="/v1/*", status=503)
    ran = run("diagnose", "cus_unknown123456", "--json")
    assert ran.code == 2
    assert "Stripe did not answer" in ran.error
    assert ran.document["customer"] is None


def test_a_payment_of_nobody_we_know(run: Run, shop: Shop) -> None:
    """A guest paid without an account: there is no customer, and a finding."""
    bought = shop.sandbox.story("buy_pack", attributed=False, price=shop.pack, email="x@y.example")
    deliver_and_drain(events_of(shop.sandbox))
    ran = run("diagnose", bought["checkout_session"], "--json")
    assert ran.code == 1
    assert ran.document["customer"] is None
    assert [finding["kind"] for finding in ran.document["findings"]] == ["payment_unattributed"]
    assert run("diagnose", bought["checkout_session"]).stdout.startswith(
        "Nobody we know: Purchase cs_"
    )


def test_every_recommended_operation_has_a_command_line() -> None:
    """What is printed builds the operation that was recommended, with the same parameters."""
    assert set(COMMANDS) - {"take_back_credits"} == set(RECOMMENDED)  # that one: see below
    for name, params in RECOMMENDED.items():
        fix = Fix(name, params)
        command, *rest = arguments(fix)
        runner = load_command_class("billing", command)
        parsed = vars(runner.create_parser("manage.py", command).parse_args([*rest, "--reason=x"]))
        if name == "replay_events":  # it builds with what it has selected
            assert parsed["events"] == params["event_ids"]
            continue
        runner.on_progress = None  # type: ignore[attr-defined]  # the bar of a sync
        built = runner.build(parsed, actor=Actor.cli("sue"), reason="x")
        wanted = BY_NAME[name](**params, actor=Actor.cli("sue"), reason="x")
        assert (built.name, built.parameters()) == (name, wanted.parameters())


def test_a_grant_by_hand_is_taken_back_by_its_key(run: Run, shop: Shop) -> None:
    """The key that the finding names is the one that the command wants."""
    granted = run("grant_credits", "u_ada", "5", "--reason", "x", "--json").document["key"]
    params = {"user_id": "u_ada", "amount": -5, "grant": granted}
    command, *rest = arguments(Fix("take_back_credits", params))
    assert run(command, *rest, "--reason", "Twice").code == 0
    assert balance("u_ada") == (0, 0)


def test_a_command_line_is_quoted_for_the_shell() -> None:
    line = command_line(Fix("attribute_payment", {"purchase_id": "cs_1", "user_id": "u; rm -rf"}))
    assert line == "manage.py attribute_payment cs_1 'u; rm -rf' --reason '...'"


def test_its_help_has_an_example() -> None:
    parser = load_command_class("billing", "diagnose").create_parser("manage.py", "diagnose")
    assert "Example: manage.py diagnose ada@example.com --json" in parser.format_help()

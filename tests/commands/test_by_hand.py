"""The commands that record, override, replay what is found, and keep notes."""

import pytest
from django.core.management import load_command_class

from billing.models import (
    BillingEvent,
    BillingSubscription,
    InboxEvent,
    Note,
    OperationRecord,
    StatusOverride,
)
from billing.operations import approvals
from billing.operations.base import Actor
from tests.admin import rows
from tests.admin.rows import CUSTOMER
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance, record_of, status_here
from tests.support.events import deliver, events_of

pytestmark = pytest.mark.django_db
WHY = (
    "--reason", "Stripe is down", "--reason-code", "incident", "--ticket", "T-9", "--actor", "dan",
)  # fmt: skip


def test_record_subscription(run: Run, shop: Shop) -> None:
    sub = shop.subscribe(attributed=False)["subscription"]
    plan = run("record_subscription", sub, "--dry-run")
    assert plan.code == 0
    assert f"  Subscription {sub}: not here -> active" in plan.stdout
    assert "warning: Nobody knows which user this is" in plan.stdout
    assert not BillingSubscription.objects.exists()
    ran = run("record_subscription", sub, "--user", "u_eve", *WHY, "--json")
    assert (ran.code, ran.document["status"]) == (0, "done")
    assert ran.document["result"]["details"]["user_id"] == "u_eve"
    assert (status_here(sub), balance("u_eve")) == ("active", (20, 0))
    [payload] = audits("manual.subscription_recorded")
    assert (payload["admin"], payload["reason_code"], payload["ticket"]) == (
        "cli:dan", "incident", "T-9",
    )  # fmt: skip
    again = run("record_subscription", sub, *WHY, "--json")
    assert again.code == 1
    assert "there is nothing to record" in again.document["error"]


def test_override_status_and_end_override(run: Run, shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.deliver()
    BillingSubscription.objects.update(status="canceled")
    asked = ("override_status", sub, "active", "--hours", "12")
    refused = run(*asked, *WHY, "--json")
    assert refused.code == 1
    assert "sync the subscription from Stripe instead" in refused.document["error"]
    shop.sandbox.control("faults", path="/v1/subscriptions/*", status=503)
    plan = run(*asked, "--dry-run")
    assert "  Status here: canceled -> active" in plan.stdout
    assert "  approval: A status that Stripe has not confirmed" in plan.stdout
    assert not OperationRecord.objects.filter(status="requested").exists()

    ran = run(*asked, *WHY, "--json")
    assert ran.code == 1
    assert ran.document["result"]["requested"] is True
    assert status_here(sub) == "canceled"
    approvals.approve(record_of(ran.document["key"]), actor=Actor.cli("eva"), words="Yes")
    assert status_here(sub) == "active"
    assert StatusOverride.objects.get().actor == "cli:dan"

    done = run("end_override", sub, *WHY, "--json")
    assert done.code == 0
    assert done.document["result"]["details"]["status"] == "canceled"
    assert status_here(sub) == "canceled"
    nothing = run("end_override", sub, *WHY, "--json")
    assert (nothing.code, "nothing to end" in nothing.document["error"]) == (1, True)


def test_add_note_and_withdraw_note(run: Run) -> None:
    rows.customer()
    assert (
        "  Note:  -> Pays by wire" in run("add_note", CUSTOMER, "Pays by wire", "--dry-run").stdout
    )
    assert not Note.objects.exists()
    ran = run("add_note", CUSTOMER, "Pays by wire", *WHY, "--json")
    assert ran.code == 0
    number = str(ran.document["result"]["details"]["note"])
    assert Note.objects.get(pk=number).actor == "cli:dan"
    assert run("withdraw_note", number, *WHY).code == 0
    assert Note.objects.get().withdrawn_by == "cli:dan"
    assert run("withdraw_note", number, *WHY).code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("record_subscription", "in_1"), "begin with sub_"),
        (("override_status", "sub_1", "splendid", "--hours", "1"), "no status of Stripe's"),
        (("override_status", "sub_1", "active", "--hours", "100"), "from 1 to 72"),
        (("end_override", "x"), "begin with sub_"),
        (("add_note", CUSTOMER, " "), "is empty"),
        (("withdraw_note", "first"), "whole number"),
        (("replay_events", "evt_1", "--missing"), "Name events"),
        (("replay_events", "evt_1", "--type", "invoice.paid"), "Name events"),
        (("replay_events", "--type", "*"), "no type of event"),
        (("replay_events", "--status", "happy"), "no status to replay"),
        (("replay_events", "--until", "soon"), "no date or time"),
        (("replay_events", "--customer", "sub_1"), "begin with cus_"),
        (("replay_events", "--since", "2026-02-02", "--until", "2026-02-01"), "ends before"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments, *WHY, "--json")
    assert ran.code == 2
    assert said in ran.document["error"]
    assert not OperationRecord.objects.exists()


def test_replay_events_finds_what_it_is_told_to(run: Run, shop: Shop) -> None:
    shop.buy()
    shop.subscribe(user_id="u_bob", email="bob@example.com")
    plan = run("replay_events", "--missing", "--type", "checkout.session.*", "--dry-run")
    assert "2 of them: 2 checkout.session.completed." in plan.stdout
    assert "Credits of user u_ada: balance: 0 -> 50" in plan.stdout
    assert "Credits of user u_bob" not in plan.stdout  # they come with the invoice
    assert balance("u_ada") == (0, 0)

    early = run("replay_events", "--missing", "--until", "2020-01-01", *WHY, "--json")
    assert (early.code, early.document["events"]) == (0, [])
    ran = run("replay_events", "--type", "checkout.session.completed", *WHY, "--json")
    assert len(ran.document["result"]["details"]["events"]) == 2
    assert balance("u_ada") == (50, 0)
    assert balance("u_bob") == (0, 0)
    assert run("replay_events", "--missing", *WHY).code == 0
    assert balance("u_bob") == (20, 0)
    assert "Nothing is missing" in run("replay_events", "--missing", *WHY).stdout
    assert len(audits("manual.event_replay")) == 2


def test_replay_events_of_the_inbox_by_status_and_customer(run: Run, shop: Shop) -> None:
    bought = shop.subscribe()
    deliver(events_of(shop.sandbox))
    of_hers = InboxEvent.objects.filter(customer_id=bought["customer"])
    of_hers.update(status="dead", reason="It failed")
    ran = run("replay_events", "--status", "dead", "--customer", bought["customer"], *WHY, "--json")
    assert ran.code == 0
    replayed = {e["event_id"] for e in ran.document["result"]["details"]["events"]}
    assert replayed == set(of_hers.values_list("stripe_event_id", flat=True))
    assert balance("u_ada") == (20, 0)
    later = run("replay_events", "--status", "dead", "--status", "failed", *WHY, "--json")
    assert (later.code, later.document["events"]) == (0, [])
    assert BillingEvent.objects.filter(type="manual.event_replay").count() == 1


@pytest.mark.parametrize(
    "name",
    ["record_subscription", "override_status", "end_override", "add_note", "withdraw_note"],
)
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())


def test_without_stripe_they_say_so(run: Run, shop: Shop) -> None:
    shop.sandbox.stop()
    for arguments in (("record_subscription", "sub_1"), ("replay_events", "--missing")):
        ran = run(*arguments, *WHY, "--json")
        assert ran.code == 1
        assert "could not be reached" in ran.document["error"]

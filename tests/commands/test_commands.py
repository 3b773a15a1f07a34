"""The operators' commands: what they do, say, and exit with."""

import pytest
from django.core.management import load_command_class

from billing.models import BillingEvent, CreditEntry, InboxEvent, OperationRecord
from tests.commands.conftest import Run
from tests.operations.shop import Shop, audits, balance, status_here
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import run_manage
from tests.support.databases import Database
from tests.support.environment import SECRET_KEY, child_environment
from tests.support.events import deliver, events_of

WHY = ("--reason", "The customer called")
NAMES = (
    "attribute_payment", "grant_purchase", "merge_customers", "refund_claim",
    "check_alerts", "check_webhooks", "correct_balance", "grant_credits", "reactivate_subscription",
    "replay_events", "sync_from_stripe", "take_back_credits", "tie_out_balance",
)  # fmt: skip


@pytest.mark.django_db
def test_grant_credits(run: Run) -> None:
    ran = run("grant_credits", "u_ada", "50", *WHY, "--actor", "carol", "--json")
    assert (ran.code, ran.error) == (0, "")
    assert ran.document["status"] == "done"
    assert ran.document["result"]["details"]["balance_after"] == 50
    assert balance("u_ada") == (50, 0)
    assert audits("manual.credit_adjustment")[0]["admin"] == "cli:carol"

    again = run("grant_credits", "u_ada", "50", *WHY, "--key", ran.document["key"], "--json")
    assert again.document["result"]["already_done"] is True
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_the_actor_is_the_systems_user_unless_named(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "dave")
    run("grant_credits", "u_ada", "5", *WHY)
    assert CreditEntry.objects.get().actor == "cli:dave"


@pytest.mark.django_db
def test_the_readable_answer_names_what_changed(run: Run) -> None:
    ran = run("grant_credits", "u_ada", "5", *WHY)
    assert ran.stdout.splitlines() == [
        "Granted 5 credits to user u_ada.",
        "  Balance: 0 -> 5",
    ]
    ran = run("correct_balance", "u_ada", "3", *WHY)
    assert "  Balance: 5 -> 3" in ran.stdout


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        ("grant_credits", "u_ada", "50"),
        ("correct_balance", "u_ada", "50"),
    ],
)
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_shows_the_plan_and_writes_nothing(
    run: Run, arguments: tuple[str, ...], form: tuple[str, ...]
) -> None:
    ran = run(*arguments, "--dry-run", *form)
    assert ran.code == 0
    if form:
        [change] = ran.document["plan"]["changes"]
        assert change == {"label": "Balance", "before": "0", "after": "50"}
    else:
        assert "  Balance: 0 -> 50" in ran.stdout
        assert "  warning: Nothing here knows a user u_ada" in ran.stdout
    for model in (BillingEvent, CreditEntry, OperationRecord):
        assert not model.objects.exists()


@pytest.mark.django_db
def test_a_blocked_plan_needs_attention(run: Run) -> None:
    ran = run("correct_balance", "u_ada", "0", "--dry-run", "--json")
    assert (ran.code, ran.error) == (1, "The balance of user u_ada is 0 already.")
    assert ran.document["status"] == "attention"
    assert ran.document["plan"]["blocked"] == ran.error
    ran = run("correct_balance", "u_ada", "0", *WHY, "--json")
    assert ran.code == 1
    assert ran.document == {"status": "failed", "error": "The balance of user u_ada is 0 already."}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grant_credits", "u", "0", *WHY), "from 1 to"),
        (("grant_credits", "u", "-5", *WHY), "from 1 to"),
        (("grant_credits", "u", "many", *WHY), "whole number"),
        (("grant_credits", "", "5", *WHY), "user id"),
        (("grant_credits", "u", "5"), "Give a reason"),
        (("grant_credits", "u", "5", "--reason", "x" * 2001), "too long"),
        (("grant_credits", "u", "5", "--reason", "\udcff"), "UTF-8"),
        (("grant_credits", "\udcff", "5", *WHY), "UTF-8"),
        (("grant_credits", "u", "5", "--purchase", "sub_1", *WHY), "cs_ or in_ or pi_"),
        (("correct_balance", "u", "-1", *WHY), "from 0 to"),
        (("reactivate_subscription", "in_1", *WHY), "begin with sub_"),
        (("sync_from_stripe", "--customer", "sub_1", *WHY), "begin with cus_"),
        (("sync_from_stripe", "--customer", "", *WHY), "begin with cus_"),
        (("replay_events", "x", *WHY), "begin with evt_"),
        (("replay_events", *WHY), "Name events"),
        (("replay_events", "evt_1", "--undelivered", *WHY), "Name events"),
        (("replay_events", "--since", "soon", *WHY), "no date or time"),
        (("check_webhooks", "--url", "ftp://x"), "http or https"),
        (("check_webhooks", "--timeout", "0"), "time-out"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], said: str
) -> None:
    ran = run(*arguments, "--json")
    assert ran.code == 2
    assert said in ran.error
    assert ran.document == {"status": "failed", "error": ran.error}
    assert not OperationRecord.objects.exists()


@pytest.mark.django_db
def test_reactivate_and_sync(run: Run, shop: Shop) -> None:
    sub = shop.subscribe()["subscription"]
    shop.sandbox.story("past_due", subscription=sub)
    shop.deliver()
    plan = run("reactivate_subscription", sub, "--dry-run")
    assert "at Stripe: Pay invoice" in plan.stdout
    assert status_here(sub) == "past_due"
    ran = run("reactivate_subscription", sub, *WHY, "--json")
    assert ran.document["result"]["details"]["stripe_status"] == "active"
    assert run("reactivate_subscription", sub, *WHY).code == 1

    shop.sandbox.story("cancel", subscription=sub)
    plan = run("sync_from_stripe", "--subscription", sub, "--dry-run")
    assert f"Subscription {sub}: status: active -> canceled" in plan.stdout
    assert status_here(sub) == "active"
    ran = run("sync_from_stripe", "--user", "u_ada", *WHY, "--json")
    assert ran.code == 0
    assert status_here(sub) == "canceled"


@pytest.mark.django_db
def test_sync_all_prints_counts_and_what_changed(run: Run, shop: Shop) -> None:
    shop.subscribe()
    shop.buy()
    assert run("sync_from_stripe", "--all", "--dry-run", "--json").document["plan"]["changes"] == []
    ran = run("sync_from_stripe", "--all", *WHY)
    assert "  subscription: 1 read, 1 differed" in ran.stdout
    assert "+50 for user u_ada" in ran.stdout
    assert balance("u_ada") == (70, 0)
    ran = run("sync_from_stripe", "--all", *WHY, "--json")
    assert ran.document["result"]["details"]["changed"]["subscription"] == 0


@pytest.mark.django_db
def test_replay_events(run: Run, shop: Shop) -> None:
    shop.buy()
    event = shop.event_of("checkout.session.completed")
    ran = run("replay_events", event, *WHY, "--json")
    assert ran.code == 0
    [result] = ran.document["result"]["details"]["events"]
    assert (result["event_id"], result["status"]) == (event, "processed")
    assert balance("u_ada") == (50, 0)

    ran = run("replay_events", event, "evt_nothing", *WHY)
    assert ran.code == 1
    assert "evt_nothing" in ran.error
    assert "1 of 2 events were replayed." in ran.stdout
    assert balance("u_ada") == (50, 0)


@pytest.mark.django_db
def test_replay_what_stripe_could_not_deliver(run: Run, shop: Shop) -> None:
    """Nothing listens at the endpoint, so no event is delivered."""
    shop.sandbox.stripe.v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/webhooks/stripe", "enabled_events": ["*"]}
    )
    nothing = run("replay_events", "--undelivered", *WHY, "--json")
    assert (nothing.code, nothing.document["events"]) == (0, [])
    shop.buy()
    deliver(events_of(shop.sandbox)[-1:])
    plan = run("replay_events", "--undelivered", "--dry-run", "--json")
    assert InboxEvent.objects.filter(status="pending").count() == 1
    ran = run("replay_events", "--undelivered", "--since", "2020-01-01", *WHY, "--json")
    assert ran.code == 0
    assert len(ran.document["result"]["details"]["events"]) == len(
        [c for c in plan.document["plan"]["changes"] if c["after"] == "processed"]
    )
    assert balance("u_ada") == (50, 0)
    later = run("replay_events", "--undelivered", "--since", "2999-01-01T00:00+02:00", *WHY)
    assert "Nothing is missing" in later.stdout
    assert "Nothing is missing" in run("replay_events", "--since", "2020-01-01", *WHY).stdout


@pytest.mark.django_db
def test_without_stripe_it_says_so(run: Run, sandbox: SandboxProcess) -> None:
    sandbox.stop()
    for arguments in (
        ("sync_from_stripe", "--all"),
        ("sync_from_stripe", "--customer", "cus_1"),
        ("reactivate_subscription", "sub_1"),
        ("replay_events", "evt_1"),
        ("replay_events", "--undelivered"),
    ):
        ran = run(*arguments, *WHY, "--json")
        assert ran.code == 1, arguments
        assert "could not be reached" in ran.document["error"]


def test_a_process_writes_one_document_to_stdout_and_exits_with_the_code(
    real_database: Database, shop: Shop
) -> None:
    shop.buy()
    env = child_environment(
        DATABASE_URL=real_database.url,
        STRIPE_API_BASE=shop.sandbox.url,
        STRIPE_SECRET_KEY=SECRET_KEY,
        LOGNAME="erin",
    )
    done = run_manage("sync_from_stripe", "--all", *WHY, "--json", env=env)
    assert done.stdout.startswith("{")
    assert done.stdout.endswith("}\n")
    assert balance("u_ada") == (50, 0)
    assert audits("manual.sync")[0]["admin"] == "cli:erin"
    refused = run_manage("grant_credits", "u", "0", *WHY, env=env, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "from 1 to" in refused.stderr
    assert "Traceback" not in refused.stderr
    for usage in (("grant_credits", "u"), ("sync_from_stripe", *WHY), ("replay_events", "--what")):
        assert run_manage(*usage, env=env, check=False).returncode == 2
    unset = env | {"STRIPE_SECRET_KEY": ""}
    missing = run_manage("sync_from_stripe", "--all", *WHY, "--json", env=unset, check=False)
    assert missing.returncode == 2
    assert "STRIPE_SECRET_KEY" in missing.stderr
    assert SECRET_KEY not in done.stderr + done.stdout


def test_without_a_database_it_says_so_in_a_sentence(real_database: Database) -> None:
    env = child_environment(DATABASE_URL="postgres://nobody@127.0.0.1:9/nothing")
    done = run_manage("grant_credits", "u", "5", *WHY, "--json", env=env, check=False)
    assert done.returncode == 1
    assert "The database failed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())

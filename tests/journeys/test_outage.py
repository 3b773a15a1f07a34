"""W10, E8: the webhook refused everything for a while, and all that was missed is replayed."""

import json
from datetime import UTC, datetime

from billing.models import BillingSubscription, InboxEvent, WebhookRejection
from tests.operations.shop import Shop, audits, balance
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.support.events import events_of
from tests.support.waiting import wait_until

WHY = ("--reason", "The secret was wrong", "--reason-code", "incident", "--actor", "erin")


def ids_here() -> set[str]:
    return set(InboxEvent.objects.values_list("stripe_event_id", flat=True))


def ids_there(sandbox: SandboxProcess) -> set[str]:
    return {event["id"] for event in events_of(sandbox)}


def refused() -> int:
    return sum(WebhookRejection.objects.values_list("count", flat=True))


def test_what_an_outage_swallowed_is_found_by_its_time_and_replayed_once(
    back_office: BackOffice, sandbox: SandboxProcess
) -> None:
    sandbox.control("delivery", retry_schedule=[7200, 7200, 7200])
    back_office.start_worker()
    shop = Shop(sandbox)
    shop.buy()
    wait_until(lambda: balance("u_ada") == (50, 0), seconds=60)
    wait_until(lambda: ids_here() == ids_there(sandbox), seconds=60)
    before = ids_here()

    # Somebody rolled the secret and told nobody: for two hours every webhook is answered 400.
    start = datetime.fromtimestamp(events_of(sandbox)[-1]["created"], UTC)
    sandbox.control("faults", types=["*"], wrong_secret=True)
    bob = shop.subscribe(user_id="u_bob", email="bob@example.com")
    shop.buy()
    missed = ids_there(sandbox) - before
    assert missed
    wait_until(lambda: refused() >= len(missed), seconds=60)
    assert ids_here() == before
    assert (balance("u_ada"), balance("u_bob")) == ((50, 0), (0, 0))

    # The secret is put right. Stripe's next try is hours away: what would a replay bring?
    sandbox.control("faults", "DELETE")
    window = ("--since", start.isoformat(), "--until", datetime.now(UTC).isoformat())
    asked = ("replay_events", "--undelivered", *window)
    plan = json.loads(back_office.manage(*asked, "--dry-run", "--json").stdout)["plan"]
    assert f"{len(missed)} of them: " in plan["summary"]
    assert "checkout.session.completed" in plan["summary"]
    assert ids_here() == before

    # It is replayed, and done when the command returns.
    done = json.loads(back_office.manage(*asked, *WHY, "--json").stdout)
    replayed = done["result"]["details"]["events"]
    assert {event["event_id"] for event in replayed} == missed
    assert {event["status"] for event in replayed} <= {"processed", "ignored"}
    assert (balance("u_ada"), balance("u_bob")) == ((100, 0), (20, 0))
    row = BillingSubscription.objects.get(stripe_subscription_id=bob["subscription"])
    assert row.status == shop.at_stripe(row.stripe_subscription_id)["status"] == "active"
    [audit] = audits("manual.event_replay")
    assert (audit["admin"], audit["reason_code"]) == ("cli:erin", "incident")
    assert len(audit["events"]) == len(missed)

    # Nothing is left, and Stripe's own late tries are answered 200 and bring nothing twice.
    left = json.loads(back_office.manage("replay_events", "--missing", *WHY, "--json").stdout)
    assert left["events"] == []
    sandbox.control("deliver")
    wait_until(lambda: set(sandbox.control("state", "GET")["outbox"]) == {"succeeded"}, seconds=60)
    assert ids_here() == before | missed
    assert (balance("u_ada"), balance("u_bob")) == ((100, 0), (20, 0))

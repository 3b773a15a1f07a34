"""A generated world: the same by seed, varied, and consistent with its events."""

import json
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

from backoffice.sandbox.world import build_world
from backoffice.sandbox.world.settings import USUAL, Shape
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.sandbox.test_fidelity import stored

NOW = 1_790_000_000
DAY = 86400


def contents(path: Path) -> list[Any]:
    """Every row of a world."""
    db = sqlite3.connect(path)
    try:
        return db.execute("SELECT * FROM objects ORDER BY seq").fetchall()
    finally:
        db.close()


def build(path: Path, customers: int, seed: int, shape: Shape = USUAL) -> list[Any]:
    """The rows of a new world."""
    build_world(path, customers, seed, now=NOW, base_url="http://127.0.0.1:1", shape=shape)
    return contents(path)


def test_the_same_seed_makes_the_same_world(tmp_path: Path) -> None:
    one, same = build(tmp_path / "a.db", 40, 3), build(tmp_path / "b.db", 40, 3)
    assert one == same
    assert build(tmp_path / "c.db", 40, 4) != one


def test_several_processes_make_the_same_world_as_one(tmp_path: Path, monkeypatch: Any) -> None:
    alone = build(tmp_path / "a.db", 260, 3)
    monkeypatch.setattr("backoffice.sandbox.world.ALONE", 10)
    assert build(tmp_path / "b.db", 260, 3) == alone


def test_an_unfinished_world_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "a.db.unfinished").write_text("cut off")
    assert build(tmp_path / "a.db", 5, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_a_world_is_varied(tmp_path: Path) -> None:
    made = [json.loads(row[4]) for row in build(tmp_path / "a.db", 1500, 1)]
    by_kind: dict[str, list[Any]] = {}
    for entry in made:
        by_kind.setdefault(entry["object"], []).append(entry)
    assert len(by_kind["customer"]) == 1500
    statuses = Counter(entry["status"] for entry in by_kind["subscription"])
    assert set(statuses) == {
        "active", "trialing", "past_due", "canceled", "unpaid", "incomplete",
        "incomplete_expired", "paused",
    }  # fmt: skip
    assert statuses["active"] > sum(statuses.values()) / 2
    scheduled = [entry for entry in by_kind["subscription"] if entry["cancel_at"]]
    assert {entry["cancel_at_period_end"] for entry in scheduled} == {True, False}
    assert any(entry["pause_collection"] for entry in by_kind["subscription"])
    assert {entry["status"] for entry in by_kind["dispute"]} >= {"won", "lost"}
    assert {entry["status"] for entry in by_kind["refund"]} == {"succeeded", "failed"}
    assert {entry["currency"] for entry in by_kind["charge"]} == {"usd", "eur", "jpy"}
    assert {entry["status"] for entry in by_kind["charge"]} >= {"succeeded", "failed"}
    sessions = by_kind["checkout.session"]
    assert {entry["status"] for entry in sessions} >= {"complete", "expired", "open"}
    assert any(entry["client_reference_id"] is None for entry in sessions)
    assert any(entry["customer"] is None for entry in sessions)
    emails = Counter(entry["email"] for entry in by_kind["customer"])
    assert max(emails.values()) > 1
    assert any("user_id" not in entry["metadata"] for entry in by_kind["customer"])
    for price in by_kind["price"]:
        assert int(price["metadata"]["lead_credits"]) > 0


def test_a_world_may_be_of_old_subscribers_alone(tmp_path: Path) -> None:
    shape = Shape(months=6, most_months=14, all_subscribe=True, event_days=3)
    made = [json.loads(row[4]) for row in build(tmp_path / "a.db", 300, 1, shape)]
    counted = Counter(entry["object"] for entry in made)
    subscribers = {entry["customer"] for entry in made if entry["object"] == "subscription"}
    assert len(subscribers) == counted["customer"] == counted["subscription"] == 300
    assert counted["invoice"] > 2 * 300
    for entry in made:
        match entry["object"]:
            case "event":
                assert entry["created"] >= NOW - 3 * DAY
            case "checkout.session":
                assert entry["mode"] == "subscription"
            case "customer":
                assert entry["metadata"]["user_id"]


def test_a_world_has_several_countries_and_their_taxes(tmp_path: Path) -> None:
    made = [json.loads(row[4]) for row in build(tmp_path / "a.db", 300, 1)]
    countries = {
        entry["billing_details"]["address"]["country"]
        for entry in made
        if entry["object"] == "charge"
    }
    assert countries >= {"US", "DE", "JP"}
    taxed = [entry for entry in made if entry["object"] == "invoice" and entry["total_taxes"]]
    assert {entry["customer_address"]["country"] for entry in taxed} >= {"DE", "GB"}
    for invoice in taxed:
        tax = sum(entry["amount"] for entry in invoice["total_taxes"])
        assert invoice["total_excluding_tax"] == invoice["total"] - tax


def test_a_world_was_paid_out_every_day_and_still_is(tmp_path: Path) -> None:
    paid_out = {"customers": 60, "seed": 2, "extra_args": ["--payouts", "daily"]}
    with run_sandbox(tmp_path / "a.db", **paid_out) as running:  # type: ignore[arg-type]
        client = running.stripe.v1
        payouts = list(client.payouts.list({"limit": 100}).auto_paging_iter())
        assert {one.status for one in payouts} >= {"paid"}
        assert {one.created % DAY for one in payouts} == {0}
        for payout in payouts[:3]:
            contents = client.balance_transactions.list({"payout": payout.id, "limit": 100}).data
            assert sum(one.net for one in contents) == 0
            assert {one.status for one in contents} == {"available"}
            assert max(one.available_on for one in contents) == payout.created
        (balance,) = running.get("/v1/balance").json()["available"]
        assert balance["amount"] <= 0
        running.story("buy_pack")
        running.advance(days=3)
        assert client.payouts.list({"limit": 1}).data[0].id not in {one.id for one in payouts}


def test_the_same_seed_pays_out_the_same(tmp_path: Path) -> None:
    worlds = []
    for name in ("a.db", "b.db"):
        build_world(tmp_path / name, 40, 3, now=NOW, base_url="http://127.0.0.1:1", payouts=True)
        worlds.append(contents(tmp_path / name))
    assert worlds[0] == worlds[1]
    assert {row[2] for row in worlds[0]} >= {"payout", "bank_account"}


def test_nothing_in_a_world_is_in_the_future(tmp_path: Path) -> None:
    for row in build(tmp_path / "a.db", 400, 2):
        made = json.loads(row[4])
        assert made.get("created", made.get("date", 0)) <= NOW, made
        for name in ("canceled_at", "ended_at"):
            assert (made.get(name) or 0) <= NOW, made


def test_subscriptions_are_in_the_period_that_their_status_implies(tmp_path: Path) -> None:
    for row in build(tmp_path / "a.db", 400, 2):
        made = json.loads(row[4])
        if made["object"] != "subscription" or made["status"] not in ("active", "past_due"):
            continue
        item = made["items"]["data"][0]
        assert item["current_period_start"] <= NOW < item["current_period_end"] + 2 * 3600


def test_money_adds_up(world: SandboxProcess) -> None:
    objects = {made["id"]: made for made in stored(world)}
    booked: Counter[str] = Counter()
    for made in objects.values():
        match made["object"]:
            case "invoice":
                assert made["total"] == sum(line["amount"] for line in made["lines"]["data"])
                assert made["amount_paid"] + made["amount_remaining"] == made["amount_due"]
                assert (made["status"] == "paid") == bool(made["status_transitions"]["paid_at"])
            case "charge" if made["status"] == "succeeded":
                refunds = [
                    other["amount"]
                    for other in objects.values()
                    if other["object"] == "refund"
                    and other["charge"] == made["id"]
                    and other["status"] == "succeeded"
                ]
                assert made["amount_refunded"] == sum(refunds)
                assert objects[made["balance_transaction"]]["source"] == made["id"]
            case "balance_transaction":
                assert made["net"] == made["amount"] - made["fee"]
                booked[made["reporting_category"]] += made["amount"]
    assert booked["charge"] > 0 > booked["refund"]


def test_events_end_in_the_objects_as_they_are(world: SandboxProcess) -> None:
    """Whoever replays the last 30 days ends with the present state."""
    objects = stored(world)
    events = sorted(
        (made for made in objects if made["object"] == "event"), key=lambda made: made["created"]
    )
    assert len({made["id"] for made in events}) == len(events)
    assert all(made["pending_webhooks"] == 0 for made in events)
    assert all(made["created"] > time.time() - 31 * DAY for made in events)
    last = {made["data"]["object"]["id"]: made["data"]["object"] for made in events}
    # What Stripe changes without an event of that object: disputes and failed refunds show only
    # in their own events.
    quiet = {
        "invoice": {"auto_advance", "automatically_finalizes_at"},
        "charge": {"amount_refunded", "disputed", "refunded"},
    }
    compared: Counter[str] = Counter()
    for now in objects:
        then = last.get(now["id"])
        kind = now["object"]
        if then is None or kind not in (
            "subscription", "invoice", "checkout.session", "refund", "dispute", "charge",
        ):  # fmt: skip
            continue
        differing = {name for name in now if now[name] != then.get(name)}
        assert differing <= quiet.get(kind, set()), (kind, now["id"], differing)
        compared[kind] += 1
    assert set(compared) >= {"subscription", "invoice", "checkout.session", "charge"}


def test_previous_attributes_lead_from_event_to_event(world: SandboxProcess) -> None:
    """Each update's `previous_attributes` are the values of the snapshot before it."""
    events = [made for made in stored(world) if made["object"] == "event"]
    seen: dict[str, Any] = {}
    checked = 0
    for made in sorted(events, key=lambda made: made["created"]):
        subject = made["data"]["object"]
        before = seen.get(subject["id"])
        if made["type"] == "customer.subscription.updated" and before:
            for name, value in made["data"]["previous_attributes"].items():
                if not isinstance(value, dict):
                    assert before[name] == value, (made["id"], name)
                    checked += 1
        seen[subject["id"]] = subject
    assert checked

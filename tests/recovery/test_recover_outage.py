"""`recover_outage`, the operation that has the worker do the same, and what a dry run leaves."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from billing import tasks
from billing.formatting import iso_time
from billing.models import Recovery
from billing.operations.base import Actor, BlockedError, CannotUndoError, NotPermittedError
from billing.operations.recoveries import StartRecovery
from tests.commands.conftest import Run, run
from tests.operations.shop import Shop, balance, record_of
from tests.recovery.conftest import an_hour_ago, fault, register
from tests.support.databases import Database

__all__ = ["run"]
PACE = "billing_request_pace"  # whose turn it is to ask Stripe


def contents() -> dict[str, Any]:
    """How many rows each of our tables has."""
    with connection.cursor() as cursor:
        names = [n for n in connection.introspection.table_names(cursor) if n != PACE]
        found = {}
        for name in names:
            cursor.execute(f"SELECT count(*), max(xmin::text::bigint) FROM {name}")  # noqa: S608
            found[name] = cursor.fetchone()
        return found


def test_a_dry_run_lists_and_ranks_and_changes_nothing(run: Run, shop: Shop) -> None:
    register(shop.sandbox)
    shop.buy()
    bought = shop.subscribe(email="bob@example.com", user_id="u_bob")
    before = contents()
    ran = run("recover_outage", "--since", iso_time(an_hour_ago()), "--dry-run", "--json")
    assert contents() == before
    assert ran.code == 0
    assert ran.document["missed"] == sum(ran.document["missed_as"].values()) > 15
    first, second, third = ran.document["queue"][:3]
    assert (first["what"], first["user_id"]) == ("Subscription to activate", "u_bob")
    assert first["amount"] == 2900
    assert (second["what"], second["user_id"], second["amount"]) == ("Pack to grant", "u_ada", 4500)
    assert (third["what"], third["customer"], third["credits"]) == (
        "Invoice paid", bought["customer"], 20,
    )  # fmt: skip
    said = run("recover_outage", "--since", iso_time(an_hour_ago()), "--dry-run", "--critical")
    assert "Nothing is changed." in said.stdout
    assert "Pack to grant, u_ada, 45.00 USD" in said.stdout
    said = run("recover_outage", "--since", "2020-01-01", "--dry-run")
    assert "cannot be had as events any more" in said.stdout
    assert contents() == before


def test_it_says_what_it_did_and_ends_with_0(run: Run, shop: Shop) -> None:
    shop.buy()
    since = iso_time(an_hour_ago())
    ran = run("recover_outage", "--since", since, "--critical")
    assert ran.code == 0
    assert "+50 credits for user u_ada" in ran.stdout
    ran = run("recover_outage", "--since", since, "--json", "--actor", "ann")
    assert ran.code == 0
    document = ran.document
    assert (document["status"], document["left"]["count"]) == ("done", 0)
    assert document["by_status"] == {"done": document["missed"]}
    assert sum(document["calls"].values()) == document["api_calls"]
    assert Recovery.objects.get(pk=document["recovery"]).actor == "cli:ann"
    assert balance("u_ada") == (50, 0)


def test_what_needs_a_person_ends_with_1_and_what_is_unfinished_with_2(
    run: Run, shop: Shop
) -> None:
    shop.buy(user_id=None, email="nobody@example.com")
    since = iso_time(an_hour_ago())
    with fault(shop.sandbox, path="/v1/subscriptions", status=403):
        ran = run("recover_outage", "--since", since)
        assert ran.code == 2
    ran = run("recover_outage", "--since", since, "--json")
    assert ran.code == 1
    assert [each["kind"] for each in ran.document["left"]["findings"]] == ["payment_unattributed"]
    assert run("recover_outage", "--since", "yesterday").code == 2


def engineer(role: str = "engineer") -> Actor:
    user = User.objects.create_user(role, is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    return Actor.of(user)


def starting(actor: Actor, **more: Any) -> StartRecovery:
    given = {"since": iso_time(an_hour_ago()), "reason": "Alert of today", **more}
    return StartRecovery(actor=actor, **given)


def test_the_worker_carries_out_what_was_asked_for(real_database: Database, shop: Shop) -> None:
    shop.buy()
    asked = starting(engineer(), critical=True)
    plan = asked.plan()
    assert "Only what is critical" in plan.summary
    asked.apply(seen=plan.digest)
    with pytest.raises(BlockedError, match="waits for the worker"):
        starting(Actor.of(User.objects.get())).apply()
    job = ProcrastinateJob.objects.get(task_name="billing.recover")
    tasks.recover(**job.args)
    recovery = Recovery.objects.get()
    assert (recovery.actor, recovery.critical_only, recovery.status) == ("engineer", True, "done")
    assert balance("u_ada") == (50, 0)
    with pytest.raises(CannotUndoError):
        StartRecovery.undoing(record_of(asked.key))


@pytest.mark.django_db
def test_only_engineers_may_and_are_told_what_is_lost() -> None:
    with pytest.raises(NotPermittedError):
        starting(engineer("support")).apply()
    plan = starting(engineer(), since="2020-01-01").plan()
    assert "without its history" in plan.warnings[0]

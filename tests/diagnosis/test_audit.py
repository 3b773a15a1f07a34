"""The audit log's chain: whole as it is written, and broken by whatever is changed in it."""

import json
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.diagnosis.audit import verify
from billing.models import AuditLink, BillingEvent
from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from tests.operations.shop import at_once
from tests.support.databases import Database


def grant(number: int) -> None:
    GrantCredits(
        user_id=f"u_{number}", amount=1, actor=Actor.cli("bob"), reason=f"Number {number} ‘x’ ü"
    ).apply()


@pytest.fixture
def log(db: None) -> list[int]:
    """The ids of five audit events, one of raw SQL among them, and a Stripe event between."""
    for number in range(2):
        grant(number)
    BillingEvent.objects.create(type="customer.created", stripe_event_id="evt_1")
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO lead_credits (user_id, balance) VALUES ('x', 1)")
    for number in range(2, 4):
        grant(number)
    return list(AuditLink.objects.order_by("position").values_list("event_id", flat=True))


def tamper(sql: str, *parameters: object) -> None:
    """As the tables' owner could, with the guards off."""
    with connection.cursor() as cursor:
        for table in ("billing_events", "billing_audit_chain"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(sql, parameters)
        for table in ("billing_events", "billing_audit_chain"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


@pytest.mark.django_db
def test_every_audit_event_is_linked_and_no_other(log: list[int]) -> None:
    assert len(log) == 5
    types = BillingEvent.objects.in_bulk(log)
    assert {types[i].type for i in log} == {"manual.credit_adjustment", "sql.lead_credits.insert"}
    verdict = verify()
    assert (verdict.links, verdict.broken) == (5, "")
    assert verdict.head == AuditLink.objects.get(position=5).hash


TAMPERING: dict[str, Callable[[list[int]], tuple[str, list[object], str]]] = {
    "an event is changed": lambda log: (
        "UPDATE billing_events SET payload = payload || '{\"amount\": 9}' WHERE id = %s",
        [log[1]],
        f"Event {log[1]} of link 2 is not what was written",
    ),
    "its actor is changed": lambda log: (
        "UPDATE billing_events SET actor = 'somebody' WHERE id = %s",
        [log[2]],
        f"Event {log[2]} of link 3 is not what was written",
    ),
    "an event is taken out": lambda log: (
        "DELETE FROM billing_events WHERE id = %s",
        [log[3]],
        f"Event {log[3]} of link 4 is gone",
    ),
    "an event and its link are taken out": lambda log: (
        (
            "WITH gone AS (DELETE FROM billing_audit_chain WHERE event_id = %s)"
            " DELETE FROM billing_events WHERE id = %s"
        ),
        [log[1], log[1]],
        "Link 2 is missing",
    ),
    "a link is changed": lambda log: (
        "UPDATE billing_audit_chain SET hash = repeat('0', 64) WHERE event_id = %s",
        [log[0]],
        "link 1",
    ),
    "an event is put in": lambda log: (
        "INSERT INTO billing_events (type) VALUES ('manual.invented')",
        [],
        "has no link",
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_shows_with_the_first_broken_link(log: list[int], how: str) -> None:
    sql, parameters, expected = TAMPERING[how](log)
    tamper(sql, *parameters)
    assert expected in verify().broken


@pytest.mark.django_db
def test_a_log_that_was_cut_off_is_known_by_a_hash_that_was_kept(log: list[int]) -> None:
    kept = verify().head
    tamper(
        "WITH gone AS (DELETE FROM billing_audit_chain WHERE event_id = %s)"
        " DELETE FROM billing_events WHERE id = %s",
        log[4],
        log[4],
    )
    assert verify().broken == ""
    assert "cut off" in verify(expect=kept).broken


@pytest.mark.django_db
def test_the_command_says_so(log: list[int]) -> None:
    out = StringIO()
    call_command("verify_audit", "--json", stdout=out)
    said = json.loads(out.getvalue())
    assert (said["status"], said["links"], said["broken"]) == ("done", 5, "")
    call_command("verify_audit", "--expect", said["head"], stdout=StringIO())
    tamper("UPDATE billing_events SET actor = 'x' WHERE id = %s", log[2])
    with pytest.raises(CommandError, match="link 3") as failed:
        call_command("verify_audit", stdout=StringIO())
    assert failed.value.returncode == 1
    with pytest.raises(CommandError, match="64 digits") as wrong:
        call_command("verify_audit", "--expect", "abc", stdout=StringIO())
    assert wrong.value.returncode == 2


@pytest.mark.django_db
def test_an_empty_log_is_whole() -> None:
    assert verify().broken == ""


def test_many_writers_at_once_make_one_chain(real_database: Database) -> None:
    calls = [lambda n=n: [grant(10 * n + i) for i in range(5)] for n in range(6)]
    at_once(*calls)
    verdict = verify()
    assert (verdict.links, verdict.broken) == (30, "")

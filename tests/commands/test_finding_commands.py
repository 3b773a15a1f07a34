"""The commands on findings and runs: as thin as the pages, with the same answers."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import load_command_class
from django.utils import timezone

from billing.models import FindingRecord, OperationRecord
from tests.admin import rows
from tests.commands.conftest import Run
from tests.operations.shop import balance

WHY = ("--reason", "Found by the daily run", "--actor", "sue")
NAMES = (
    "accept_finding", "fix_finding", "reopen_finding", "sign_off_run", "snooze_finding",
    "take_finding",
)  # fmt: skip


@pytest.mark.django_db
def test_a_finding_goes_its_way(run: Run) -> None:
    User.objects.create_user("sue", is_staff=True)
    User.objects.create_user("fin", is_staff=True)
    row = rows.finding()
    number = str(row.pk)
    planned = run("take_finding", number, "--dry-run", *WHY)
    assert planned.stdout.splitlines()[1] == "  Owner: nobody -> sue"
    for answers, owner in (([], "sue"), (["--owner", "fin"], "fin"), (["--nobody"], "")):
        ran = run("take_finding", number, *answers, *WHY, "--json")
        assert (ran.code, ran.document["result"]["details"]["finding"]) == (0, row.pk)
        row.refresh_from_db()
        assert row.owner == owner

    until = (timezone.now() + timedelta(days=3)).strftime("%Y-%m-%d")
    for name, more, state in (
        ("snooze_finding", ["--until", until], "snoozed"),
        ("accept_finding", [], "accepted"),
        ("reopen_finding", [], "open"),
    ):
        ran = run(name, number, *more, *WHY)
        assert (ran.code, ran.error) == (0, ""), name
        row.refresh_from_db()
        assert row.state == state
    again = run("reopen_finding", number, *WHY)
    assert (again.code, again.error) == (1, "It is open already.")
    wrong = run("snooze_finding", number, "--until", "soon", *WHY)
    assert (wrong.code, "no date or time" in wrong.error) == (2, True)
    assert run("take_finding", number, "--owner", "ghost", *WHY).code == 1


@pytest.mark.django_db
def test_fix_finding_runs_what_it_recommends(run: Run) -> None:
    rows.grant("u_ada", 5)
    fix = {"operation": "correct_balance", "params": {"user_id": "u_ada", "balance": 9}}
    number = str(rows.finding("u_ada", fix=fix).pk)
    assert "Balance: 5 -> 9" in run("fix_finding", number, "--dry-run", *WHY).stdout
    ran = run("fix_finding", number, *WHY, "--json")
    assert ran.code == 0
    assert balance("u_ada") == (9, 0)
    assert OperationRecord.objects.get().key == ran.document["key"]
    again = run("fix_finding", number, *WHY, "--key", ran.document["key"], "--json")
    assert again.document["result"]["already_done"] is True
    assert FindingRecord.objects.get().operation_key == ran.document["key"]


@pytest.mark.django_db
def test_a_run_is_signed_off_once(run: Run) -> None:
    row = rows.run()
    ran = run("sign_off_run", str(row.pk), *WHY)
    assert ran.code == 0
    row.refresh_from_db()
    assert (row.signed_off_by, row.sign_off) == ("cli:sue", "Found by the daily run")
    again = run("sign_off_run", str(row.pk), *WHY)
    assert (again.code, "signed it off already" in again.error) == (1, True)


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example(name: str) -> None:
    shown = load_command_class("billing", name).create_parser("manage.py", name).format_help()
    assert f"Example: manage.py {name}" in " ".join(shown.split())

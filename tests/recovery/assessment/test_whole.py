"""A database that nobody has damaged: no check says otherwise, and nothing is changed."""

import json

from billing import tasks
from billing.models import Assessment
from billing.recovery.assessment.assessing import CHECKS, assess
from billing.recovery.assessment.outcomes import Verdict
from billing.revenue import facts
from tests.commands.conftest import Run
from tests.durability.rows import contents
from tests.support.databases import Database


def test_nothing_is_said_of_a_database_that_has_lived(database: Database) -> None:
    facts.refresh_all()  # its tables of one row never use their sequences
    before = contents(database.url)
    told: list[str] = []
    assessed = assess(actor="cli:test", tell=told.append)
    wrong = [each for each in assessed.outcomes if each.verdict != Verdict.OK]
    assert [each.name for each in wrong] == ["exported chain"], wrong
    assert wrong[0].verdict == Verdict.UNSURE
    assert (assessed.is_whole, assessed.users) == (True, [])
    assert [each.name for each in assessed.outcomes] == [check.name for check in CHECKS]
    assert "1 of" in told[0]
    assert len(told) > len(CHECKS)
    row = Assessment.objects.get()
    assert (row.is_whole, row.checks) == (True, json.loads(json.dumps(assessed.as_dicts())))
    after = contents(database.url)
    assert {table for table in after if after[table] != before[table]} <= {"billing_assessments"}


def test_the_workers_job_leaves_its_row(database: Database) -> None:
    tasks.assess.func(actor="erin", quick=True)
    row = Assessment.objects.get()
    assert (row.actor, row.is_whole) == ("erin", True)
    assert row.finished_at is not None


def test_the_command_answers_in_json_and_in_words(database: Database, run: Run) -> None:
    said = run("assess", "--json").document
    assert (said["status"], said["whole"], said["users"]) == ("done", True, [])
    assert set(said["checks"][0]) >= {"name", "verdict", "detail", "rows", "users", "advice"}
    assert said["page"].endswith(f"/admin/billing/assessment/{said['assessment']}/change/")
    words = run("assess", "--quick").stdout
    assert "unsure   readable: Not looked at, since it was to be quick." in words
    assert "ok       triggers: All" in words


def test_what_cannot_be_a_hash_is_refused(run: Run) -> None:
    assert run("assess", "--expect", "9f2c").code == 2
    ran = run("assess", "--quick", "--expect", "a" * 64)
    assert (ran.code, "--expect needs all of it" in ran.error) == (2, True)

"""`manage.py drill`: what it says of itself, and what it refuses."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command, load_command_class

from backoffice.drill.environment import scratch, variables
from backoffice.drill.options import Options
from backoffice.drill.report import replay
from backoffice.drill.scenarios import NAMES


def test_its_help_says_what_each_scenario_breaks() -> None:
    command = load_command_class("backoffice.drill", "drill")
    help_ = command.create_parser("manage.py", "drill").format_help()
    for name in NAMES:
        assert f"  {name} " in help_
    assert "Example: manage.py drill --seed 7" in help_


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scenario": "outage,storm"}, "there is no storm"),
        ({"scenario": ","}, "there is no nothing"),
        ({"without": "sleep"}, "there is no sleep"),
        ({"seed": -1}, "A seed is"),
        ({"seeds": 0}, "--seeds is 1 to"),
        ({"minutes": -1.0}, "not below 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_started(
    asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        call_command("drill", **asked)
    assert refused.value.returncode == 2


def test_nothing_of_the_callers_settings_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.setenv(name, "the caller's")
    environment = scratch()
    assert "the caller's" not in environment.values()
    assert {"DATABASE_URL", "STRIPE_SECRET_KEY", "BACKUP_FOLDER"} <= set(environment)
    assert environment["STRIPE_API_BASE"].startswith("http://127.0.0.1:")


def test_a_replay_names_all_that_decides_what_is_broken() -> None:
    options = Options(seeds=(7,), scenarios=("outage", "tampered"), minutes=5, without=("fix",))
    assert Options.from_text(options.as_text()) == options
    said = replay(7, options, rounds=3)
    assert said == (
        "manage.py drill --seed 7 --scenario outage,tampered --rounds 3 --without fix --keep"
    )

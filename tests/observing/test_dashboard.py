"""The example dashboard and alert rules: whatever they name is there to be read."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from backoffice.postgres import BASE_DIR
from billing.observing.metrics import FromDatabase

DEPLOY = BASE_DIR / "deploy"
RULES: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
PARTS = {"gaugehistogram": ("_bucket", "_gcount", "_gsum"), "counter": ("_total",)}


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def exposed() -> dict[str, set[str]]:
    """The names that a scrape has, with their labels."""
    found = {"up": {"job", "instance"}}
    for family in FromDatabase().collect():
        labels = set(getattr(family, "_labelnames", ()))
        for part in PARTS.get(family.type, ("",)):
            found[family.name + part] = labels | ({"le"} if part == "_bucket" else set())
    return found


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:billing_\w+|up\b)", expression))


def labels_in(text: str) -> set[str]:
    """What an expression selects and groups by, or a text fills in."""
    grouped = re.findall(r"\bby \(([^)]*)\)", text)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", text)
    return {label.strip() for group in grouped for label in group.split(",")} | set(selected)


@pytest.mark.django_db
def test_every_figure_and_label_that_they_name_exists() -> None:
    known = exposed()
    for expression in expressions():
        named = names_in(expression)
        assert named, expression
        assert named <= set(known), expression
        assert labels_in(expression) <= set().union(*(known[name] for name in named)), expression
        assert expression.count("(") == expression.count(")")


@pytest.mark.django_db
def test_every_figure_is_on_the_dashboard() -> None:
    shown = set().union(*(names_in(expression) for expression in expressions()))
    assert set(exposed()) - shown == set()


def test_each_rule_says_what_is_so_and_what_to_do() -> None:
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"Billing[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in ("danger", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        filled = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        if rule["alert"] != "BillingDown":
            assert filled <= labels_in(rule["expr"])


def test_the_panels_fit_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not fields & taken
        taken |= fields

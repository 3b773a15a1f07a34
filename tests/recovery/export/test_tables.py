"""No table is forgotten: each is exported, or it is said why not."""

from django.apps import apps

from billing.models import BillingEvent
from billing.recovery.export.tables import LEFT_OUT, OURS, SAME, STRIPES


def concrete() -> set[type]:
    return {model for model in apps.get_app_config("billing").get_models() if not model._meta.proxy}


def test_every_table_is_exported_or_it_is_said_why_not() -> None:
    groups = [*OURS, *STRIPES, *LEFT_OUT]
    assert len(groups) == len(set(groups))
    assert set(groups) == concrete()
    assert all(LEFT_OUT.values())
    assert set(SAME) == {*OURS, *STRIPES}


def test_what_is_exported_is_noted_by_triggers_and_nothing_else_is() -> None:
    noting = {
        model
        for model in concrete()
        if any(trigger.name.startswith("export_") for trigger in triggers(model))
    }
    assert noting == {*OURS, *STRIPES}
    assert BillingEvent not in noting


def test_stripes_own_writing_is_left_out_of_stripes_tables_alone() -> None:
    for model in (*OURS, *STRIPES):
        [trigger] = [each for each in triggers(model) if each.name == "export_insert"]
        assert ("<> 'stripe'" in trigger.func) == (model in STRIPES), model


def triggers(model: type) -> list:  # type: ignore[type-arg]
    return list(getattr(model._meta, "triggers", []))  # type: ignore[attr-defined]

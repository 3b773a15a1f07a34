"""Rights take two to give, neither of whom gets them; one is enough to switch somebody off."""

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.urls import reverse

from billing.access.rights import rights
from billing.access.second_factor import kinds
from billing.models import BillingEvent, OperationRecord
from billing.operations import approvals
from billing.operations.accounts import (
    AccountOperation,
    ChangeRights,
    ResetSecondFactor,
    SwitchOffAccount,
    SwitchOnAccount,
)
from billing.operations.base import (
    Actor,
    BlockedError,
    CannotUndoError,
    InvalidInputError,
    NotPermittedError,
)
from billing.operations.registry import undo
from billing.permissions import ROLES
from tests.access.conftest import HOME, Visitor, person, text, with_app

pytestmark = pytest.mark.django_db


def administrators() -> tuple[Actor, Actor]:
    """Two who look after access."""
    return (Actor.of(person("ann", "administrator")), Actor.of(person("bob", "administrator")))


def asked(kind: type[AccountOperation], actor: Actor, **answers: Any) -> OperationRecord:
    """A request that waits, after which nothing has changed."""
    operation = kind(actor=actor, reason="She is new in the team", **answers)
    result = operation.apply()
    assert result.requested
    return OperationRecord.objects.get(key=operation.key)


def audited(kind: str) -> dict[str, Any]:
    return dict(BillingEvent.objects.get(type=f"manual.{kind}").payload)


GIVING: list[tuple[type[AccountOperation], dict[str, Any]]] = [
    (ChangeRights, {"account": "sue", "roles": ["engineer"]}),
    (ChangeRights, {"account": "sue", "roles": [], "superuser": True}),
    (ChangeRights, {"account": "sue", "roles": []}),
    (ChangeRights, {"account": "sue", "roles": ["support"], "email": "other@example.com"}),
    (ChangeRights, {"account": "zoe", "roles": ["finance"], "new": True}),
    (SwitchOnAccount, {"account": "off"}),
]


def state() -> list[Any]:
    fields = ("username", "email", "is_active", "is_staff", "is_superuser", "groups__name")
    return list(User.objects.order_by("username", "groups__name").values_list(*fields))


@pytest.mark.parametrize(("kind", "answers"), GIVING)
def test_nothing_is_given_without_a_second_person(
    kind: type[AccountOperation], answers: dict[str, Any]
) -> None:
    ann, bob = administrators()
    person("sue", "support")
    User.objects.filter(pk=person("off", "engineer").pk).update(is_active=False)
    shell = Actor.cli("ann")
    before = state()
    for asker in (ann, shell):
        record = asked(kind, asker, **answers)
        assert state() == before
        with pytest.raises(NotPermittedError, match="yourself"):
            approvals.approve(record, actor=ann, words="Fine")
        assert state() == before
    approvals.approve(record, actor=bob, words="Fine")
    assert state() != before
    said = audited(kind.audit_type.removeprefix("manual."))
    assert (said["admin"], said["approved_by"]) == ("cli:ann", "bob")
    assert said["account"] == answers["account"]


def test_nobody_agrees_to_what_is_about_themselves() -> None:
    ann, bob = administrators()
    record = asked(ChangeRights, ann, account="bob", roles=["administrator", "engineer"])
    with pytest.raises(NotPermittedError, match="your own account"):
        approvals.approve(record, actor=bob, words="Fine")
    record.refresh_from_db()
    assert (record.status, record.decided_by) == ("requested", "")
    approvals.approve(record, actor=Actor.of(person("ada", superuser=True)), words="Fine")
    assert User.objects.get(username="bob").groups.count() == 2


@pytest.mark.parametrize("kind", [ChangeRights, SwitchOffAccount, ResetSecondFactor])
def test_nobody_does_it_to_themselves(kind: type[AccountOperation]) -> None:
    ann, _ = administrators()
    with_app(User.objects.get(username="ann"))
    with pytest.raises(BlockedError, match="your own account"):
        kind(account="ann", actor=ann, reason="Why not").apply()


def test_a_new_account_has_its_role_and_no_password_yet() -> None:
    ann, bob = administrators()
    answers = {"account": "zoe", "roles": "finance, support", "new": True}
    record = asked(ChangeRights, ann, email="zoe@example.com", **answers)
    approvals.approve(record, actor=bob, words="She starts today")
    zoe = User.objects.get(username="zoe")
    assert (zoe.is_staff, zoe.is_superuser, zoe.email) == (True, False, "zoe@example.com")
    assert not zoe.has_usable_password()
    assert sorted(zoe.groups.values_list("name", flat=True)) == ["finance", "support"]
    with pytest.raises(CannotUndoError, match="switch it off"):
        undo(OperationRecord.objects.get(pk=record.pk), actor=ann, reason="A slip")


def test_a_change_is_taken_back_by_two_as_well() -> None:
    ann, bob = administrators()
    sue = person("sue", "support")
    record = asked(ChangeRights, ann, account="sue", roles=["engineer"])
    approvals.approve(record, actor=bob, words="Fine")
    record.refresh_from_db()
    back = undo(record, actor=bob, reason="It was too much")
    assert back.apply().requested
    approvals.approve(OperationRecord.objects.get(key=back.key), actor=ann, words="Right")
    assert [group.name for group in sue.groups.all()] == ["support"]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"account": "nobody-here"}, "no account nobody-here"),
        ({"account": "sue", "new": True}, "an account sue already"),
        ({"account": "sue", "roles": ["support"]}, "these rights already"),
        ({"account": "sue", "roles": [], "email": "ANN@example.com"}, "one person's alone"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(answers: Any, said: str) -> None:
    ann, _ = administrators()
    person("sue", "support")
    with pytest.raises(BlockedError, match=said):
        ChangeRights(actor=ann, reason="Why not", **answers).apply()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"account": " "}, "user name"),
        ({"account": "sue\n<b>"}, "letters, digits"),
        ({"account": "x" * 151}, "at most 150"),
        ({"account": "sue", "roles": ["king"]}, "“king” is no role. There are: administrator"),
        ({"account": "sue", "email": "sue at home"}, "no email address"),
    ],
)
def test_bad_input_gets_a_clear_error(answers: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        ChangeRights(actor=Actor.cli("root"), reason="Why not", **answers)


def test_a_switched_off_account_is_out_at_the_next_request_of_an_open_page() -> None:
    phone = with_app(person("sue", "support"))
    page = Visitor()
    page.enter("sue", phone)
    ann, _ = administrators()
    result = SwitchOffAccount(account="sue", actor=ann, reason="Her laptop was stolen").apply()
    assert not result.requested
    assert page.open(HOME)["Location"].startswith("/admin/login/")
    assert audited("account_switched_off")["sessions_ended"] == 1
    again = Visitor()
    again.log_in("sue")
    assert not again.is_in()
    with pytest.raises(BlockedError, match="off already"):
        SwitchOffAccount(account="sue", actor=ann, reason="Once more").apply()


def test_who_lost_the_telephone_sets_up_another_one() -> None:
    sue = person("sue", "support")
    with_app(sue)
    ann, _ = administrators()
    assert kinds(sue.pk) == ["app", "recovery codes"]
    ResetSecondFactor(account="sue", actor=ann, reason="She called, and I know her").apply()
    assert kinds(sue.pk) == []
    assert audited("second_factor_reset")["kinds"] == ["app", "recovery codes"]
    visitor = Visitor()
    visitor.log_in("sue")
    assert visitor.open(HOME)["Location"] == reverse("mfa_index")


def test_the_commands_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    _, bob = administrators()
    person("sue", "support")
    with pytest.raises(CommandError) as waits:
        call_command("change_rights", "sue", "--role", "finance", "--reason", "New team")
    assert "Another person has to agree" in str(waits.value)
    record = OperationRecord.objects.get()
    approvals.approve(record, actor=bob, words="Fine")
    assert [each.name for each in Group.objects.filter(user__username="sue")] == ["finance"]
    capsys.readouterr()
    call_command("switch_off_account", "sue", "--reason", "She left", "--json")
    assert json.loads(capsys.readouterr().out)["status"] == "done"
    assert not User.objects.get(username="sue").is_active
    with pytest.raises(CommandError, match="Another person"):
        call_command("switch_on_account", "sue", "--reason", "She is back")
    with pytest.raises(CommandError, match="no second factor"):
        call_command("reset_second_factor", "sue", "--reason", "Lost")


def test_a_request_is_approved_on_its_page() -> None:
    phone = with_app(person("bob", "administrator"))
    ann = Actor.of(person("ann", "administrator"))
    person("sue", "support")
    record = asked(ChangeRights, ann, account="sue", roles=["engineer"])
    visitor = Visitor()
    visitor.enter("bob", phone)
    address = reverse("admin:billing_approval", args=[record.pk])
    page = text(visitor.open(address))
    assert "Change the rights of sue: engineer." in page
    seen = approvals.current_plan(record).digest
    assert visitor.send(address, words="Fine", seen=seen)["Location"]
    assert [each.name for each in Group.objects.filter(user__username="sue")] == ["engineer"]


def test_the_matrix_is_as_it_is_meant_to_be_and_says_what_differs() -> None:
    assert rights().differences == []
    assert set(rights().roles) == set(ROLES)
    support = Group.objects.get(name="support")
    support.permissions.remove(support.permissions.get(codename="grant_credits"))
    audit = Group.objects.get(name="engineer").permissions.get(codename="approve_operation")
    support.permissions.add(audit)
    extra = Group.objects.create(name="<b>friends</b>")
    extra.permissions.add(audit)
    person("sue").user_permissions.add(audit)
    said = " ".join(rights().differences)
    assert "(billing.grant_credits) is missing" in said
    assert "(billing.approve_operation) is too much" in said
    assert "<b>friends</b> is a role that nobody meant" in said
    assert "sue has permissions besides the roles: billing.approve_operation" in said

    phone = with_app(person("ann", "administrator"))
    visitor = Visitor()
    visitor.enter("ann", phone)
    response = visitor.open(reverse("access_rights"))
    assert "<b>friends" not in response.content.decode()
    rows = list(csv.reader(io.StringIO(
        b"".join(visitor.open(reverse("access_rights") + "?file=csv")).decode()
    )))  # fmt: skip
    header = rows[0]
    [grant] = [row for row in rows if row and row[0] == "billing.grant_credits"]
    assert dict(zip(header, grant, strict=True))["support"] == "missing"
    assert [row for row in rows if row and row[0] == "ann"]
    assert audited("export")["export"] == "rights"


def test_the_matrix_is_for_those_who_look_after_access() -> None:
    phone = with_app(person("eve", "engineer"))
    visitor = Visitor()
    visitor.enter("eve", phone)
    for name in ("access_rights", "access_log_ins"):
        assert visitor.open(reverse(name)).status_code == 403


def test_the_matrix_costs_the_same_however_many_there_are(
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(20):
        with_app(person(f"sue{number}", "support"))
    with django_assert_max_num_queries(8):
        assert len(rights().people) == 20

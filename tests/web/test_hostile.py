"""Hostile texts wherever texts are kept: no page, file or message has them do anything."""

from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core import mail
from django.http import HttpResponse
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from billing.admin.operations import PAGES
from billing.alerts import telling
from billing.management.report import as_csv
from billing.models import Alert, AlertMessage, OperationRecord
from billing.operations.approvals import tell_approvers
from billing.revenue.reports import BY_NAME
from tests.admin import rows
from tests.admin.conftest import log_in_as
from tests.alerts.conftest import hook
from tests.alerts.hook import Hook
from tests.revenue.moving import NOVEMBER, refunded, sold
from tests.selfservice.visits import link_for, path_of
from tests.web import hostile
from tests.web.addresses import addresses
from tests.web.hostile import FORMULA, HOSTILE

__all__ = ["hook"]

pytestmark = pytest.mark.django_db
DAYS = "from=2025-10-01&to=2025-11-30&by=month"
# Nothing is shown there, or (the last ones) by other tests, which also ask Stripe.
NOT_VISITED = ("/history/", "/delete/", "/add/", "/views/", "/admin/auth/", "/logout/", "/r/1/1/")


def of_rows(before: str, name: str) -> Sequence[str]:
    """A row of the table whose page the address begins, or a report's or an operation's name."""
    if name == "kind":
        return ["csv", "xlsx"]
    if before.endswith("/finance/"):
        return list(BY_NAME)
    if before.endswith("/run/"):
        return list(PAGES)
    if before.endswith("/operationrecord/"):
        return [str(row.pk) for row in OperationRecord.objects.order_by("-pk")]
    models = apps.get_app_config("billing").get_models()
    table = before.removeprefix("/admin/billing/").partition("/")[0]
    found = [rows.all_of(model).first() for model in models if model._meta.model_name == table]
    return [str(row.pk) for row in found if row] or ["1"]


def fill() -> str:
    """Something of everything, all of it Ada's; the address of her own page."""
    rows.fill(1)
    sold("a", 11_000, fee=330, tax=1000, kind="subscription", user_id=HOSTILE, country=HOSTILE)
    refunded("r", 4000, of="a", at=NOVEMBER)
    grant = {"user_id": rows.USER, "amount": 900}
    rows.record("op_asked", status="requested", parameters=grant, approval="It is a lot.")
    rows.record("op_done", parameters=grant, result={"details": {"amount": 5}})
    rows.bulk_job("job_draft", status="draft")
    return path_of(link_for(rows.CUSTOMER))


def wrong_with(response: HttpResponse) -> list[str]:
    """What an answer has that was planted, by what kind of answer it is."""
    content = response.getvalue()
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind.endswith("spreadsheetml.sheet"):
        return hostile.wrong_with_workbook(content)
    match kind:
        case "text/html":
            return hostile.wrong_with_html(content.decode())
        case "text/csv":
            return hostile.wrong_with_csv(content.decode())
        case "text/markdown":
            return hostile.wrong_with_markdown(content.decode())
    return []


def test_no_page_and_no_file_has_it_do_anything() -> None:
    """Every address of the project, as somebody who may see all of it, and the customer's own."""
    own = fill()
    assert hostile.plant() > 100
    client = log_in_as("superuser")
    visited = [a for a in addresses(of_rows) if not any(part in a for part in NOT_VISITED)]
    wrong, shown = {}, 0
    for address in [*visited, own]:
        response = client.get(f"{address}?{DAYS}" if "/finance/" in address else address)
        assert response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, address
        shown += response.status_code == HTTPStatus.OK
        if found := wrong_with(response):
            wrong[address] = found
    assert wrong == {}
    assert shown > 180


def test_what_was_planted_would_be_seen() -> None:
    """The eyes of the test above: each of them sees what it looks for."""
    for raw in (
        hostile.SCRIPT,
        f"<a href='{hostile.ADDRESS}'>",
        f"<p title='{HOSTILE}'>",
        "\u202e",
    ):
        assert hostile.wrong_with_html(raw)
    for raw in (FORMULA, "a,+1", "a,-x", "a,@x", 'a,"\tx"', "\u2066"):
        assert hostile.wrong_with_csv(raw)
    for raw in ("<script>", "[a](b)"):
        assert hostile.wrong_with_markdown(raw)
    assert not hostile.wrong_with_csv("a,-1.50,'=x")


def test_no_letter_and_no_chat_has_it_do_anything(hook: Hook, settings: Settings) -> None:
    settings.ALERT_EMAILS = ["ops@example.com"]
    alert = rows.alert()
    for way in AlertMessage.Way.values:
        AlertMessage.objects.create(alert=alert, occasion="opened", way=way)
    Alert.objects.update(title=HOSTILE, detail=HOSTILE)
    telling.tell(timezone.now() + timedelta(minutes=1))
    [letter] = mail.outbox
    [text] = hook.texts
    assert "\n" not in letter.subject
    for said in (letter.subject, letter.body, text):
        assert "\u202e" not in said
        assert "HYPERLINK" in said
    assert "<!here>" not in text
    assert "&lt;!here&gt;" in text


def test_no_approver_is_led_astray() -> None:
    approver = User.objects.create_user("fay", email="fay@example.com", is_staff=True)
    approver.groups.set(Group.objects.filter(name="finance"))
    asked = rows.record("op_asked", status="requested", reason=HOSTILE, subject=HOSTILE)
    assert tell_approvers(asked.pk) == 1
    assert "\u202e" not in mail.outbox[0].body
    page = reverse("admin:billing_approval", args=[asked.pk])
    assert mail.outbox[0].body.rstrip().endswith(page)


def test_no_file_of_a_command_has_it_do_anything() -> None:
    lines = as_csv(["user", "amount"], [[HOSTILE, "-12.50"], ["\uff1dA1", 5], ["@x", "+x"]])
    assert hostile.wrong_with_csv("\n".join(lines)) == []
    assert lines[1].endswith(",-12.50")
    assert lines[2] == "'\uff1dA1,5"

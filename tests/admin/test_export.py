"""Lists as CSV: what is filtered, for those who may."""

import csv
import io

import pytest
from django.db import transaction
from django.urls import reverse

from billing.models import LeadClaim, acting_as
from tests.admin.conftest import LogIn

pytestmark = pytest.mark.django_db

EXPORT = "admin:billing_leadclaim_export"


@pytest.fixture
def claims() -> None:
    with transaction.atomic(), acting_as("test"):
        LeadClaim.objects.create(user_id="u_1", lead_id="=cmd|' /C calc'!A0", credits_spent=3)
        LeadClaim.objects.create(user_id="u_2", lead_id="lead, “two”", status="failed")


def test_finance_exports_what_the_list_shows(claims: None, log_in: LogIn) -> None:
    client = log_in("finance")
    listed = client.get(reverse("admin:billing_leadclaim_changelist"))
    assert reverse(EXPORT) in listed.content.decode()
    response = client.get(reverse(EXPORT))
    assert "attachment" in response["Content-Disposition"]
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    exported = {row["user_id"]: row for row in csv.DictReader(io.StringIO(text))}
    assert exported["u_1"]["lead_id"] == "'=cmd|' /C calc'!A0", "no formula for a spreadsheet"
    assert exported["u_1"]["credits_spent"] == "3"
    assert exported["u_2"]["lead_id"] == "lead, “two”"
    assert exported["u_2"]["claimed_at"].endswith("+00:00")


def test_an_export_is_filtered_as_its_list(claims: None, log_in: LogIn) -> None:
    response = log_in("engineer").get(reverse(EXPORT), {"q": "u_2"})
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    assert [row["user_id"] for row in csv.DictReader(io.StringIO(text))] == ["u_2"]


@pytest.mark.parametrize("role", ["support", "nobody"])
def test_others_may_not_export(claims: None, log_in: LogIn, role: str) -> None:
    client = log_in(role)
    assert client.get(reverse(EXPORT)).status_code == 403

"""An incident's files: its report as a page and as Markdown, and its customers as CSV."""

import csv
import io

import pytest
from django.test import Client

from billing.admin.incident_files import url
from billing.incidents import scope
from billing.models import Incident
from billing.operations.incidents import CloseIncident, NoteIncident
from tests.admin.conftest import LogIn
from tests.admin.rows import HOSTILE
from tests.incidents.trouble import outage
from tests.operations.shop import BOB, audits

pytestmark = pytest.mark.django_db

FILES = ("report", "markdown", "customers")


def body_of(client: Client, row: Incident, name: str) -> str:
    response = client.get(url(row, name))
    assert response.status_code == 200
    return response.getvalue().decode()


def test_only_who_may_export_gets_them_and_each_is_written_down(log_in: LogIn) -> None:
    row = outage()
    for role in ("support", "nobody"):
        client = log_in(role)
        assert [client.get(url(row, name)).status_code for name in FILES] == [403, 403, 403]
    assert not audits("manual.export")
    finance = log_in("finance")
    for name in FILES:
        body_of(finance, row, name)
    assert [(each["export"], each["file"]) for each in audits("manual.export")] == [
        (f"incident {row.pk}: report", "html"),
        (f"incident {row.pk}: report", "md"),
        (f"incident {row.pk}: customers", "csv"),
    ]
    assert finance.post(url(row, "report")).status_code == 405
    row.pk += 1
    assert finance.get(url(row, "report")).status_code == 404


def test_the_csv_has_all_customers_the_gravest_first(
    log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "SHOWN", 1)
    lines = list(csv.DictReader(io.StringIO(body_of(log_in("engineer"), outage(), "customers"))))
    assert [line["user_id"] or line["customer_id"] for line in lines] == [
        "u_bob", "cus_dee", "u_ada", "u_cy", "cus_eve",
    ]  # fmt: skip
    assert (lines[0]["no_access"], lines[0]["amounts"]) == ("True", '{"eur": 2900}')
    assert (lines[2]["ungranted"], lines[2]["email"]) == ("50", "ada@example.com")


def test_the_report_is_whole_so_far_and_once_it_is_closed(log_in: LogIn) -> None:
    engineer, row = log_in("engineer"), outage()
    NoteIncident(incident_id=row.pk, text=HOSTILE, **BOB).apply()
    so_far = body_of(engineer, row, "report")
    assert "the report is written when it is closed" in so_far
    assert "<script>alert" not in so_far
    for said in ("29.00 EUR, 45.05 USD", "bob@example.com", "paid, and has none", "cus_dee"):
        assert said in so_far, said
    CloseIncident(incident_id=row.pk, report="The secret\nwas wrong.", **BOB).apply()
    closed = body_of(engineer, row, "markdown")
    for said in ("The secret  \nwas wrong.", "When it was closed", "**Closed by:** cli:bob"):
        assert said in closed, said

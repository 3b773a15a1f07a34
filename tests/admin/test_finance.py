"""The pages of finance: reports, the rows behind their figures, files, saved views."""

import csv
import io
import zipfile
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from djstripe.models import Product

from billing.admin.cells import page_url
from billing.admin.finance import rendering
from billing.admin.finance.pages import asked_of
from billing.models import (
    BalanceTransaction,
    BillingEvent,
    BillingInvoice,
    InvoiceDunning,
    RevenueEntry,
    SavedView,
    acting_as,
)
from billing.revenue import month_rows
from billing.revenue.reports import REPORTS
from tests.admin.conftest import LogIn, count_queries
from tests.operations.test_closing import closed
from tests.revenue.moving import read_up_to, sold

NOVEMBER = "from=2026-11-01&to=2026-11-30&timezone=Europe/Berlin"
pytestmark = pytest.mark.django_db


def entry(number: int, at: str, **values: Any) -> RevenueEntry:
    """An entry, and the balance transaction that it comes from."""
    made: dict[str, Any] = {
        "source": f"txn_{number}", "line": 0, "item": "gross", "currency": "usd", "amount": 1000,
        "fee": 59, "settled_currency": "usd", "tax": 0, "kind": "pack", "charge_id": f"ch_{number}",
        "product_id": "prod_1", "country": "DE", "at": datetime.fromisoformat(at),
    }  # fmt: skip
    made |= values
    made.setdefault("settled_amount", made["amount"])
    made.setdefault("settled_fee", made["fee"])
    if made["item"] != "out_of_band":
        category = {"gross": "charge", "refunds": "refund"}.get(made["item"], "dispute")
        BalanceTransaction.objects.create(
            stripe_id=made["source"], type=category, category=category,
            currency=made["settled_currency"], amount=made["settled_amount"],
            fee=made["settled_fee"], net=made["settled_amount"] - made["settled_fee"],
            created_at=made["at"], available_on=made["at"], charged_currency=made["currency"],
            charged_amount=made["amount"], charge_id=made["charge_id"],
        )  # fmt: skip
    return RevenueEntry.objects.create(**made)


@pytest.fixture
def november() -> None:
    """A month with two currencies, a refund, a month's border, and one that runs formulas."""
    entry(1, "2026-10-31T22:59:59+00:00")
    entry(2, "2026-10-31T23:00:00+00:00", amount=2000, fee=88, tax=200)
    entry(3, "2026-11-05T12:00:00+00:00", item="refunds", amount=-500, fee=0)
    entry(4, "2026-11-05T12:00:00+00:00", currency="jpy", amount=1500, settled_amount=1005,
          fee=88, settled_fee=59, kind="subscription", product_id="")  # fmt: skip
    entry(5, "2026-11-30T22:59:59+00:00", item="out_of_band", amount=700, fee=0, charge_id="",
          source="in_5", user_id="=cmd|' /C calc'!A0")  # fmt: skip
    entry(6, "2026-11-30T23:00:00+00:00")


@pytest.fixture
def finance(log_in: LogIn) -> Client:
    return log_in("finance")


def read(answer: Any) -> str:
    content: bytes = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return content.decode()


def page(client: Client, path: str) -> str:
    answer = client.get(f"/admin/finance/{path}")
    assert answer.status_code == 200, answer.content[:500]
    return answer.content.decode()


def test_a_month_is_that_of_its_zone_and_ties_to_the_balance(
    november: None, finance: Client
) -> None:
    shown = page(finance, f"revenue/?{NOVEMBER}&by=month")
    for figure in ("20.00", "5.00", "0.88", "14.12", "2.00", "7.00", "1,500"):
        assert figure in shown
    assert "10.00" not in shown.split("As Stripe settled it")[0]
    answer = finance.get(f"/admin/finance/revenue/file.csv?{NOVEMBER}&by=month&table=settled")
    row = list(csv.DictReader(line for line in read(answer).splitlines() if line[0] not in '#"'))
    assert [(r["currency"], r["net"], r["balance"], r["remainder"]) for r in row] == [
        ("usd", "23.58", "23.58", "0.00")
    ]


def test_each_figure_opens_the_rows_behind_it(november: None, finance: Client) -> None:
    shown = page(finance, f"revenue/rows/?{NOVEMBER}&item=refunds&currency=usd")
    assert "txn_3" in shown
    assert "txn_2" not in shown
    assert "txn_4" in page(finance, f"revenue/rows/?{NOVEMBER}&item=gross&without=product")


def test_every_link_of_a_report_leads_to_its_rows(november: None, finance: Client) -> None:
    for query in ("&by=month", "&split=product", "&against=year&by=week"):
        shown = page(finance, f"revenue/?{NOVEMBER}{query}")
        links = {part.split('"')[0] for part in shown.split('href="')[1:]}
        drills = {link.replace("&amp;", "&") for link in links if "/rows/" in link}
        assert drills
        for drill in drills:
            answer = finance.get(drill)
            assert answer.status_code == 200
            assert b"No such entry" not in answer.content, drill


def test_a_file_says_what_it_is_and_runs_nothing(november: None, finance: Client) -> None:
    where = f"{NOVEMBER}&item=out_of_band&table=behind"
    text = read(finance.get(f"/admin/finance/revenue/file.csv?{where}"))
    assert "# Days: 2026-11-01 to 2026-11-30, Europe/Berlin" in text
    assert "Booked: When Stripe booked it" in text
    (row,) = csv.DictReader(io.StringIO(text[text.index("\nat,") + 1 :]))
    assert row["amount"] == "7.00"
    assert row["user_id"] == "'=cmd|' /C calc'!A0"
    book = finance.get(f"/admin/finance/revenue/file.xlsx?{where}")
    content = b"".join(book.streaming_content)  # type: ignore[attr-defined]
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        sheets = {n: opened.read(n).decode() for n in opened.namelist() if "sheet" in n}
    assert "<f>" not in "".join(sheets.values())
    assert "'=cmd|" in sheets["xl/worksheets/sheet2.xml"]
    assert "Europe/Berlin" in sheets["xl/worksheets/sheet1.xml"]


def test_each_file_is_audited(november: None, finance: Client) -> None:
    read(finance.get(f"/admin/finance/revenue/file.csv?{NOVEMBER}&table=rows"))
    said = BillingEvent.objects.get(type="manual.export")
    assert said.actor == "finance"
    assert "to=2026-11-30" in said.payload["filters"]


def test_who_may_not_export_gets_no_file_and_support_no_report(
    november: None, log_in: LogIn
) -> None:
    support = log_in("support")
    assert support.get("/admin/finance/revenue/").status_code == 403
    assert support.get("/admin/finance/revenue/rows/").status_code == 403
    assert support.get("/admin/finance/revenue/file.csv?table=rows").status_code == 403
    assert not BillingEvent.objects.filter(type="manual.export").exists()


@pytest.mark.parametrize(
    "query",
    ["from=never", "timezone=Mars", "by=hour", "currency=12", "split=moon", "from=1&to=2",
     "from=2026-12-01&to=2026-11-01"],
)  # fmt: skip
def test_what_cannot_be_asked_is_said_on_the_page(finance: Client, query: str) -> None:
    answer = finance.get(f"/admin/finance/revenue/?{query}")
    assert answer.status_code == 400
    assert b"Filters" in answer.content


@pytest.mark.parametrize("query", ["item=moon", "after=x", "without=moon", "after=999999999999"])
def test_tampered_addresses_of_rows_are_refused(finance: Client, query: str) -> None:
    assert finance.get(f"/admin/finance/revenue/rows/?{query}").status_code == 400


@pytest.mark.parametrize(
    "path",
    ["revenue/rows/?settled=%00", "revenue/rows/?without=price&product=%ff",
     "credits/rows/?rows=uses&user=%00",
     "subscriptions/rows/?of=mrr&column=new&date=%00", "ageing/rows/?bucket=%ff",
     "failed_payments/rows/?what=entered&from=x", "journal/rows/?account=moon",
     "balance/rows/?of=payout&payout=%00", "balance/rows/?of=balance&item=moon&in=usd",
     "balance/rows/?of=category&category=x&in=usd&period=" + "9" * 3000,
     "closing/rows/?of=closed&close=" + "9" * 30, "closing/rows/?of=closed&close=%c2%b2"],
)  # fmt: skip
def test_no_report_takes_what_nothing_can_be_asked_with(finance: Client, path: str) -> None:
    expected = 200 if "%ff&" in path or path.endswith("product=%ff") else 400
    assert finance.get(f"/admin/finance/{path}").status_code == expected
    file = path.replace("rows/?", "file.csv?table=behind&")
    assert finance.get(f"/admin/finance/{file}").status_code == expected


@pytest.mark.parametrize(
    ("back", "said"),
    [(None, "has never been read to its end"), (timedelta(minutes=9), "it is read every ten"),
     (timedelta(hours=3), "(3 hours ago): what came since is missing. See on the home page")],
)  # fmt: skip
def test_a_report_says_how_fresh_it_is(finance: Client, back: timedelta | None, said: str) -> None:
    if back:
        read_up_to(datetime.now(UTC) - back)
    for name in ("revenue", "subscriptions", "closing"):
        assert said in page(finance, f"{name}/")
    text = read(finance.get("/admin/finance/revenue/file.csv?table=totals"))
    assert said in text


def test_a_report_says_what_came_to_a_closed_month(finance: Client) -> None:
    row = closed()
    asked = "from=2025-10-05&to=2025-11-30&by=month"
    assert "is closed, and" not in page(finance, f"revenue/?{asked}")
    sold("late", 700)
    month_rows.see_what_came_since()
    for name in ("revenue", "balance", "journal"):
        said = page(finance, f"{name}/?{asked}")
        assert "2025-10 is closed, and what came since would change its net by 7.00 USD" in said
    assert "is closed, and" not in page(finance, "revenue/?from=2025-11-01&to=2025-11-30")
    assert "is closed, and" not in page(finance, f"credits/?{asked}")
    month = finance.get(page_url(row)).content.decode()
    assert (
        f"/admin/finance/closing/rows/?from=2025-10-01&amp;to=2025-10-31&amp;timezone=UTC&amp;by=month&amp;of=closed&amp;close={row.pk}&amp;in=usd"
        in month
    )
    assert "/admin/finance/balance/?from=2025-10-01&amp;to=2025-10-31" in month


def test_a_page_shows_the_first_rows_of_very_many_and_a_file_all(
    november: None, finance: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "MOST_SHOWN", 3)
    shown = page(finance, f"journal/?{NOVEMBER}")
    assert "The first 3 rows are shown here" in shown
    text = read(finance.get(f"/admin/finance/journal/file.csv?{NOVEMBER}&table=journal"))
    assert len([line for line in text.splitlines() if line.startswith("2026-")]) > 3


def test_what_is_printed_says_what_it_was_filtered_by(november: None, finance: Client) -> None:
    query = f"{NOVEMBER}&currency=usd&split=kind&against=year&reporting=eur&country=de"
    said = "Europe/Berlin, USD, compared with the year before, also in EUR, split by: Kind"
    assert f"{said}, country: de" in page(finance, f"revenue/?{query}")


def test_products_are_named(november: None, finance: Client) -> None:
    Product.objects.create(
        id="prod_1", name="Fifty credits", livemode=False, djstripe_owner_account=None
    )
    assert "<td" in (shown := page(finance, f"revenue/?{NOVEMBER}&split=product"))
    assert "Fifty credits" in shown.split("All days")[0].split("</form>")[-1]


def test_days_without_revenue_say_so(finance: Client) -> None:
    assert "No revenue in these days" in page(finance, "revenue/")


def test_every_report_of_an_empty_database_says_what_is_missing(finance: Client) -> None:
    for report in REPORTS:
        shown = unescape(page(finance, f"{report.name}/"))
        asked = asked_of(report, {})
        for table in report.view(asked).tables:
            assert list(table.rows) or table.empty in shown, table.name
        book: Any = finance.get(f"/admin/finance/{report.name}/file.xlsx")
        assert b"".join(book.streaming_content).startswith(b"PK")


def test_a_report_takes_as_many_statements_however_many_rows(
    november: None, finance: Client
) -> None:
    few = count_queries(lambda: page(finance, f"revenue/?{NOVEMBER}"))
    for number in range(100, 160):
        entry(number, f"2026-11-{number % 28 + 1:02}T12:00:00+00:00", currency="eur")
    assert count_queries(lambda: page(finance, f"revenue/?{NOVEMBER}")) == few
    assert few <= 30


def test_a_view_is_saved_by_name_found_again_and_removed(finance: Client, log_in: LogIn) -> None:
    def post(path: str, **form: str) -> HttpResponse:
        answer: Any = finance.post(f"/admin/finance/revenue/{path}", form, follow=True)
        return answer

    kept = {"from": "2026-10-01", "to": "2026-10-31", "by": "month", "currency": "eur"}
    post("views/", view_name="October in euro", **kept)
    view = SavedView.objects.get()
    assert "from=2026-10-01" in view.query
    assert "October in euro" in page(log_in("engineer"), "revenue/")
    again = post("views/", view_name="october in EURO", **kept)
    assert b"already" in again.content
    post("views/remove/", view=str(view.pk))
    assert not SavedView.objects.exists()
    kinds = BillingEvent.objects.filter(type__startswith="manual.view").values_list("type")
    assert sorted(kind for (kind,) in kinds) == ["manual.view_removed", "manual.view_saved"]


def test_saving_needs_the_form_of_ones_own_session(log_in: LogIn) -> None:
    client = log_in("finance", enforce_csrf_checks=True)
    answer = client.post("/admin/finance/revenue/views/", {"view_name": "x"})
    assert answer.status_code == 403


def test_a_reporting_currency_is_shown_with_its_rate(november: None, finance: Client) -> None:
    shown = page(finance, f"revenue/?{NOVEMBER}&reporting=usd")
    assert "Converted into USD" in shown
    assert "0.006700" in shown
    assert "Stripe exchanged none of it" in page(finance, f"revenue/?{NOVEMBER}&reporting=eur")


def test_times_are_utc(november: None, finance: Client) -> None:
    text = read(
        finance.get(f"/admin/finance/revenue/file.csv?{NOVEMBER}&table=behind&item=refunds")
    )
    assert datetime(2026, 11, 5, 12, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S") in text


def test_the_list_of_failed_payments_offers_its_operations_to_those_who_may(
    log_in: LogIn,
) -> None:
    entered = datetime(2026, 11, 5, tzinfo=UTC)
    InvoiceDunning.objects.create(
        stripe_invoice_id="in_1", currency="usd", amount=900, entered_at=entered
    )
    with acting_as("test"):
        BillingInvoice.objects.create(
            stripe_invoice_id="in_1", status="open", amount_remaining=900, currency="usd"
        )
    path = f"/admin/finance/failed_payments/?{NOVEMBER}"
    form = f"{reverse('admin:billing_operation', args=['pay-invoice'])}?target=in_1"
    engineer = log_in("engineer")
    assert f'href="{form}"' in engineer.get(path).content.decode()
    assert engineer.get(form).status_code == 200
    behind = f"/admin/finance/failed_payments/rows/?{NOVEMBER}&what=now&currency=usd"
    assert f'href="{form}"' in engineer.get(behind).content.decode()
    shown = log_in("finance").get(path).content.decode()
    assert "in_1" in shown
    assert "Operations</th>" not in shown
    assert "pay-invoice" not in shown

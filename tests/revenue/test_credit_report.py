"""The report on credits: its figures, the rows behind each, and that they tie."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from billing.models import CreditFlow, LeadClaim, ReconciliationRun, acting_as
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.credits import lots, report
from billing.revenue.credits.figures import proof
from billing.revenue.credits.report import DIFFERS, TIES, UNPROVED, Credits
from tests.admin import rows
from tests.admin.conftest import log_in_as
from tests.operations.shop import past_triggers
from tests.revenue.ledgers import Kind, at, buy, post, reverse, sql

pytestmark = pytest.mark.django_db

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
EVENING = timedelta(hours=23, minutes=15)  # the next day already, in Berlin


def asked(**given: str) -> Asked:
    """The three days of the story, unless asked otherwise."""
    window = {"from": "2026-11-02", "to": "2026-11-04", "timezone": "Europe/Berlin"}
    return Asked.of(window | given, names=(), zone="UTC", now=MONDAY)


def claim(moment: datetime, credits_: int, user: str = "ada") -> None:
    with acting_as("test"):
        LeadClaim.objects.create(user_id=user, credits_spent=credits_, claimed_at=moment)
    sql(f"balance - {credits_}", user)


@pytest.fixture
def story() -> None:
    """Before the days, on Monday, and on Wednesday by Berlin's clock, Tuesday's by UTC."""
    with at(MONDAY - timedelta(days=40)):
        buy("cs_old", 1000, {"price_old": 10})
    with at(MONDAY):
        buy("cs_1", 9000, {"price_pack": 50}, quantity=2)
        buy("in_1", 2000, {"price_plan": 20}, user="bob", currency="jpy")
        post(5, Kind.GRANT, user="bob")
        claim(MONDAY, 15)
        claim(MONDAY, 22, "bob")
    with at(MONDAY + timedelta(days=1) + EVENING):
        reverse("dp_1", "cs_1", 4500)
        reverse("re_1", "in_1", 2000)
        buy("in_2", 2000, {"price_plan": 20}, user="bob", currency="jpy")
        post(15, Kind.CLAIM, "claim:1")
    lots.refresh()


def view(**given: str) -> dict[str, list[Any]]:
    said = Credits().view(asked(**given))
    assert said.notes == [TIES if ReconciliationRun.objects.exists() else UNPROVED]
    return {table.name: list(table.rows) for table in said.tables}


def test_credits_by_day_come_and_go_and_are_outstanding(story: None) -> None:
    monday, tuesday, wednesday = view()["credits"]
    assert monday == {
        "date": "2026-11-02", "packs": 100, "subscriptions": 20, "free": 5, "returned": 0,
        "spent": 37, "refunded": 0, "disputed": 0, "corrected": 0, "owed": 0, "net": 88,
        "outstanding": 98, "owing": 0, "leads": 2,
    }  # fmt: skip
    assert (tuesday["net"], tuesday["outstanding"]) == (0, 98)
    assert wednesday == {
        "date": "2026-11-04", "packs": 0, "subscriptions": 20, "free": 0, "returned": 15,
        "spent": 0, "refunded": 20, "disputed": 50, "corrected": 0, "owed": 0, "net": -35,
        "outstanding": 63, "owing": 0, "leads": 0,
    }  # fmt: skip
    by_utc = view(timezone="UTC")["credits"]
    assert [row["outstanding"] for row in by_utc] == [98, 63, 63]


def test_each_currency_has_what_its_credits_were_paid_for(story: None) -> None:
    """15 credits: 10 for 10.00 and 5 for 0.90 each; then 50 for 0.90 each, and 15 came back."""
    rows = {(row["date"], row["currency"]): row for row in view()["values"]}
    monday, wednesday = rows["2026-11-02", "usd"], rows["2026-11-04", "usd"]
    assert (monday["sold"], monday["spent"], monday["spent_credits"]) == (9000, 1450, 15)
    assert (monday["liability"], monday["liability_credits"]) == (8550, 95)
    assert monday["price_per_credit"] == 90
    assert monday["price_per_lead"] == 1788  # 1450 for 15 credits, and a lead costs 18.5
    assert (wednesday["clawed_back"], wednesday["returned"]) == (4500, 1450)
    assert wednesday["liability"] == 8550 - 4500 + 1450
    yen = rows["2026-11-04", "jpy"]
    assert (yen["sold"], yen["settled"], yen["clawed_back"], yen["liability"]) == (
        2000, 1700, 0, 300,
    )  # fmt: skip
    for row in rows.values():
        assert row["currency"] in ("usd", "jpy")
    totals = {row["currency"]: row for row in view()["totals"]}
    assert (totals["jpy"]["sold"], totals["jpy"]["spent"]) == (4000, 2000)
    assert totals["usd"]["liability"] == 5500
    assert [row["currency"] for row in view(currency="jpy")["totals"]] == ["jpy"]


def test_the_liability_rolls_forward(story: None) -> None:
    earlier = view(**{"from": "2026-10-01", "to": "2026-11-01"})["totals"]
    before = {"jpy": 0} | {row["currency"]: row["liability"] for row in earlier}
    assert before == {"usd": 1000, "jpy": 0}
    for row in view()["values"]:
        came = row["sold"] - row["settled"] + row["returned"]
        went = row["spent"] + row["clawed_back"] + row["corrected"]
        before[row["currency"]] += came - went
        assert row["liability"] == before[row["currency"]]


def test_the_heaviest_users_come_first(story: None) -> None:
    assert view()["heaviest"] == [
        {"user_id": "bob", "spent": 22, "currency": "", "credits": 2, "value": 0},
        {"user_id": "bob", "spent": 22, "currency": "jpy", "credits": 20, "value": 2000},
        {"user_id": "ada", "spent": 15, "currency": "usd", "credits": 15, "value": 1450},
    ]


def test_of_many_claims_a_page_opens_without_them_and_leads_to_them(
    story: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from there to the uses behind each figure; a file has them in any case."""
    monkeypatch.setattr(report, "AT_ONCE", 1)
    days = {"from": "2026-08-01", "to": "2026-11-30", "by": "month"}
    heaviest = next(t for t in Credits().view(asked(**days)).tables if t.name == "heaviest")
    assert heaviest.apart == {"rows": "heaviest"}
    assert [row["spent"] for row in heaviest.rows] == [22, 22, 15]
    client = log_in_as("finance")
    [link] = links(client, f"/admin/finance/credits/?{urlencode(days)}", "Add them up")
    behind = links(client, link, "15")
    page = client.get(behind[0]).content.decode()
    assert "cs_old" in page
    assert "cs_1" in page
    assert "rows=uses" in behind[0]
    assert "user=ada" in behind[0]


def links(client: Client, address: str, words: str) -> list[str]:
    """Where the links lead that begin so."""
    page = client.get(address).content.decode()
    return [unescape(found) for found in re.findall(rf'<a href="([^"]*)"[^>]*>{words}', page)]


def test_outstanding_ties_to_the_ledger_and_the_balances(story: None) -> None:
    """A page says what is outstanding now; a reconciliation reads all, and a page tells of it."""
    assert Credits().view(asked()).notes == [UNPROVED]
    rows.run(measures={"credits": proof()})
    now, proved = view()["reconciliation"]
    assert {**now, "at": None} == {
        "at": None, "lots": 63, "periods": 63, "unread": 0, "difference": 0,
    }  # fmt: skip
    assert {**proved, "at": None} == {**now, "at": None, "ledger": 63, "balances": 63}
    sql("balance + 4")
    now, proved = view()["reconciliation"]
    assert (now["lots"], now["unread"], proved["balances"]) == (63, 4, 63)
    assert proof()["difference"] == 0
    past_triggers("UPDATE lead_credits SET balance = 9 WHERE user_id = 'bob'")
    assert proof()["difference"] == 6
    CreditFlow.objects.filter(item="pack").delete()
    found = proof()
    assert found["difference"] == 116
    assert Credits().view(asked()).notes == [TIES]  # as of that run
    rows.run(measures={"credits": found})
    assert Credits().view(asked()).notes == [DIFFERS]


FIGURES = {
    "packs": "credits", "subscriptions": "credits", "free": "credits", "returned": "credits",
    "spent": "credits", "refunded": "credits", "disputed": "credits", "net": "delta",
    "owed": "owed", "outstanding": "left",
}  # fmt: skip
VALUES = {
    "spent": "value", "spent_credits": "credits", "clawed_back": "value", "liability": "value",
    "liability_credits": "left", "returned": "paid",
}  # fmt: skip


def test_the_rows_behind_each_figure_add_up_to_it(story: None) -> None:
    report = Credits()
    flows, totals, values, *_ = report.view(asked()).tables
    for table, measures in ((flows, FIGURES), (values, VALUES), (totals, VALUES)):
        for row in table.rows:
            for column, measure in measures.items():
                assert table.drill
                drill = table.drill(row, column)
                assert drill, column
                found = list(report.behind(asked(), drill).rows)
                total = sum(each[measure] for each in found)
                assert abs(total) == abs(row[column]), (row, column, found)


def test_the_other_figures_lead_to_rows_too(story: None) -> None:
    report = Credits()
    flows, totals, _, heaviest, tie = report.view(asked()).tables
    [monday, *_], [yen, _] = list(flows.rows), list(totals.rows)

    def behind(table: Any, row: Any, column: str) -> list[Any]:
        return list(report.behind(asked(), table.drill(row, column)).rows)

    assert [row["credits"] for row in behind(flows, monday, "leads")] == [15, 22]
    assert [row["paid"] for row in behind(totals, yen, "sold")] == [2000, 2000]
    assert [row["owed"] for row in behind(totals, yen, "settled")] == [-17]
    free, bought, _ = heaviest.rows
    assert [row["credits"] for row in behind(heaviest, free, "credits")] == [2]
    assert [row["credits"] for row in behind(heaviest, bought, "spent")] == [20, 2]
    held = behind(tie, next(iter(tie.rows)), "balances")
    assert [(row["user_id"], row["balance"], row["ledger"]) for row in held] == [
        ("ada", 60, 60), ("bob", 3, 3),
    ]  # fmt: skip
    assert tie.drill
    assert tie.drill({}, "lots") is None


@pytest.mark.parametrize(
    "drill",
    [{}, {"rows": "users"}, {"rows": "entries", "items": "x'"}, {"rows": "uses", "day": "2025"}],
)
def test_a_drill_that_nobody_gave_is_refused(drill: dict[str, str]) -> None:
    with pytest.raises(InvalidReportError):
        Credits().behind(asked(), drill)


def test_no_credits_at_all() -> None:
    said = view()
    assert [row["outstanding"] for row in said["credits"]] == [0, 0, 0]
    assert said["values"] == said["totals"] == said["heaviest"] == []

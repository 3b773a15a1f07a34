"""Finance's figures of the back office against those worked out from the sandbox."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from backoffice.postgres import BASE_DIR
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.year import lots
from tests.year.finance import Figures, Finance, first_days

ZONE = "Europe/Berlin"
CATEGORY = ("count", "amount", "fee", "net")
FAILED = ("entered", "entered_amount", "recovered", "recovered_amount", "lost", "lost_amount")
MRR = (
    "opening", "new", "expansion", "contraction", "churned", "reactivated", "closing",
    "closing_customers", "arpa",
)  # fmt: skip
VALUES = ("sold", "returned", "spent", "clawed_back", "liability")
REVENUE = ("gross", "refunds", "disputes", "fees", "other", "net", "tax", "out_of_band")


def finance_differences(back_office: BackOffice, sandbox: SandboxProcess) -> list[str]:
    """One line for each figure of each month that is not what the sandbox's objects make it."""
    finance = Finance(sandbox, ZONE)
    url = back_office.environment["DATABASE_URL"]
    spent = lots.claim_leads(url)
    begun = min(charge["created"] for charge in finance.charges.values())
    now = sandbox.control("clock", http="GET")["now"]
    months = first_days(begun, now, ZONE)
    last = datetime.fromtimestamp(now, UTC).astimezone(finance.zone).date()
    ends = [(date.fromisoformat(month) - timedelta(days=1)).isoformat() for month in months[1:]]
    told = commands(back_office, months[0], last.isoformat(), ends)
    return [
        *revenue_differences(finance, told),
        *subscription_differences(finance, told["mrr"], months),
        *compared("failed", told["failed"]["rows"], finance.dunning(), FAILED),
        *compared(
            "reason",
            [{**row, "date": ""} for row in told["failed"]["by_reason"]],
            finance.dunning(by_reason=True),
            FAILED,
            ("decline_reason",),
        ),
        *ageing_differences(finance, told["ageing"]),
        *balance_differences(finance, told["balance"]),
        *credit_differences(finance, told["credits"], url, spent),
        *proof_differences(told["proof"], told["credits"]["reconciliation"]),
    ]


def revenue_differences(finance: Finance, told: Any) -> Iterator[str]:
    yield from compared("revenue", told["revenue"]["rows"], finance.revenue(), REVENUE)
    for split in ("kind", "country", "price"):
        rows = told[f"by_{split}"]["rows"]
        yield from compared(split, rows, finance.revenue(split), REVENUE, (split,))
    yield from compared("settled", told["revenue"]["settled"], finance.settled(), ("net",))
    yield from (f"settled: {r}" for r in told["revenue"]["settled"] if r["remainder"])


def subscription_differences(finance: Finance, told: Any, months: list[str]) -> Iterator[str]:
    expected = finance.mrr(months)
    yield from compared("mrr", told["rows"], expected, MRR)
    yield from compared("counts", told["counts"], expected, ("active", "past_due", "trialing"))
    churn = ("churned", "churned_customers", "voluntary", "involuntary")
    yield from compared("churn", told["churn"], expected, churn)
    yield from cohort_differences(finance, told, months)
    trials = ("started", "ended", "converted")
    yield from compared("trials", told["trials"], finance.trials(), trials)


def cohort_differences(finance: Finance, told: Any, months: list[str]) -> Iterator[str]:
    """The report has the cohorts of its last twelve months."""
    shown = zip(told["cohorts"], told["cohort_mrr"], strict=True)
    for customers, mrr in shown:
        expected = finance.cohorts(customers["date"], customers["currency"], months)
        ours = [
            (customers[f"customers_{age}"], mrr[f"mrr_{age}"])
            for age in range(12)
            if customers.get(f"customers_{age}") is not None
        ]
        if ours != expected[: len(ours)] or not ours:
            yield f"cohort {customers['date']} {customers['currency']}: {ours}, {expected}"
    if not told["cohorts"]:
        yield "cohorts: none"


def ageing_differences(finance: Finance, told: Any) -> Iterator[str]:
    for day, said in told.items():
        rows = [{**row, "date": row["currency"]} for row in said["rows"]]
        expected = {
            (currency, currency, bucket): sums
            for (currency, bucket), sums in finance.ageing(date.fromisoformat(day)).items()
        }
        yield from compared(f"ageing {day}", rows, expected, ("invoices", "amount"), ("bucket",))


def balance_differences(finance: Finance, told: Any) -> Iterator[str]:
    """Every category, every payout and the balance are as Stripe has them, and tie out."""
    parts = ("category",)
    yield from compared("category", told["rows"], finance.categories(), CATEGORY, parts)
    payouts = {(made["id"], made["amount"], made["status"]) for made in finance.all("payouts")}
    here = {(row["payout"], row["amount"], row["status"]) for row in told["payouts"]}
    yield from (f"payout: {payout}" for payout in payouts ^ here)
    balance = finance.balance()
    closing = {row["currency"]: row["closing"] for row in told["balance"]}
    if closing != balance:
        yield f"balance: here {closing}, at Stripe {balance}"
    for row in (*told["balance"], *told["payouts"]):
        if row["remainder"]:
            yield f"balance: {row}"


def credit_differences(finance: Finance, told: Any, url: str, spent: int) -> Iterator[str]:
    """All credits, and what was paid for them. They have the back office's own times."""
    grants = finance.grants(dict(finance.purchases(list(finance.invoices.values()))))
    sold = sum(grant.credits for grant in grants)
    left = sum(grant.left() for grant in grants) - spent
    rows = told["rows"]
    here = {
        "sold": sum(row["packs"] + row["subscriptions"] for row in rows),
        "spent": sum(row["spent"] for row in rows),
        "left": rows[-1]["outstanding"] - rows[-1]["owing"],
    }
    if here != {"sold": sold, "spent": spent, "left": left}:
        yield f"credits: here {here}, at Stripe sold {sold}, spent {spent}, left {left}"
    totals = [{**row, "date": ""} for row in told["totals"]]
    worth = lots.values(finance, lots.ledger(url))
    expected = {("", currency): sums for currency, sums in worth.items()}
    yield from compared("paid for credits", totals, expected, VALUES)


def proof_differences(proof: dict[str, int], shown: list[dict[str, Any]]) -> Iterator[str]:
    """Lots, sums of periods, ledger and balances are one, and what the report shows is that."""
    if proof["difference"] or any(row["difference"] for row in shown):
        yield f"outstanding: {proof}, {shown}"
    if shown[0]["lots"] != proof["ledger"]:
        yield f"outstanding: here {shown[0]['lots']}, by the ledger {proof['ledger']}"


def commands(back_office: BackOffice, first: str, last: str, month_ends: list[str]) -> Any:
    """What the commands say; fails where one does."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.year.figures", first, last, ZONE, *month_ends],
        cwd=BASE_DIR,
        env=back_office.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def compared(
    name: str,
    rows: Iterable[dict[str, Any]],
    expected: Figures,
    figures: tuple[str, ...],
    parts: tuple[str, ...] = (),
) -> Iterator[str]:
    """Where rows of ours are not those expected. What is 0 everywhere needs no row."""
    here = {
        (row["date"], row["currency"], *(row[part] for part in parts)): {
            figure: row[figure] or 0 for figure in figures
        }
        for row in rows
    }
    nothing = dict.fromkeys(figures, 0)
    for key in sorted({*here, *expected}):
        ours = here.get(key, nothing)
        theirs = (
            {figure: expected[key][figure] for figure in figures} if key in expected else nothing
        )
        if ours != theirs:
            wrong = {f: (ours[f], theirs[f]) for f in figures if ours[f] != theirs[f]}
            yield f"{name} {' '.join(key)}: (here, at Stripe) {wrong}"

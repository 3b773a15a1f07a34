"""`python -m tests.bench.finance`: how long finance's pages and files take, at full size.

It fills a database of its own by SQL with the books of three years, and prints for each page the
median and the worst time in milliseconds, its statements, and the memory that it took: each
report for the last month by day and for the last 12 by month, the rows behind a figure, the list
of months and a month's page. Then, in a process of their own, files of the rows behind a figure:
rows a second, and the most memory that the process had. Example:

    python -m tests.bench.finance --invoices 100000 --events 500000 --customers 20000 --json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import django

from tests.bench.__main__ import database_server
from tests.bench.books import Sizes
from tests.bench.fresh import connect, fresh_database
from tests.bench.pages import ANSWER, MEGABYTE, Page, forget_peak, is_missed, opened, resident
from tests.bench.pages import show as show_pages

MONTH, YEAR = 500, 1000  # milliseconds
TRIES = 5


def pages() -> Iterator[Page]:
    """What is looked at: its name, its address, and how long it may take, in milliseconds."""
    from billing.admin.cells import changelist_url, page_url
    from billing.models import MonthClose
    from billing.revenue.reports import REPORTS

    month, year = spans()
    for report in REPORTS:
        for words, asked, target in (("a month", month, MONTH), ("a year", year, YEAR)):
            address = f"/admin/finance/{report.name}/?{urlencode(asked)}"
            yield f"{report.name}, {words}", address, target
    behind = {
        "revenue": {"item": "gross", "currency": "usd"},
        "subscriptions": {"of": "mrr", "column": "closing", "date": month["from"],
                          "currency": "usd", "by": "month"},
        "failed_payments": {"what": "entered", "currency": "usd"},
        "ageing": {"bucket": "not_due", "currency": "usd"},
        "credits": {"rows": "lots", "currency": "usd"},
        "balance": {"of": "category", "category": "charge", "in": "usd", "period": "1"},
    }  # fmt: skip
    for name, drill in behind.items():
        address = f"/admin/finance/{name}/rows/?{urlencode(month | drill)}"
        yield f"{name}, behind a figure", address, MONTH
    asked = urlencode({**year, "rows": "heaviest"})
    yield "credits, who spent most in a year", f"/admin/finance/credits/rows/?{asked}", YEAR
    yield "months", changelist_url(MonthClose), MONTH
    for row in MonthClose.objects.order_by("-month")[:2]:
        yield f"month, {row.get_state_display().lower()}", page_url(row), MONTH


def spans() -> tuple[dict[str, str], dict[str, str]]:
    """What asks a report for the last month by day, and for the last 12 by month."""
    last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
    before = last.replace(year=last.year - 1, day=28) + timedelta(days=4)
    return (
        {"from": f"{last.replace(day=1)}", "to": f"{last}", "by": "day"},
        {"from": f"{before.replace(day=1)}", "to": f"{last}", "by": "month"},
    )


def behind_each() -> Iterator[Page]:
    """The rows behind the last figure of each column of each table, over the last 12 months."""
    from billing.admin.finance.pages import asked_of
    from billing.revenue.reports import REPORTS

    _, year = spans()
    for report in REPORTS:
        for table in report.view(asked_of(report, year)).tables:
            rows = [] if table.apart else list(islice(table.rows, 1_000))
            for column in table.columns:
                behind = (table.drill(row, column.name) for row in reversed(rows) if table.drill
                          and row.get(column.name))  # fmt: skip
                if drill := next(filter(None, behind), None):
                    address = f"/admin/finance/{report.name}/rows/?{urlencode(year | drill)}"
                    yield f"{report.name}, behind {table.name} {column.name}", address, MONTH


def files(url: str, rows: int) -> dict[str, dict[str, Any]]:
    """What files of about a tenth of so many rows and of all of them take, each in a process."""
    from django.conf import settings

    from billing.models import RevenueEntry
    from billing.revenue.asked import Asked

    zone = ZoneInfo(settings.REPORT_TIME_ZONE)
    entries = RevenueEntry.objects.exclude(item="out_of_band").order_by("at", "id")
    first = entries.values_list("at", flat=True)[0].astimezone(zone).date()
    found = {}
    for kind in ("csv", "xlsx"):
        for count in (rows // 10, rows):
            last = entries.values_list("at", flat=True)[count - 1].astimezone(zone).date()
            query = {"from": f"{first}", "to": f"{last}", "by": "month", "item": "net",
                     "table": "behind"}  # fmt: skip
            there = entries.filter(at__lt=Asked(first, last, zone.key).until).count()
            said = in_a_process(url, f"/admin/finance/revenue/file.{kind}?{urlencode(query)}")
            found[f"{kind}, {there:,} rows"] = said | {"rows_a_second": there / said["seconds"]}
    return found


def in_a_process(url: str, address: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.child", "finance", "download"],
        input=json.dumps({"url": url, "address": address}),
        capture_output=True, text=True, check=True,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def download(url: str, address: str) -> dict[str, Any]:
    """Takes a file as finance does; its seconds, its bytes and the most memory it took."""
    from tests.admin.conftest import log_in_as

    connect(url)
    client = log_in_as("superuser")
    client.get("/admin/finance/revenue/", headers=ANSWER)
    before = forget_peak()
    started = time.perf_counter()
    with tempfile.TemporaryFile() as file:
        answer: Any = client.get(address, headers=ANSWER)
        assert answer.status_code == 200, answer.content[:500]
        for chunk in answer.streaming_content:
            file.write(chunk)
        size = file.tell()
    return {
        "seconds": time.perf_counter() - started,
        "bytes": size,
        "memory": resident("VmHWM") - before,
        "peak_memory": resident("VmHWM"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fills, measures, prints; exit code 1 where a page misses its target."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.finance", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    sizes = Sizes()
    parser.add_argument("--invoices", type=int, default=sizes.invoices)
    parser.add_argument("--events", type=int, default=sizes.events)
    parser.add_argument("--customers", type=int, default=sizes.customers)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of a file, 0 for no files")
    parser.add_argument("--tries", type=int, default=TRIES, help="of each page")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with database_server() as address:
        figures = on_a_fresh_database(address, options)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    else:
        show(figures)
    sys.exit(any(is_missed(each) for each in figures["pages"].values()))


def on_a_fresh_database(address: str, options: argparse.Namespace) -> dict[str, Any]:
    from tests.admin.conftest import log_in_as
    from tests.bench.books import fill

    with fresh_database(address) as database:
        started = time.perf_counter()
        fill(Sizes(options.invoices, options.events, options.customers))
        filled = time.perf_counter() - started
        return {
            "filled_in_seconds": filled,
            "pages": opened(log_in_as("finance"), pages(), options.tries),
            "files": files(database.url, options.rows) if options.rows else {},
        }


def show(figures: dict[str, Any]) -> None:
    """Prints tables of the pages and of the files."""
    write = sys.stdout.write
    write(f"Filled in {figures['filled_in_seconds']:.0f} s.\n\n")
    show_pages(figures["pages"])
    write(f"\n{'file':34}{'seconds':>10}{'rows/s':>10}{'size':>14}{'memory':>14}{'peak':>14}\n")
    for name, each in figures["files"].items():
        write(f"{name:34}{each['seconds']:10.1f}{each['rows_a_second']:10.0f}"
              f"{each['bytes'] / MEGABYTE:10.1f} MiB{each['memory'] / MEGABYTE:10.1f} MiB"
              f"{each['peak_memory'] / MEGABYTE:10.1f} MiB\n")  # fmt: skip


if __name__ == "__main__":
    main()

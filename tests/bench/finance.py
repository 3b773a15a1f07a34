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
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import django

from tests.bench.__main__ import database_server
from tests.bench.books import Sizes
from tests.bench.search import LARGE, scanned

MONTH, YEAR = 500, 1000  # milliseconds
MOST_STATEMENTS = 30
TRIES = 5
MEGABYTE = 1 << 20
ANSWER = {"host": "localhost"}


def pages() -> Iterator[tuple[str, str, int]]:
    """What is looked at: its name, its address, and how long it may take, in milliseconds."""
    from billing.admin.cells import changelist_url, page_url
    from billing.models import MonthClose
    from billing.revenue.reports import REPORTS

    last = datetime.now(UTC).date().replace(day=1) - timedelta(days=1)
    first = last.replace(day=1)
    year = last.replace(year=last.year - 1, day=28) + timedelta(days=4)
    month = {"from": f"{first}", "to": f"{last}"}
    spans = (
        ("a month", month | {"by": "day"}, MONTH),
        ("a year", {"from": f"{year.replace(day=1)}", "to": f"{last}", "by": "month"}, YEAR),
    )
    for report in REPORTS:
        for words, asked, target in spans:
            address = f"/admin/finance/{report.name}/?{urlencode(asked)}"
            yield f"{report.name}, {words}", address, target
    behind = {
        "revenue": {"item": "gross", "currency": "usd"},
        "subscriptions": {"of": "mrr", "column": "closing", "date": f"{first}", "currency": "usd",
                          "by": "month"},
        "failed_payments": {"what": "entered", "currency": "usd", **month},
        "ageing": {"bucket": "not_due", "currency": "usd"},
        "credits": {"rows": "lots", "currency": "usd"},
        "balance": {"of": "category", "category": "charge", "in": "usd", "period": "1"},
    }  # fmt: skip
    for name, drill in behind.items():
        address = f"/admin/finance/{name}/rows/?{urlencode(month | drill)}"
        yield f"{name}, behind a figure", address, MONTH
    yield "months", changelist_url(MonthClose), MONTH
    for row in MonthClose.objects.order_by("-month")[:2]:
        yield f"month, {row.get_state_display().lower()}", page_url(row), MONTH


def measured(tries: int) -> dict[str, dict[str, Any]]:
    """What each page takes once it has been opened, and what it reads from end to end."""
    from tests.admin.conftest import log_in_as

    client = log_in_as("finance")
    found = {}
    for name, address, target in pages():
        times = []
        memory = forget_peak()
        for _ in range(tries + 1):
            started = time.perf_counter()
            answer = client.get(address, headers=ANSWER)
            assert answer.status_code == 200, (address, answer.content[:500])
            times.append((time.perf_counter() - started) * 1000)
        memory = resident("VmHWM") - memory
        found[name] = asked_of_the_database(client, address) | {
            "median": statistics.median(times[1:]),
            "worst": max(times[1:]),
            "target": target,
            "memory": max(memory, 0),
        }
    return found


def asked_of_the_database(client: Any, address: str) -> dict[str, Any]:
    """A page's statements, their milliseconds, and the large tables that they read as a whole."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        answer = client.get(address, headers=ANSWER)
    assert answer.status_code == 200, (address, answer.content[:500])
    return {
        "statements": len(captured),
        "sql": sum(float(query["time"]) for query in captured) * 1000,
        "scans": sorted(scans(query["sql"] for query in captured)),
    }


def scans(statements: Iterable[str]) -> set[str]:
    """The large tables that any of these statements reads from end to end."""
    from django.db import connection

    found: set[str] = set()
    with connection.cursor() as cursor:
        for statement in statements:
            asked = re.sub(r"^DECLARE .*? CURSOR .*?FOR\s", "", statement.strip(), flags=re.DOTALL)
            if not asked.lstrip().startswith(("SELECT", "WITH")):
                continue
            cursor.execute(f"EXPLAIN (FORMAT JSON) {asked}")
            plan = cursor.fetchone()[0]
            found.update(scanned(json.loads(plan) if isinstance(plan, str) else plan))
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND reltuples >= %s",
            [list(found), LARGE],
        )
        return {name for (name,) in cursor.fetchall()}


def resident(name: str) -> int:
    """This process's memory, in bytes: `VmRSS` now, `VmHWM` at the most."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def forget_peak() -> int:
    """From now on the most memory counts anew: what there is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


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


def connect(url: str) -> None:
    """Makes the database at `url` the one that is used."""
    from django.db import connections

    from tests.support.databases import Database

    connections["default"].close()
    name = url.rsplit("/", 1)[-1]
    connections["default"].settings_dict.update(Database(name, url).django_settings)


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
    from django.db import connections

    from tests.bench.books import fill
    from tests.support.databases import Databases

    databases = Databases(address)
    database = databases.create()
    try:
        connect(database.url)
        started = time.perf_counter()
        fill(Sizes(options.invoices, options.events, options.customers))
        filled = time.perf_counter() - started
        pages = measured(options.tries)
        return {
            "filled_in_seconds": filled,
            "pages": pages,
            "files": files(database.url, options.rows) if options.rows else {},
        }
    finally:
        connections["default"].close()
        databases.drop(database)
        databases.close()


def is_missed(each: dict[str, Any]) -> bool:
    return bool(each["median"] > each["target"] or each["statements"] > MOST_STATEMENTS)


def show(figures: dict[str, Any]) -> None:
    """Prints tables of the pages and of the files."""
    write = sys.stdout.write
    write(f"Filled in {figures['filled_in_seconds']:.0f} s.\n\n")
    write(f"{'page':34}{'median':>8}{'worst':>8}{'SQL':>8}{'target':>8} ms"
          f"{'statements':>12}{'memory':>10}\n")  # fmt: skip
    for name, each in figures["pages"].items():
        reads = f"  reads all of {', '.join(each['scans'])}" if each["scans"] else ""
        write(f"{name:34}{each['median']:8.0f}{each['worst']:8.0f}{each['sql']:8.0f}"
              f"{each['target']:8} ms{each['statements']:9}{each['memory'] / MEGABYTE:9.1f} MiB"
              f"{'  MISSED' if is_missed(each) else ''}{reads}\n")  # fmt: skip
    write(f"\n{'file':34}{'seconds':>10}{'rows/s':>10}{'size':>14}{'memory':>14}{'peak':>14}\n")
    for name, each in figures["files"].items():
        write(f"{name:34}{each['seconds']:10.1f}{each['rows_a_second']:10.0f}"
              f"{each['bytes'] / MEGABYTE:10.1f} MiB{each['memory'] / MEGABYTE:10.1f} MiB"
              f"{each['peak_memory'] / MEGABYTE:10.1f} MiB\n")  # fmt: skip


if __name__ == "__main__":
    main()

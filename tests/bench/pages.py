"""How long pages take, what they ask of the database, and the memory that they take."""

import json
import math
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LARGE = 5000  # rows, from which on no table may be read from end to end
MOST_STATEMENTS = 30
ALL = 1 << 40
PAGE = 201  # rows that are read for one: its own, and whether there are more
MEGABYTE = 1 << 20
ANSWER = {"host": "localhost"}
Page = tuple[str, str, int]  # its name, its address, and how long it may take, in milliseconds
Figures = dict[str, Any]


def opened(
    client: Any, pages: Iterable[Page], tries: int, large: int = LARGE
) -> dict[str, Figures]:
    """What each page takes once it has been opened, and which tables of so many rows or more it
    reads from end to end."""
    found = {}
    for name, address, target in pages:
        times = []
        memory = forget_peak()
        for _ in range(tries + 1):
            started = time.perf_counter()
            get(client, address)
            times.append((time.perf_counter() - started) * 1000)
        memory = resident("VmHWM") - memory
        asked = asked_of_the_database(client, address, large)
        found[name] = asked | {
            "median": statistics.median(times[1:]),
            "p95": sorted(times[1:])[math.ceil(0.95 * tries) - 1],
            "worst": max(times[1:]),
            "target": target,
            "memory": max(memory, 0),
        }
    return found


def get(client: Any, address: str) -> Any:
    """The answer of a page: a search may lead on to what it found."""
    answer = client.get(address, headers=ANSWER)
    assert answer.status_code in (200, 302), (address, answer.status_code, answer.content[:500])
    return answer


def asked_of_the_database(client: Any, address: str, large: int = LARGE) -> Figures:
    """A page's statements, their milliseconds, and the large tables that they read as a whole."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        get(client, address)
    return {
        "statements": len(captured),
        "sql": sum(float(query["time"]) for query in captured) * 1000,
        "scans": sorted(scans((query["sql"] for query in captured), large)),
    }


def scans(statements: Iterable[str], large: int = LARGE) -> set[str]:
    """The tables of so many rows or more that one of these statements reads from end to end, or
    half of them: as they lie, or through an index that leads nowhere in particular."""
    from django.db import connection

    read: Counter[str] = Counter()
    with connection.cursor() as cursor:
        for statement in statements:
            if not statement.lstrip().startswith(("SELECT", "WITH", "DECLARE")):
                continue
            cursor.execute(f"EXPLAIN (FORMAT JSON{explained(statement)}) {statement}")
            plan = cursor.fetchone()[0]
            plan = json.loads(plan) if isinstance(plan, str) else plan
            share = read_for_a_page(plan) if opens_a_cursor(statement) else 1
            for name, rows in scanned(plan):
                read[name] = max(read[name], int(rows * share))
        cursor.execute(
            "SELECT relname, reltuples FROM pg_class WHERE relname = ANY(%s) AND reltuples >= %s",
            [list(read), large],
        )
        return {name for name, rows in cursor.fetchall() if read[name] >= rows / 2}


def explained(statement: str) -> str:
    """How a statement is explained: it is run where that can be done, to see what it reads."""
    if opens_a_cursor(statement):  # of a cursor only as much is read as is asked for
        return ""
    # What the server binds is not written into the statement's text.
    return ", GENERIC_PLAN" if re.search(r"\$\d", statement) else ", ANALYZE, TIMING OFF"


def opens_a_cursor(statement: str) -> bool:
    return statement.lstrip().startswith("DECLARE")


def read_for_a_page(plan: Any) -> float:
    """Which share of all that a cursor may read it has read when a page is full: all of it where it
    puts rows in order first, or where it finds few; little where an index has the order."""
    root = plan[0]["Plan"]
    first, last = root["Startup Cost"], root["Total Cost"]
    return float((first + (last - first) * min(1, PAGE / max(root["Plan Rows"], 1))) / last)


def scanned(plan: Any) -> Iterator[tuple[str, int]]:
    """The tables that are scanned somewhere in a plan, and the rows that this reads: those that
    it finds and those that it leaves out, or would find where it was not run; all of them, where
    it would go through the table as it lies."""
    if isinstance(plan, list):
        for item in plan:
            yield from scanned(item)
    elif isinstance(plan, dict):
        if "Relation Name" in plan:
            rows = [plan.get("Actual Rows", plan["Plan Rows"])]
            rows += [n for name, n in plan.items() if name.startswith("Rows Removed by")]
            is_all = "Actual Rows" not in plan and plan["Node Type"].endswith("Seq Scan")
            found = ALL if is_all else int(sum(rows) * plan.get("Actual Loops", 1))
            yield plan["Relation Name"], found
        for value in plan.values():
            if isinstance(value, dict | list):
                yield from scanned(value)


def resident(name: str, pid: int | str = "self") -> int:
    """A process's memory, in bytes: `VmRSS` now, `VmHWM` at the most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return int(status[name].split()[0]) * 1024


def forget_peak() -> int:
    """From now on the most memory counts anew: what there is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def is_missed(each: Figures, measure: str = "median") -> bool:
    """Whether a page took too long, or too many statements."""
    return bool(each[measure] > each["target"] or each["statements"] > MOST_STATEMENTS)


def show(pages: dict[str, Figures], measure: str = "median") -> None:
    """Prints a line for each page; what is named by `measure` is held against its target."""
    write = sys.stdout.write
    write(f"{'page':58}{'median':>8}{'p95':>8}{'worst':>8}{'SQL':>8}{'target':>8} ms"
          f"{'statements':>12}{'memory':>10}\n")  # fmt: skip
    for name, each in pages.items():
        reads = f"  reads all of {', '.join(each['scans'])}" if each["scans"] else ""
        write(f"{name[:57]:58}{each['median']:8.0f}{each['p95']:8.0f}{each['worst']:8.0f}"
              f"{each['sql']:8.0f}{each['target']:8} ms{each['statements']:9}"
              f"{each['memory'] / MEGABYTE:9.1f} MiB"
              f"{'  MISSED' if is_missed(each, measure) else ''}{reads}\n")  # fmt: skip

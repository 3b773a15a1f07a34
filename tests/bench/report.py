"""The figures as a table, beside what they are meant to be."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

Figures = dict[str, Any]
SIDES = ("ours", "djstripes")


@dataclass(frozen=True)
class Line:
    """One figure of both sides; None where it has no counterpart."""

    title: str
    ours: float
    theirs: float | None = None
    is_rate: bool = False
    target: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.is_rate and self.theirs else None


def lines(report: Figures) -> Iterator[Line]:
    """The report, line by line, with the targets where there are any."""
    yield from of_deliveries(report["acknowledge"])
    yield from of_events(report["process"])
    yield from of_sync(report["sync"])
    rate = report["lists"]["rate"]
    yield Line("objects the sandbox lists a second", rate, target="8,000", met=rate >= 8000)
    if "large" in report:
        made = report["large"]["made"]
        each = made["seconds"] / made["customers"]
        yield Line(
            f"seconds to make a world of {made['customers']:,.0f} customers",
            made["seconds"],
            target="180 for 100,000",
            met=each * 100_000 < 180,
        )
        figures = report["large"]["subscription"]
        megabytes = figures["peak_megabytes"]
        yield Line(f"{figures['items']:,.0f} subscriptions, synced a second", figures["rate"])
        yield Line("  megabytes at most", megabytes, target="under 200", met=megabytes < 200)


def of_deliveries(report: Figures) -> Iterator[Line]:
    """How many webhooks are acknowledged, and how soon."""
    ours, theirs = (report["quick"][side]["rate"] for side in SIDES)
    yield Line("webhooks taken a second", ours, theirs, True, "15 times", ours >= 15 * theirs)
    late, theirs_late = (report["slow"][side]["rate"] for side in SIDES)
    yield Line("  while Stripe is slow", late, theirs_late, True)
    busy, both = (report[name]["ours"]["rate"] for name in ("quick_working", "slow_working"))
    yield Line("  while our worker works", busy)
    unchanged = both >= 0.9 * busy
    yield Line("  while it does, and Stripe is slow", both, target="no less", met=unchanged)
    yield Line(
        "  milliseconds, 95 of 100 of them",
        *(report["quick"][side]["p95_seconds"] * 1000 for side in SIDES),
    )


def of_events(report: Figures) -> Iterator[Line]:
    """How fast events are processed, and what each takes."""
    ours, theirs = (report[side] for side in SIDES)
    yield Line("events processed a second", ours["rate"], theirs["rate"], True)
    yield Line("  SQL statements an event", ours["statements"], theirs["statements"])
    calls, most = ours["api_calls"], 0.05
    yield Line(
        "  API calls an event",
        calls,
        theirs["api_calls"],
        target=f"at most {most}",
        met=calls <= most,
    )
    yield Line("  failed", ours["failures"], theirs["failures"])


def of_sync(report: Figures) -> Iterator[Line]:
    """How fast objects are brought in; in the end, all of the world's, of all kinds."""
    ours, theirs = (report[side] for side in SIDES)
    for kind in ours:
        yield Line(f"{kind}s synced a second", ours[kind]["rate"], theirs[kind]["rate"], True)
        yield Line("  API calls an object", ours[kind]["api_calls"], theirs[kind]["api_calls"])
    counts = {kind: figures["items"] for kind, figures in ours.items()}
    fast, slow = (
        sum(counts.values()) / sum(counts[kind] / side[kind]["rate"] for kind in counts)
        for side in (ours, theirs)
    )
    yield Line("all of them a second", fast, slow, True, "40 times", fast >= 40 * slow)
    yield Line(
        "  megabytes at most",
        *(max(figures["peak_megabytes"] for figures in side.values()) for side in (ours, theirs)),
    )


def show(report: Figures) -> None:
    """Prints the report as a table."""
    table = Table(title="Ours beside dj-stripe's own path")
    table.add_column("what", no_wrap=True)
    for heading in ("ours", "dj-stripe", "ratio", "to reach"):
        table.add_column(heading, justify="right")
    for line in lines(report):
        verdict = {True: "[green]reached[/green]", False: "[red]missed[/red]", None: ""}[line.met]
        table.add_row(
            line.title,
            number(line.ours),
            number(line.theirs),
            number(line.ratio),
            f"{line.target} {verdict}".strip(),
        )
    Console().print(table)


def number(value: float | None) -> str:
    """With as many digits as it deserves."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"

"""Finance's figures of the back office against those worked out from the sandbox."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from backoffice.postgres import BASE_DIR
from tests.sandbox.server import SandboxProcess
from tests.support.back_office import BackOffice
from tests.year.finance import Figures, Finance, first_days

ZONE = "Europe/Berlin"
REVENUE = ("gross", "refunds", "disputes", "fees", "other", "net", "tax", "out_of_band")


def finance_differences(back_office: BackOffice, sandbox: SandboxProcess) -> list[str]:
    """One line for each figure of each month that is not what the sandbox's objects make it."""
    finance = Finance(sandbox, ZONE)
    begun = min(charge["created"] for charge in finance.charges.values())
    now = sandbox.control("clock", http="GET")["now"]
    months = first_days(begun, now, ZONE)
    last = datetime.fromtimestamp(now, UTC).astimezone(finance.zone).date()
    told = commands(back_office, months[0], last.isoformat())
    return [
        *compared("revenue", told["revenue"]["rows"], (), finance.revenue(), REVENUE),
        *compared("kind", told["by_kind"]["rows"], ("kind",), finance.revenue("kind"), REVENUE),
        *compared(
            "country", told["by_country"]["rows"], ("country",), finance.revenue("country"), REVENUE
        ),
        *compared("settled", told["revenue"]["settled"], (), finance.settled(), ("net",)),
        *[f"settled: remainder {r}" for r in told["revenue"]["settled"] if r["remainder"]],
    ]


def commands(back_office: BackOffice, first: str, last: str) -> Any:
    """What the commands say; fails where one does."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.year.figures", first, last, ZONE],
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
    parts: tuple[str, ...],
    expected: Figures,
    figures: tuple[str, ...],
) -> Iterator[str]:
    """Where rows of ours are not those expected. What is 0 everywhere needs no row."""
    here = {
        (row["date"], row["currency"], *(row[part] for part in parts)): {
            figure: row[figure] for figure in figures
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

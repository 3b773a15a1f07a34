"""The SQL statements of the runbook, read from the document itself."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

RUNBOOK = Path(__file__).with_name("runbook.md")

HEADING = re.compile(r"^## \W*(?P<section>.+)$")
STEP = re.compile(r"^\d+\. \*\*(?P<step>.+)\*\*$")
FENCE = re.compile(r"^\s*```(?P<language>\w*)$")


@dataclass(frozen=True)
class Statement:
    """One statement: `sql` as it stands, and where it stands."""

    section: str
    step: str
    number: int
    sql: str

    @property
    def name(self) -> str:
        """Unique in the document, such as `Webhook Failures: Check Database 2`."""
        return f"{self.section}: {self.step} {self.number}"


def statements() -> list[Statement]:
    """Every statement in a block of SQL, in the order of the document."""
    found: list[Statement] = []
    numbers: Counter[tuple[str, str]] = Counter()
    section = step = ""
    block: list[str] | None = None
    for line in RUNBOOK.read_text(encoding="utf-8").splitlines():
        if fence := FENCE.match(line):
            if block is not None:
                for sql in split("\n".join(block)):
                    numbers[section, step] += 1
                    found.append(Statement(section, step, numbers[section, step], sql))
            block = [] if fence["language"] == "sql" else None
        elif block is not None:
            block.append(line)
        elif heading := HEADING.match(line):
            section, step = heading["section"], ""
        elif title := STEP.match(line):
            step = title["step"]
    return found


def split(block: str) -> list[str]:
    """The statements of a block. None of the document's texts contains a semicolon."""
    *whole, rest = block.split(";")
    assert not rest.strip(), f"no semicolon ends {rest!r}"
    return [sql.strip() for sql in whole]

"""The table for a security review is whole, and every test that it names is there."""

import ast
import re
from collections import Counter
from functools import cache

from django.conf import settings

TABLE = settings.BASE_DIR / "deploy" / "security.md"
TESTS = settings.BASE_DIR / "tests"
ROW = re.compile(r"^\| (V[\d.]+) \| (.+) \| (?:`(.+?)`)? ?\|$", re.MULTILINE)
LEFT_OUT = re.compile(r"^- ((?:V[\d.]+(?:, )?)+): .+\.$", re.MULTILINE)

# How many requirements of levels 1 and 2 each section of ASVS 5.0.0 has: they are its first ones.
SECTIONS = {
    "V1": (2, 9, 11, 3, 2),
    "V2": (3, 3, 4, 1),
    "V3": (0, 2, 4, 6, 5, 0, 2),
    "V4": (3, 1, 2, 4),
    "V5": (1, 3, 2, 3),
    "V6": (3, 12, 4, 4, 5, 3, 0, 4),
    "V7": (3, 4, 2, 5, 2, 2),
    "V8": (2, 3, 1, 1),
    "V9": (3, 4),
    "V10": (2, 2, 4, 11, 5, 2, 3),
    "V11": (2, 3, 3, 4, 1, 1),
    "V12": (3, 2, 4),
    "V13": (1, 5, 2, 5),
    "V14": (2, 4, 3),
    "V15": (3, 3, 7),
    "V16": (1, 5, 4, 3, 3),
    "V17": (1, 4, 2),
}
REQUIREMENTS = {
    f"{chapter}.{section}.{number}"
    for chapter, counts in SECTIONS.items()
    for section, count in enumerate(counts, 1)
    for number in range(1, count + 1)
}


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_requirement_is_answered_once() -> None:
    text = TABLE.read_text()
    applicable = [name for name, _, _ in ROW.findall(text)]
    left_out = [name for names in LEFT_OUT.findall(text) for name in names.split(", ")]
    assert len(REQUIREMENTS) == 253
    assert Counter(applicable + left_out) == Counter(REQUIREMENTS)


def test_each_test_that_it_names_is_there() -> None:
    named = [test for _, _, test in ROW.findall(TABLE.read_text()) if test]
    assert len(named) > 100
    for test in named:
        path, _, name = test.partition("::")
        assert name.startswith("test_"), test
        assert name in names_in(path), test

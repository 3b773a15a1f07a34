"""Stripe's search query language for customers, as SQL conditions.

`field:"value"` (equal), `field~"part"` (contains), `created>123`, `metadata["key"]:"value"`,
`-` negates, clauses are joined by AND or by OR, never both.
Source: https://docs.stripe.com/search
"""

import re
from typing import Any

from backoffice.sandbox.errors import invalid

CLAUSE = re.compile(
    r"""\s*(?P<not>-)?(?P<field>created|email|name|phone|metadata\[(?P<q>["'])(?P<key>.*?)(?P=q)\])
    \s*(?P<op>>=|<=|[:~><])\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>null|-?[0-9]{1,18})\b)\s*""",
    re.VERBOSE,
)
JOINER = re.compile(r"(AND|OR)\b", re.IGNORECASE)
SHORTEST_PART = 3


def compile_query(query: str) -> tuple[str, list[Any]]:
    """(SQL condition, its values); 400 where the query cannot be understood."""
    conditions: list[str] = []
    values: list[Any] = []
    joiners: set[str] = set()
    position = 0
    while True:
        match = CLAUSE.match(query, position)
        if not match:
            raise invalid(
                "We were unable to parse your search query. Try using the format "
                '`metadata["key"]:"value"` to query for metadata or key:"value" to query for '
                "other fields.",
                "query",
            )
        condition, found = _clause(match)
        conditions.append(condition)
        values += found
        position = match.end()
        if position >= len(query):
            break
        joiner = JOINER.match(query, position)
        if joiner:
            position = joiner.end()
        joiners.add(joiner[1].upper() if joiner else "AND")
    if len(joiners) > 1:
        raise invalid("You cannot combine AND and OR in one search query.", "query")
    return f" {joiners.pop() if joiners else 'AND'} ".join(conditions), values


def _clause(match: re.Match[str]) -> tuple[str, list[Any]]:
    field, op = match["field"], match["op"]
    values: list[Any] = []
    if match["key"] is not None:
        column = "json_extract(json, ?)"
        values.append('$.metadata."' + match["key"].replace('"', "") + '"')
    elif field in ("created", "email"):
        column = field
    else:
        column = f"json_extract(json, '$.{field}')"
    quoted = match["double"] if match["double"] is not None else match["single"]
    if match["bare"] == "null":
        return f"{'NOT ' if match['not'] else ''}{column} IS NULL", values
    value: Any = int(match["bare"]) if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    if op == "~":
        if len(str(value)) < SHORTEST_PART:
            raise invalid("A substring search needs at least 3 characters.", "query")
        condition = f"instr(lower({column}), lower(?)) > 0"
    elif op == ":" and field != "created":
        condition = f"{column} = ? COLLATE NOCASE"
    elif op == ":":
        condition = f"{column} = ?"
    elif field == "created":
        condition = f"{column} {op} ?"
    else:
        raise invalid(f"The field {field} does not support {op}.", "query")
    values.append(value)
    return (f"NOT coalesce({condition}, 0)" if match["not"] else condition), values

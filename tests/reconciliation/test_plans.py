"""No question to our own books reads a large table once for every row of another."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from billing.reconciliation import books, measures
from tests.support.plans import plan

LARGE = re.compile(
    r"Seq Scan on (billing_(?:purchases|payments|invoice_payments|invoices|inbox|events|customers)"
    r"|credit_entries|lead_claims|djstripe_charge)"
)


def scans_in_subplans(sql: str) -> list[str]:
    """Tables that a part of the statement which runs for each row reads from end to end.

    Scans are forbidden here, so that those that are left have no index that would serve.
    """
    found, subplan = [], None
    for line in plan(sql, "seqscan"):
        depth = len(line) - len(line.lstrip())
        if subplan is not None and depth <= subplan:
            subplan = None
        if line.strip().startswith("SubPlan"):
            subplan = depth
        if subplan is not None and (scan := LARGE.search(line)):
            found.append(scan[1])
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("days", [2, None], ids=["daily", "full"])
def test_what_is_asked_for_each_row_is_found_by_an_index(days: int | None) -> None:
    until = timezone.now()
    since = until - timedelta(days=days) if days else None
    with CaptureQueriesContext(connection) as asked:
        for question in books.QUESTIONS:
            list(question(since, until))
        measures.clearing(since, until)
    # Those whose parameters the server binds are logged without them.
    statements = [q["sql"] for q in asked if "SELECT" in q["sql"] and "$1" not in q["sql"]]
    assert len(statements) > len(books.QUESTIONS)
    assert {sql[:80]: scans for sql in statements if (scans := scans_in_subplans(sql))} == {}


@pytest.mark.django_db
def test_the_grants_of_a_purchase_are_looked_up() -> None:
    """Not each purchase compared with all entries, of whatever index they are read."""
    now = timezone.now()
    with CaptureQueriesContext(connection) as asked:
        list(books.lost_grants(now - timedelta(days=2), now))
    lines = "\n".join(plan(asked[0]["sql"], "seqscan"))
    assert re.search(
        r"credit_entries_source on credit_entries .*\n\s+Index Cond: \(source =", lines
    )

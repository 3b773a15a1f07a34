"""The simulated year in short; with 1,000 customers: `make year`."""

from pathlib import Path

from tests.support.databases import Database
from tests.year.run import run_year


def test_after_a_year_every_subscription_invoice_and_credit_is_as_at_stripe(
    real_database: Database, tmp_path: Path
) -> None:
    outcome = run_year(real_database.url, tmp_path, customers=25, seed=4, say=print)
    assert outcome.invoices > 150
    assert outcome.entries > 150

"""The simulated year in short; with 1,000 customers: `make year`."""

from pathlib import Path

import pytest

from tests.support.databases import Database
from tests.year.run import run_year


@pytest.mark.long
def test_after_a_year_every_row_and_every_figure_of_finance_is_as_at_stripe(
    real_database: Database, tmp_path: Path
) -> None:
    outcome = run_year(real_database.url, tmp_path, customers=25, seed=4, say=print)
    assert outcome.invoices > 150
    assert outcome.entries > 150

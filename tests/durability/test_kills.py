"""The drill in short: each of the three processes dies once in the middle of its work.

Every row is compared, those of dj-stripe's tables, too; `make drill` breaks more, and at length.
"""

from pathlib import Path

import pytest

from backoffice.postgres import EmbeddedServer
from tests.durability.drill import run_drill


@pytest.mark.long
def test_what_is_killed_in_the_middle_ends_as_if_it_had_not_been(
    postgres_server: EmbeddedServer, tmp_path: Path
) -> None:
    run_drill(postgres_server, tmp_path, deliveries=90, every=25)

"""A world to look at: a marketplace with customers and their billing history, by seed.

Everybody lives through the same life cycles as in a running sandbox, only with the clock of the
past, so the events of the last 30 days fit the objects.
"""

import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

from backoffice.sandbox.store import Row, Store
from backoffice.sandbox.world.catalogue import Catalogue, make_catalogue
from backoffice.sandbox.world.lives import customer_rows
from backoffice.sandbox.world.payouts import pay_out_world
from backoffice.sandbox.world.settings import USUAL, Settings, Shape

ALONE = 2000
"""Up to so many customers one process is quicker than several."""
CHUNK = 250


def build_world(
    path: Path,
    customers: int,
    seed: int,
    *,
    now: int,
    base_url: str,
    shape: Shape = USUAL,
    payouts: bool = False,
) -> None:
    """Makes the file `path`, which must not exist; it appears only once it is complete.

    The same `customers`, `seed`, `shape` and `now` (epoch seconds, when the world ends) give the
    same ids, amounts and times; `base_url` is where the links in objects point to. With
    `payouts`, what became available was paid out every day.
    """
    settings = Settings(seed, now, base_url, shape)
    catalogue = make_catalogue(settings.seed, now, base_url)
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with Store.loading(unfinished) as store:
        store.load_rows(catalogue.rows)
        for rows in _lives(settings, catalogue, customers):
            store.load_rows(rows)
        if payouts:
            pay_out_world(store, settings)
    unfinished.rename(path)


def _lives(settings: Settings, catalogue: Catalogue, customers: int) -> Iterator[list[Row]]:
    """The rows of every customer, in order."""
    chunks = [
        (settings, catalogue, range(first, min(first + CHUNK, customers)))
        for first in range(0, customers, CHUNK)
    ]
    if customers <= ALONE:
        yield from map(_chunk, chunks)
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
        yield from pool.imap(_chunk, chunks)


def _chunk(task: tuple[Settings, Catalogue, range]) -> list[Row]:
    settings, catalogue, numbers = task
    return [row for number in numbers for row in customer_rows(settings, catalogue, number)]

"""What the account of a world was paid out: as every day does it in a running sandbox."""

import random
from collections.abc import Iterator
from itertools import groupby

from backoffice.sandbox.due import PAYOUT_WAITS
from backoffice.sandbox.lifecycle import payouts
from backoffice.sandbox.store import Row, Store
from backoffice.sandbox.world.history import History, history
from backoffice.sandbox.world.settings import Settings

AVAILABLE = """
SELECT json_extract(json, '$.available_on') AS day, json_extract(json, '$.currency') AS currency,
       json_extract(json, '$.net'), seq
FROM objects WHERE kind = 'balance_transaction' AND day <= ? ORDER BY currency, day, seq"""


def pay_out_world(store: Store, settings: Settings) -> None:
    """Adds the daily payouts of everything that became available before the world ends."""
    rng = random.Random(f"{settings.seed} payouts")  # noqa: S311
    days = settings.shape.event_days
    work = history(rng, 0, settings.now, settings.base_url, {}, event_days=days)
    contents: list[tuple[str, int]] = []
    for midnight, currency, amount, places in _days(store, settings.now):
        payout = _live(work, midnight, amount, currency)
        contents += [(payout, seq) for seq in places]
    store.load_rows(work.all_rows())
    store.db.executemany("UPDATE objects SET payout = ? WHERE seq = ?", contents)
    store.db.execute(
        "UPDATE objects SET payout = parent WHERE kind = 'balance_transaction' AND type = 'payout'"
    )


def _days(store: Store, now: int) -> Iterator[tuple[int, str, int, list[int]]]:
    """(day, currency, amount, places of what it consists of) of each payout."""
    rows: Iterator[Row] = iter(store.rows(AVAILABLE, [now]))
    for currency, of_currency in groupby(rows, key=lambda row: str(row[1])):
        amount, places = 0, []
        for day, booked in groupby(of_currency, key=lambda row: int(row[0])):
            for _, _, net, seq in booked:
                amount += net
                places.append(seq)
            if amount > 0:
                yield day, currency, amount, places
                amount, places = 0, []


def _live(work: History, midnight: int, amount: int, currency: str) -> str:
    """A payout as far as it got until the world ended; its id."""
    work.now = midnight
    payout = payouts.make(work, amount, currency)
    for later, happens in (
        (midnight + PAYOUT_WAITS, payouts.leave),
        (payout["arrival_date"], payouts.arrive),
    ):
        if later <= work.until:
            work.now = later
            happens(work, payout)
    return str(payout["id"])

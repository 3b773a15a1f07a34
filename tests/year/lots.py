"""What credits were paid for, worked out from Stripe's prices in the order of the ledger.

First in, first out, in plain loops: which credits a debit takes, and what had been paid for them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg

from tests.year.finance import Finance

Values = dict[str, Counter[str]]
"""Minor units by currency: sold, returned, spent, clawed_back, liability."""
Entry = tuple[str, int, int, str, str | None]  # user, delta, change of what is owed, kind, source
NAMES = {"claim": "spent", "sql": "spent", "refund": "clawed_back", "dispute": "clawed_back"}


@dataclass
class Lot:
    """Credits that came at once, and how many of them are used."""

    credits: int
    paid: int
    currency: str
    used: int = 0

    def take(self, wanted: int) -> tuple[int, int]:
        """How many of the wanted credits it has left, and what had been paid for those."""
        taken = min(wanted, self.credits - self.used)
        value = self.worth(self.used + taken) - self.worth(self.used)
        self.used += taken
        return taken, value

    def worth(self, upto: int) -> int:
        return self.paid * upto // self.credits


def claim_leads(url: str) -> int:
    """The application spends two thirds of each user's credits, by its own SQL. How many."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            WITH spent AS (
                UPDATE lead_credits SET balance = balance - balance * 2 / 3
                WHERE balance > 1 RETURNING user_id, balance
            ), claimed AS (
                INSERT INTO lead_claims (user_id, lead_id, credits_spent)
                SELECT s.user_id, 'lead_' || s.user_id, c.balance - s.balance
                FROM spent s JOIN lead_credits c USING (user_id) RETURNING credits_spent
            )
            SELECT coalesce(sum(credits_spent), 0)::bigint FROM claimed
            """
        ).fetchone()
    assert row is not None
    return int(row[0])


def ledger(url: str) -> list[Entry]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT user_id, delta, owed_delta, kind, source FROM credit_entries ORDER BY id"
        ).fetchall()


def values(finance: Finance, entries: Iterable[Entry]) -> Values:
    """What was paid for the credits that came, went and are left."""
    prices = paid(finance)
    held: dict[str, list[Lot]] = defaultdict(list)
    took: dict[str, tuple[int, Counter[str]]] = {}
    found: Values = defaultdict(Counter)
    for user, delta, owed, kind, source in entries:
        assert owed == 0, "nobody spent before money was taken back, so that nobody owes"
        if delta > 0:
            is_sold = source in prices
            currency, amount = prices[source] if is_sold else returned(delta, source, took)
            found[currency]["sold" if is_sold else "returned"] += amount
            held[user].append(Lot(delta, amount, currency))
        else:
            sums = used(held[user], -delta)
            took[str(source)] = (-delta, sums)
            for currency, value in sums.items():
                found[currency][NAMES[kind]] += value
    for lot in (lot for own in held.values() for lot in own):
        found[lot.currency]["liability"] += lot.paid - lot.worth(lot.used)
    return found


def paid(finance: Finance) -> dict[str | None, tuple[str, int]]:
    """Currency and amount of each purchase, by the source of its grant."""
    found: dict[str | None, tuple[str, int]] = {
        f"checkout:{made['id']}": (made["currency"], made["amount_total"])
        for made in finance.packs.values()
    }
    for made in finance.invoices.values():
        lines = [
            line
            for line in finance.lines_of(made)
            if line["parent"]["type"] == "subscription_item_details"
        ]
        for line in lines:
            assert len(lines) == 1, "the amount would have to be shared"
            found[f"invoice:{made['id']}:{line['id']}"] = (made["currency"], made["amount_paid"])
    return found


def returned(
    delta: int, source: str | None, took: dict[str, tuple[int, Counter[str]]]
) -> tuple[str, int]:
    """What credits are worth that were taken back and came again: what they were then."""
    credits_, sums = took[str(source).replace("_reversed:", ":")]
    ((currency, value),) = sums.items()
    return currency, value * min(delta, credits_) // credits_


def used(lots: list[Lot], wanted: int) -> Counter[str]:
    """Takes credits from the oldest lots; what had been paid for them, by currency."""
    sums: Counter[str] = Counter()
    for lot in lots:
        taken, value = lot.take(wanted)
        wanted -= taken
        if taken:
            sums[lot.currency] += value
    assert wanted == 0, "more was taken than there was"
    return sums

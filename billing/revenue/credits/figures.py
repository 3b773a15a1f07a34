"""The figures of credits over the periods of a report, added up from `billing_credit_flows`."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from billing.database import rows
from billing.models.credit_lots import SPENT
from billing.revenue.periods import EDGES, Periods

BACK = ("refund", "dispute")
BOUGHT = ("pack", "subscription")

# Whole days of UTC where a period holds all of one; quarters of the days in which periods end.
_FLOWS = f"""
    WITH {EDGES}, flows AS (
        SELECT d.* FROM billing_credit_flows d
        WHERE d.is_day AND d.at < %(until)s AND d.at NOT IN (SELECT day FROM edges)
        UNION ALL
        SELECT q.* FROM edges JOIN billing_credit_flows q
            ON NOT q.is_day AND q.at >= day AND q.at < day + interval '1 day' AND q.at < %(until)s
    )
    SELECT width_bucket(at, %(starts)s::timestamptz[]) AS period, item, currency,
           sum(credits) AS credits, sum(owed) AS owed, sum(sold) AS sold,
           sum(lot_credits) AS lot_credits, sum(value) AS value
    FROM flows GROUP BY 1, 2, 3
"""  # noqa: S608
# A range of the index for each period: twice as quick as telling each claim's period.
_LEADS = """
    SELECT period, leads, credits
    FROM unnest(%(starts)s::timestamptz[], %(ends)s::timestamptz[])
        WITH ORDINALITY AS periods(since, until, period)
    CROSS JOIN LATERAL (
        SELECT count(*) AS leads, sum(credits_spent)::bigint AS credits FROM lead_claims
        WHERE claimed_at >= since AND claimed_at < until AND status = 'succeeded'
    ) claimed WHERE leads > 0
"""
_OUTSTANDING = """
    SELECT (SELECT coalesce(sum(lot_credits), 0) FROM billing_credit_flows WHERE is_day) AS lots,
           (SELECT coalesce(sum(credits + owed), 0) FROM billing_credit_flows WHERE is_day)
               AS periods,
           (SELECT coalesce(sum(delta), 0) FROM credit_entries e
            WHERE e.id > coalesce((SELECT floor FROM billing_credit_progress WHERE id = 1), 0)
              AND e.id > coalesce((SELECT p.entry_id FROM billing_credit_positions p
                                   WHERE p.user_id = e.user_id), 0)) AS unread
"""
_PROOF = f"""
    {_OUTSTANDING}, (SELECT coalesce(sum(delta), 0) FROM credit_entries) AS ledger,
           (SELECT coalesce(sum(balance), 0) FROM lead_credits) AS balances
"""  # noqa: S608


@dataclass(slots=True)
class Sums:
    """What flowed in a period, by item; or in all of them until then."""

    credits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    owed: int = 0
    sold: int = 0
    lot_credits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    value: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, item: str, row: dict[str, Any]) -> None:
        self.credits[item] += int(row["credits"])
        self.owed += int(row["owed"])
        self.sold += int(row["sold"])
        self.lot_credits[item] += int(row["lot_credits"])
        self.value[item] += int(row["value"])

    def net(self) -> int:
        return sum(self.credits.values()) + self.owed

    def taken(self, *items: str) -> int:
        """Credits that entries of these purposes took, as a number above 0."""
        return -sum(self.credits[item] for item in items)

    def valued(self, *items: str) -> int:
        """What was paid for the credits that were used for these purposes, above 0."""
        return -sum(self.value[item] for item in items)


@dataclass(slots=True)
class Figures:
    """The sums of each period, 0 being all before: over all currencies, and of each."""

    periods: Periods
    all: dict[int, Sums]
    by_currency: dict[str, dict[int, Sums]]
    leads: dict[int, tuple[int, int]]  # succeeded claims, and the credits that they cost

    @property
    def claims(self) -> int:
        """How many succeeded in these periods."""
        return sum(number for number, _ in self.leads.values())

    def credits(self) -> Iterable[dict[str, Any]]:
        """A row for each period: what came, what went, what is outstanding at its end."""
        outstanding, owing = self.all[0].net(), self.all[0].owed
        for number in range(1, self.periods.count + 1):
            sums = self.all[number]
            outstanding += sums.net()
            owing += sums.owed
            yield {
                "date": self.periods.label(number - 1),
                "packs": sums.credits["pack"],
                "subscriptions": sums.credits["subscription"],
                "free": sums.credits["free"],
                "returned": sums.credits["returned"],
                "spent": sums.taken(*SPENT),
                "refunded": sums.taken("refund"),
                "disputed": sums.taken("dispute"),
                "corrected": sums.taken("correction"),
                "owed": sums.owed,
                "net": sums.net(),
                "outstanding": outstanding,
                "owing": owing,
                "leads": self.leads.get(number, (0, 0))[0],
            }

    def values(self, currency: str = "") -> list[dict[str, Any]]:
        """A row for each period and currency (or that one): what the credits were paid for."""
        found = []
        left = {code: sum(sums[0].value.values()) for code, sums in self.by_currency.items()}
        credits_ = {
            code: sum(sums[0].lot_credits.values()) for code, sums in self.by_currency.items()
        }
        for number in range(1, self.periods.count + 1):
            for code in sorted(self.by_currency):
                sums = self.by_currency[code][number]
                left[code] += sum(sums.value.values())
                credits_[code] += sum(sums.lot_credits.values())
                if code and currency in ("", code):
                    row = {"date": self.periods.label(number - 1), "currency": code}
                    money = self._money([sums], [number])
                    found.append(row | money | _left(left[code], credits_[code]))
        return found

    def totals(self, currency: str = "") -> list[dict[str, Any]]:
        """The same over all periods, a row for each currency."""
        found = []
        for code in sorted(set(self.by_currency) - {""}):
            sums = self.by_currency[code]
            numbers = range(1, self.periods.count + 1)
            money = self._money([sums[number] for number in numbers], numbers)
            ever = [sums[number] for number in range(self.periods.count + 1)]
            left = sum(sum(each.value.values()) for each in ever)
            credits_ = sum(sum(each.lot_credits.values()) for each in ever)
            if currency in ("", code):
                found.append({"currency": code} | money | _left(left, credits_))
        return found

    def _money(self, sums: list[Sums], numbers: Iterable[int]) -> dict[str, Any]:
        sold, used = sum(each.sold for each in sums), sum(each.valued(*SPENT) for each in sums)
        bought = -sum(each.valued(*BOUGHT) for each in sums)
        credits_ = -sum(each.lot_credits[item] for each in sums for item in SPENT)
        leads, cost = (
            sum(counts)
            for counts in zip(*(self.leads.get(n, (0, 0)) for n in numbers), strict=True)
        )
        return {
            "sold": sold,
            "settled": sold - bought,
            "returned": sum(each.value["returned"] for each in sums),
            "spent": used,
            "spent_credits": credits_,
            "clawed_back": sum(each.valued(*BACK) for each in sums),
            "corrected": sum(each.valued("correction") for each in sums),
            "price_per_lead": _quotient(used * cost, credits_ * leads),
        }


def _left(liability: int, credits_: int) -> dict[str, Any]:
    return {
        "liability": liability,
        "liability_credits": credits_,
        "price_per_credit": _quotient(liability, credits_),
    }


def _quotient(part: int, whole: int) -> int | None:
    """Rounded half up to a minor unit; None of nothing."""
    return (2 * part + whole) // (2 * whole) if whole > 0 else None


def figures(periods: Periods) -> Figures:
    """All figures of these periods, in two queries."""
    window = {"starts": periods.starts, "ends": periods.ends, "until": periods.until}
    everything: dict[int, Sums] = defaultdict(Sums)
    by_currency: dict[str, dict[int, Sums]] = defaultdict(lambda: defaultdict(Sums))
    for row in rows(_FLOWS, window):
        everything[row["period"]].add(row["item"], row)
        by_currency[row["currency"]][row["period"]].add(row["item"], row)
    leads = {row["period"]: (row["leads"], row["credits"]) for row in rows(_LEADS, window)}
    return Figures(periods, everything, by_currency, leads)


def outstanding() -> dict[str, int]:
    """What is outstanding now by the lots and by the sums of all periods: one and the same.

    `unread` is in entries of which neither knows yet, and `difference` what they differ by.
    """
    return _tied(rows(_OUTSTANDING))


def proof() -> dict[str, int]:
    """The same, and what all of the ledger's entries and all balances add up to.

    Reads all of both: a reconciliation keeps what it says (billing.reconciliation.runs).
    """
    return _tied(rows(_PROOF))


def _tied(found: list[dict[str, Any]]) -> dict[str, int]:
    sums = {name: int(value) for name, value in found[0].items()}
    unread = sums["unread"]
    same = [value + unread * (name in ("lots", "periods")) for name, value in sums.items()
            if name != "unread"]  # fmt: skip
    return sums | {"difference": max(same) - min(same)}

"""Money adds up, whatever days and currencies it is spread over."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from billing.revenue.days import Days
from billing.revenue.ours import Placed
from billing.revenue.stripes import COLLECTED, SETTLED, Bridge, captured
from billing.revenue.sums import MOST_CAUSES, Causes

START = datetime(2026, 10, 23, 22, tzinfo=UTC)  # midnight in Berlin, two days before 25 hours
END = START + timedelta(days=5)
SETTLES_IN = ("usd", "eur")
# Seconds after START: before, inside and after the window.
times = st.integers(-3 * 86400, 8 * 86400)
amounts = st.integers(1, 10**12)


def bridge() -> Bridge:
    return Bridge(Days(START, END, "Europe/Berlin"), START - timedelta(days=1))


def at(seconds: int) -> int:
    return int(START.timestamp()) + seconds


@dataclass(frozen=True)
class Sale:
    """A charge, when it is paid here, how it was settled, and what was taken back."""

    charged: int
    paid: int
    delay: int
    currency: str
    settles_in: str
    amount: int
    fee: int
    refunds: tuple[int, ...]

    @property
    def settled(self) -> int:
        return self.charged + self.delay

    def booked(self, number: int, seconds: int, amount: int, category: str, fee: int) -> Any:
        return {
            "id": f"txn_{number}", "object": "balance_transaction", "created": at(seconds),
            "currency": self.settles_in, "amount": amount, "fee": fee, "net": amount - fee,
            "reporting_category": category, "exchange_rate": None,
        }  # fmt: skip

    def charge(self, booked: Any = None) -> Any:
        return {
            "id": "ch_1", "object": "charge", "created": at(self.charged), "status": "succeeded",
            "currency": self.currency, "amount": self.amount, "amount_captured": self.amount,
            "balance_transaction": booked,
        }  # fmt: skip


sales = st.builds(
    Sale, times, times, st.integers(0, 5 * 86400), st.sampled_from(["usd", "eur", "jpy"]),
    st.sampled_from(SETTLES_IN), amounts, st.integers(0, 10**6),
    st.lists(times, max_size=3).map(tuple),
)  # fmt: skip


def placed(sale: Sale) -> Placed:
    paid_at = datetime.fromtimestamp(at(sale.paid), UTC)
    return Placed("in_1", paid_at, sale.amount, True, "", "", False)


def read(sale: Sale) -> bool:
    """Whether the charge is among those that a bridge reads."""
    return -86400 <= sale.charged < 6 * 86400


@given(st.lists(sales, max_size=15), st.data())
def test_what_is_paid_here_and_charged_leaves_nothing(
    happened: list[Sale], data: st.DataObject
) -> None:
    """Whenever it was charged and paid; and one charge that is not there is all that remains."""
    made = bridge()
    lost = data.draw(st.sampled_from([None, *range(len(happened))]))
    for number, sale in enumerate(happened):
        day = made.days.of(datetime.fromtimestamp(at(sale.paid), UTC))
        made.collected.add(day, sale.currency, "invoices", sale.amount)
        if not read(sale):
            made.collected.add(day, sale.currency, "timing", -sale.amount)
        elif number != lost:
            made.add_charge(sale.charge(), placed(sale))
    remains = [(row["date"], row["currency"], row["remainder"])
               for row in made.collected.rows(COLLECTED) if row["remainder"]]  # fmt: skip
    if lost is None or not read(happened[lost]):
        assert remains == []
        return
    sale = happened[lost]
    day = made.days.of(datetime.fromtimestamp(at(sale.paid), UTC))
    assert remains == ([(day.isoformat(), sale.currency, -sale.amount)] if day else [])


@given(st.lists(sales, max_size=15))
def test_charges_refunds_and_fees_are_the_net_of_the_balance(happened: list[Sale]) -> None:
    made = bridge()
    balance = []
    for number, sale in enumerate(happened):
        booked = sale.booked(number, sale.settled, sale.amount, "charge", sale.fee)
        if sale.settles_in != sale.currency:
            booked |= {"amount": sale.amount * 3, "net": sale.amount * 3 - sale.fee}
        balance.append(booked | {"source": sale.charge(booked["id"])})
        if read(sale):
            made.add_charge(sale.charge(booked), placed(sale))
        for seconds in sale.refunds:
            back = sale.booked(number, seconds, -sale.amount // 2, "refund", 0)
            refund = {"object": "refund", "created": at(seconds), "balance_transaction": back}
            balance.append(back | {"source": {**refund, "balance_transaction": back["id"]}})
            if -86400 <= seconds < 6 * 86400:
                made.add_refund(refund)
    for booked in balance:
        made.add_balance_transaction(booked)
    assert not any(row["remainder"] for row in made.settled.rows(SETTLED))
    inside = [b for b in balance if at(0) <= b["created"] < at(5 * 86400)]
    totals = made.settled.totals(SETTLED)
    for currency in SETTLES_IN:
        net = sum(b["net"] for b in inside if b["currency"] == currency)
        assert totals.get(currency, {"net": 0})["net"] == net
    assert made.causes.listed == []


def sale(**changes: Any) -> Sale:
    usual: dict[str, Any] = {
        "charged": 0,
        "paid": 0,
        "delay": 0,
        "currency": "usd",
        "settles_in": "usd",
        "amount": 1000,
        "fee": 30,
        "refunds": (),
    }
    return Sale(**usual | changes)


def test_a_charge_that_bounced_came_in_and_went_out() -> None:
    made, debit = bridge(), sale()
    came = debit.booked(1, 0, 1000, "charge", 30)
    went = debit.booked(2, 2 * 86400, -1000, "charge_failure", 0)
    charge = debit.charge(came) | {"status": "failed", "failure_balance_transaction": went}
    assert captured(charge) == 0
    made.add_charge(charge, placed(debit))
    for booked in (came, went):
        made.add_balance_transaction(booked | {"source": charge})
    first, third = made.settled.rows(SETTLED)
    assert (first["failed"], first["fees"], first["net"]) == (1000, -30, 970)
    assert (third["failed"], third["fees"], third["net"]) == (-1000, 0, -1000)
    assert (first["remainder"], third["remainder"]) == (0, 0)


def test_a_capture_of_less_than_was_authorised_is_reversed_in_part() -> None:
    """One balance transaction for all of it, and one that takes the rest back."""
    made = bridge()
    for part in (sale(), sale(currency="eur")):
        whole = part.booked(1, 0, 1000, "charge", 30)
        rest = part.booked(2, 0, -400, "partial_capture_reversal", -10)
        charge = part.charge(whole) | {"amount_captured": 600}
        made.add_charge(charge, placed(part))
        for booked in (whole, rest):
            made.add_balance_transaction(booked | {"source": charge})
    rows = {row["currency"]: row for row in made.settled.rows(SETTLED)}
    assert rows["usd"]["net"] == 2 * (600 - 20)
    assert [row["remainder"] for row in rows.values()] == [0, 0]


def test_payouts_and_other_movements_stand_apart() -> None:
    made, none = bridge(), sale()
    made.add_balance_transaction(none.booked(1, 0, -5000, "payout", 0))
    made.add_balance_transaction(none.booked(2, 0, -200, "fee", 0))
    made.add_balance_transaction(none.booked(3, 0, 900, "charge", 0))  # of no charge
    [row] = made.settled.rows(SETTLED)
    assert (row["payouts"], row["other"], row["net"], row["remainder"]) == (-5000, -200, 700, 900)
    assert [cause["id"] for cause in made.causes.listed] == ["txn_3"]


def test_what_is_only_authorised_is_not_charged() -> None:
    waiting = sale().charge() | {"captured": False, "amount_captured": 0}
    assert captured(waiting) == 0
    made = bridge()
    made.add_charge(waiting, Placed("", None, None, True, "", "", False))
    assert [*made.collected.rows(COLLECTED), *made.settled.rows(SETTLED)] == []
    assert made.causes.listed == []


def test_causes_are_named_up_to_a_number_and_counted_beyond() -> None:
    causes = Causes()
    for number in range(MOST_CAUSES + 7):
        causes.add(f"ch_{number}", START.date(), "usd", 1, "It is not here at all.")
    causes.add("ch_away", None, "usd", 1, "It is on no day of the window.")
    assert (len(causes.listed), causes.more) == (MOST_CAUSES, 7)

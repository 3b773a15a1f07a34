"""Which rows are behind which figure of the report on subscriptions."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.models import MrrChange
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.mrr import behind, columns
from billing.revenue.mrr.days import STATUSES
from billing.revenue.mrr.figures import cohort_months
from billing.revenue.mrr.states import COUNTED
from billing.revenue.periods import Periods
from billing.revenue.report import Column, Row, Table


@dataclass(frozen=True, slots=True)
class Place:
    """Where a figure stands: its period, from `start` to `end`, in the report's, its currency."""

    periods: Periods
    number: int
    currency: str

    @property
    def start(self) -> datetime:
        return self.periods.starts[self.number]

    @property
    def end(self) -> datetime:
        return self.periods.ends[self.number]

    @property
    def words(self) -> str:
        """The period and the currency, for people."""
        first, last = self.periods.span(self.number)
        return f"{first} to {last}, {self.currency.upper()}"


Behind = Callable[[Place], Table]
_COHORT = re.compile(r"(?:customers|mrr)_([0-9]{1,2})$")


def is_known(table: str, column: str) -> bool:
    """Whether a figure has rows behind it."""
    return (table, column) in _BEHIND or (table in _COHORTS and _age(table, column) is not None)


def rows_behind(asked: Asked, drill: Mapping[str, str]) -> Table:
    """The rows of the figure that `drill` names. Raises InvalidReportError."""
    table, column = drill.get("of", ""), drill.get("column", "")
    if not is_known(table, column):
        raise InvalidReportError(f"No rows are behind “{table[:60]} {column[:60]}”.")
    place = _place(asked, table, drill)
    if table not in _COHORTS:
        return _BEHIND[table, column](place)
    month = place.number + (_age(table, column) or 0)
    if month >= place.periods.count:
        raise InvalidReportError("That month is after the last one that is shown.")
    moment = place.periods.ends[month]
    rows = behind.cohort((place.start, place.end), moment, place.currency)
    title = f"Customers whose first MRR was in {place.words}, {month - place.number} months on"
    return Table("cohort", title, columns.COHORT, rows)


def _place(asked: Asked, table: str, drill: Mapping[str, str]) -> Place:
    periods = cohort_months(asked.periods) if table in _COHORTS else asked.periods
    labels = [periods.label(number) for number in range(periods.count)]
    date = drill.get("date", "")
    if date not in labels:
        raise InvalidReportError(f"No period here begins on “{date[:60]}”.")
    return Place(periods, labels.index(date), drill.get("currency", ""))


def _changes(*kinds: str, voluntary: bool | None = None) -> Behind:
    def rows(place: Place) -> Table:
        found = behind.changes((place.start, place.end), place.currency, kinds, voluntary=voluntary)
        return _table("changes", f"Changes of MRR, {place.words}", columns.CHANGES, found)

    return rows


def _subscriptions(*statuses: str, at_start: bool = False, with_mrr: bool = False) -> Behind:
    def rows(place: Place) -> Table:
        moment = place.start if at_start else place.end
        found = behind.subscriptions(moment, place.currency, statuses, with_mrr=with_mrr)
        when = "beginning" if at_start else "end"
        title = f"Subscriptions at the {when} of {place.words}"
        return _table("subscriptions", title, columns.SUBSCRIPTIONS, found)

    return rows


def _customers(*, at_start: bool = False) -> Behind:
    def rows(place: Place) -> Table:
        moment = place.start if at_start else place.end
        when = "beginning" if at_start else "end"
        title = f"Customers with MRR at the {when} of {place.words}"
        found = behind.customers(moment, place.currency)
        return _table("customers", title, columns.CUSTOMERS, found)

    return rows


def _trials(*kinds: str) -> Behind:
    def rows(place: Place) -> Table:
        found = behind.trials((place.start, place.end), place.currency, kinds)
        return _table("trials", f"Trials, {place.words}", columns.TRIAL_ENDS, found)

    return rows


def _table(name: str, title: str, of: Sequence[Column], rows: Iterable[Row]) -> Table:
    return Table(name, title, of, rows)


def _age(table: str, column: str) -> int | None:
    """How many months after a cohort's first one a column is of; None for another column."""
    if column == _COHORTS[table]:
        return 0
    found = _COHORT.match(column)
    return int(found[1]) if found and column.startswith(f"{_PREFIX[table]}_") else None


_COHORTS = {"cohorts": "size", "cohort_mrr": "mrr"}
_PREFIX = {"cohorts": "customers", "cohort_mrr": "mrr"}
_CHURNED = _changes(MrrChange.Kind.CHURNED)
_OPENING = _subscriptions(*COUNTED, at_start=True, with_mrr=True)
_BEHIND: dict[tuple[str, str], Behind] = {
    ("mrr", "opening"): _OPENING,
    **{("mrr", kind.value): _changes(kind.value) for kind in MrrChange.Kind},
    ("mrr", "closing"): _subscriptions(*COUNTED, with_mrr=True),
    ("mrr", "closing_customers"): _customers(),
    ("mrr", "arpa"): _customers(),
    **{("counts", status): _subscriptions(status) for status in STATUSES},
    ("churn", "opening_customers"): _customers(at_start=True),
    ("churn", "opening"): _OPENING,
    **{("churn", name): _CHURNED for name in ("churned_customers", "churn_rate", "churned",
                                              "mrr_churn_rate")},
    **{("churn", name): _changes(MrrChange.Kind.CHURNED, voluntary=True)
       for name in ("voluntary_customers", "voluntary")},
    **{("churn", name): _changes(MrrChange.Kind.CHURNED, voluntary=False)
       for name in ("involuntary_customers", "involuntary")},
    ("trials", "started"): _trials("started"),
    ("trials", "ended"): _trials("converted", "lost"),
    ("trials", "conversion"): _trials("converted", "lost"),
    ("trials", "converted"): _trials("converted"),
    ("trials", "lost"): _trials("lost"),
}  # fmt: skip

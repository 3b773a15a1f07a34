"""What finance sees of subscriptions: MRR, counts, churn, trials and cohorts."""

from collections.abc import Callable, Mapping, Sequence

from billing.revenue.asked import Asked
from billing.revenue.mrr import figures
from billing.revenue.mrr.columns import (
    CHURN,
    COUNTS,
    MRR,
    TRIALS,
    cohort_columns,
    cohort_mrr_columns,
)
from billing.revenue.mrr.drilling import is_known, rows_behind
from billing.revenue.report import ChartOf, Column, Drill, Report, Row, Table, View

NOTES = (
    (
        "MRR counts what is active or past due, at its recurring price before discounts: no"
        " trials, no taxes, nothing metered. A year has 12 months, 52 weeks or 365 days."
        " Each subscription is rounded to a minor unit, half up."
    ),
    (
        "It is computed from Stripe's events, and where these are missing from the subscription"
        " itself and its invoices: a later change of price or status does not change the past."
    ),
)


class Subscriptions(Report):
    """MRR with its roll-forward, and who came, stayed and left."""

    name = "subscriptions"
    title = "Subscriptions"
    about = "Monthly recurring revenue, and how many come, stay and leave."
    by = "month"

    def view(self, asked: Asked) -> View:
        """Five subjects; cohorts are of the months asked for, or of the last 12 up to then."""
        moved = figures.Movements(asked.periods, asked.currency)
        rolled = moved.roll_forward()
        months = figures.cohort_months(asked.periods)
        cohorts = figures.cohorts(months, asked.currency)
        return View(
            [
                _table("mrr", "Monthly recurring revenue", MRR, rolled, charts=MRR_CHARTS),
                _table(
                    "counts",
                    "Subscriptions at the end of each period",
                    COUNTS,
                    moved.counts(),
                ),
                _table("churn", "Churn", CHURN, rolled),
                _table(
                    "trials", "Trials", TRIALS, figures.trials(asked.periods, asked.currency)
                ),
                _table("cohorts", "Customers retained", cohort_columns(months.count), cohorts,
                       about=COHORTS),
                _table("cohort_mrr", "MRR retained", cohort_mrr_columns(months.count), cohorts,
                       about=COHORTS),
            ],
            NOTES,
        )  # fmt: skip

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        """Changes, subscriptions, customers or trials, as the figure counts them."""
        return rows_behind(asked, drill)


COHORTS = (
    "Customers by the month in which they had MRR for the first time, and the share that is left"
    " at the end of that month (0) and of each month after it."
)
MRR_CHARTS = (
    ChartOf("MRR", "At the end of each period.", ("closing",), kind="lines"),
    ChartOf(
        "What came and went",
        "MRR that was new, expanded, reactivated, contracted and churned in each period.",
        ("new", "expansion", "reactivated", "contraction", "churned"),
    ),
)


def _table(
    name: str,
    title: str,
    columns: Sequence[Column],
    rows: list[Row],
    *,
    about: str = "",
    charts: Sequence[ChartOf] = (),
) -> Table:
    return Table(name, title, columns, rows, about=about, charts=charts, drill=_drill(name),
                 empty="No subscription had MRR or a trial by then.")  # fmt: skip


def _drill(table: str) -> Callable[[Row, str], Drill | None]:
    """What names the figure of a row: its table and column, its period and its currency."""

    def drill(row: Row, column: str) -> Drill | None:
        if row.get(column) is None or not is_known(table, column):
            return None
        return {
            "of": table, "column": column, "date": row["date"], "currency": row["currency"]
        }  # fmt: skip

    return drill

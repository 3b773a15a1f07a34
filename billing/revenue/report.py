"""What a finance report is: tables whose columns are defined once, and the rows behind figures.

A page, a file and a command show the same report (billing.admin.finance, .exporting,
billing.management.finance): each definition is written in its column, and nowhere else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from billing.revenue.asked import Asked

Kind = Literal["text", "date", "time", "money", "number", "percent", "id", "user"]
ChartKind = Literal["bars", "stack", "lines"]
Row = dict[str, Any]
Drill = dict[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """A figure or a text of a table's rows; `name` is what JSON and CSV call it.

    `kind`: `money` is minor units of the row's field `currency`; `percent` a float, 0.5 for
    50 %; `number` counts things; `date` is a date's ISO text; `time` a datetime in UTC; `id` an
    id that leads to its page, `user` our own id of a user. None is shown as a dash.
    `definition` says what the figure means and where it comes from.
    """

    name: str
    title: str
    kind: Kind = "text"
    definition: str = ""
    currency: str = "currency"


@dataclass(frozen=True, slots=True)
class ChartOf:
    """A chart of a table's rows: `series` are columns, `label` the column along the axis.

    One drawing for each value of the column `split` ('' for one in all): currencies never share
    an axis. `unit` is what numbers count; `labels` are all of the axis, with rows or without.
    """

    title: str
    about: str
    series: tuple[str, ...]
    label: str = "date"
    split: str = "currency"
    kind: ChartKind = "bars"
    unit: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, in the order of showing. They may come one by one from the database.

    `drill` says what to ask `Report.behind` for, to see the rows behind the figure of a column;
    None where a figure has no rows of its own. `acts_on` is the column with the id of what
    operations can be run on, '' for none. `apart` is what to ask `Report.behind` for to have these
    very rows: set where they take so long that a page opens without them.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Iterable[Row]
    about: str = ""
    empty: str = "Nothing in these days."
    charts: Sequence[ChartOf] = ()
    drill: Callable[[Row, str], Drill | None] | None = None
    acts_on: str = ""
    apart: Drill | None = None

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


@dataclass(frozen=True, slots=True)
class View:
    """What a report says. The first table is its own; `notes` are sentences about all of it."""

    tables: Sequence[Table]
    notes: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of one report: its name in the address, and what can be chosen (value, words).

    Without choices it is a text that is typed.
    """

    name: str
    title: str
    choices: Callable[[], Sequence[tuple[str, str]]] | None = None


class Report(ABC):
    """A subject of finance, over the days that are asked for."""

    name: ClassVar[str]  # in addresses and files
    title: ClassVar[str]
    about: ClassVar[str]
    filters: ClassVar[Sequence[Filter]] = ()
    compares: ClassVar[bool] = False  # whether `Asked.against` means something to it
    converts: ClassVar[bool] = False  # whether `Asked.reporting` does
    has_periods: ClassVar[bool] = True  # whether `Asked.by` does
    is_closed: ClassVar[bool] = False  # whether a closed month freezes what it says
    by: ClassVar[str] = "day"  # unless asked otherwise

    @abstractmethod
    def view(self, asked: Asked) -> View:
        """Its tables. Raises InvalidReportError for what it cannot be asked."""

    @abstractmethod
    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        """The rows behind a figure, as they come from the database, however many.

        `drill` is what a table's `drill` gave, and may have been tampered with: raises
        InvalidReportError for what it does not know.
        """

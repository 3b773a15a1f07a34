"""The revenue report: what customers paid, what was taken back, what is left (issue of finance)."""

from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from billing.database import stream
from billing.formatting import exponent
from billing.models import RevenueEntry
from billing.revenue import figures, net_to_payouts
from billing.revenue.asked import Asked, InvalidReportError
from billing.revenue.net_to_payouts import MOVEMENTS
from billing.revenue.products import NAMES, names_of, prices, products
from billing.revenue.report import ChartOf, Column, Drill, Filter, Report, Row, Table, View

DATE = Column("date", "From", "date", "The first day of the period, in the report's time zone.")
CURRENCY = Column("currency", "Currency", "text", "The currency that the customer paid in.")
COMPARED = (
    Column("net_before", "Net before", "money", "Net of the period that it is compared with."),
    Column("change", "Change", "percent", "Net against net before, as a share of it."),
)
CONVERTED = (
    Column("from", "From", "text", "The currency that the customer paid in."),
    Column(
        "rate", "Rate", "text", "What one whole unit of it was worth in the reporting currency."
    ),
    Column(
        "rate_of",
        "Rate's source",
        "text",
        "The rate at which Stripe itself exchanged the charges of these days, weighted by amount.",
    ),
)
ENTRIES = (
    Column("at", "Booked", "time", "When Stripe booked it in its balance."),
    Column("source", "Source", "text", "The balance transaction, or the invoice paid out of band."),
    Column("item", "Item", "text"),
    Column("currency", "Currency", "text"),
    Column("amount", "Amount", "money", "Signed, in the currency that the customer paid in."),
    Column("fee", "Fee", "money"),
    Column("tax", "Tax", "money"),
    Column("settled_currency", "Settled in", "text"),
    Column("settled_amount", "Settled", "money", currency="settled_currency"),
    Column("settled_fee", "Fee settled", "money", currency="settled_currency"),
    Column("kind", "Kind", "text"),
    Column("product_id", "Product", "text"),
    Column("price_id", "Price", "id"),
    Column("country", "Country", "text", "Where the charge was paid from: its billing address,"
           " else its card."),
    Column("customer_id", "Customer", "id"),
    Column("user_id", "User", "user"),
    Column("charge_id", "Charge", "id"),
    Column("invoice_id", "Invoice", "id"),
)  # fmt: skip
ITEMS_OF = {
    "gross": ("gross",),
    "tax": ("gross",),
    "refunds": ("refunds",),
    "disputes": ("disputes",),
    "other": ("other",),
    "out_of_band": ("out_of_band",),
    "fees": ("gross", "refunds", "disputes", "other"),
    "net": ("gross", "refunds", "disputes", "other"),
}


class Revenue(Report):
    name = "revenue"
    title = "Revenue"
    about = (
        "What customers paid through Stripe, what was taken back of it, and what is left. It adds"
        " up the transactions of Stripe's own balance; currencies are never added together."
    )
    filters = (
        Filter("split", "Split by", lambda: [(name, name.capitalize()) for name in figures.SPLITS]),
        Filter("kind", "Kind", lambda: list(RevenueEntry.Kind.choices)),
        Filter("product", "Product", products),
        Filter("price", "Price", prices),
        Filter("country", "Country"),
    )
    is_closed = True
    compares = True
    converts = True

    def view(self, asked: Asked) -> View:
        split = asked.more.get("split", "")
        if split and split not in figures.SPLITS:
            there_are = ", ".join(figures.SPLITS)
            raise InvalidReportError(f"It can be split by: {there_are}.")
        before = asked.compared()
        sums = figures.charged(asked, split)
        earlier = figures.charged(before, split) if before else None
        tables = [_by_period(asked, split, sums, earlier), _totals(asked, sums, earlier)]
        if not figures.is_filtered(asked):
            tables.append(_settled(asked))
        if asked.reporting:
            tables.append(_converted(asked, sums))
        return View(tables)

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        if drill.get("item") == "balance":
            settled_in = drill.get("settled", "")
            found = net_to_payouts.bridged("net", asked.since, asked.until, settled_in)
            return Table("movements", "Balance transactions", MOVEMENTS, found)
        items = ITEMS_OF.get(drill.get("item", "net"))
        if items is None:
            raise InvalidReportError(f"There are: {', '.join(ITEMS_OF)}.")
        condition = figures.where(asked) + " AND item = ANY(%(items)s)"
        bound = figures.parameters(asked) | {"items": list(items)}
        if settled_in := drill.get("settled", ""):
            condition += " AND settled_currency = %(settled)s"
            bound["settled"] = settled_in
        if unknown := drill.get("without", ""):
            if unknown not in figures.SPLITS:
                raise InvalidReportError("These rows cannot be asked for.")
            condition += f" AND {figures.SPLITS[unknown]} = ''"
        names = ", ".join(column.name for column in ENTRIES)
        found = stream(
            f"SELECT {names} FROM billing_revenue_entries WHERE {condition}"  # noqa: S608
            " ORDER BY at, id",
            bound,
        )
        title = f"Entries of {drill.get('item', 'net').replace('_', ' ')}"
        return Table("entries", title, ENTRIES, found, empty="No such entry.")


def _charts(asked: Asked) -> tuple[ChartOf, ...]:
    """Every period stands on their axes, also where nothing was sold."""
    periods = asked.periods
    labels = tuple(periods.label(number) for number in range(periods.count))
    return (
        ChartOf("Gross and net", "What customers were charged, and what was left of it.",
                ("gross", "net"), labels=labels),
        ChartOf("Taken back", "Refunds, disputes and fees.", ("refunds", "disputes", "fees"),
                kind="stack", labels=labels),
    )  # fmt: skip


def _by_period(asked: Asked, split: str, sums: list[Row], before: list[Row] | None) -> Table:
    """The main table: a row for each period, currency and part."""
    columns: list[Column] = [DATE, CURRENCY]
    if split:
        columns.append(Column(split, split.capitalize(), "text", "Empty where it is not known."))
    if split in NAMES:
        columns.append(Column("name", "Name", "text", "As Stripe has it now."))
    columns += figures.MONEY
    if before is not None:
        columns += COMPARED
    return Table(
        "rows",
        f"By {asked.by}",
        columns,
        list(_period_rows(asked, split, sums, before)),
        empty="No revenue in these days. Stripe's balance is read every ten minutes.",
        charts=() if split else _charts(asked),
        drill=lambda row, column: drill_of(asked, row, column, split),
    )


def _period_rows(
    asked: Asked, split: str, sums: list[Row], before: list[Row] | None
) -> Iterator[Row]:
    earlier = {(row["period"], row["currency"], row["part"]): row["net"] for row in before or ()}
    names = names_of(split, {row["part"] for row in sums}) if split in NAMES else {}
    for row in sums:
        made: Row = {
            "period": row["period"],
            "date": asked.periods.label(row["period"] - 1),
            "currency": row["currency"],
        }
        if split:
            made |= {split: row["part"], "name": names.get(row["part"], "")}
        made |= {column.name: row[column.name] for column in figures.MONEY}
        if before is not None:
            made |= _against(
                made["net"], earlier.get((row["period"], row["currency"], row["part"]))
            )
        yield made


def _against(net: int, before: int | None) -> Row:
    change = (net - before) / before if before is not None and before > 0 else None
    return {"net_before": before, "change": change}


def _totals(asked: Asked, sums: list[Row], before: list[Row] | None) -> Table:
    """All days in one row for each currency, beside what they are compared with."""
    earlier = {row["currency"]: row["net"] for row in figures.totals(before or ())}
    found = [
        row | ({} if before is None else _against(row["net"], earlier.get(row["currency"])))
        for row in figures.totals(sums)
    ]
    return Table(
        "totals",
        "All days",
        [CURRENCY, *figures.MONEY, *(() if before is None else COMPARED)],
        found,
        drill=lambda row, column: drill_of(asked, row, column),
    )


def _settled(asked: Asked) -> Table:
    """As Stripe's balance has it, and whether it ties out."""
    shown = [column for column in figures.MONEY if column.name not in ("tax", "out_of_band")]
    names = [column.name for column in (*shown, *figures.TIED)]
    found = [
        {"date": asked.periods.label(row["period"] - 1), "currency": row["currency"]}
        | {"period": row["period"]}
        | {name: row[name] for name in names}
        for row in figures.settled(asked)
    ]
    currency = Column("currency", "Settled in", "text", "The currency of Stripe's balance.")
    return Table(
        "settled",
        "As Stripe settled it",
        [DATE, currency, *shown, *figures.TIED],
        found,
        about="The same entries in the currency in which Stripe booked them: this ties to its"
        " balance.",
        drill=lambda row, column: drill_of(asked, row, column, settled=True),
    )


def _converted(asked: Asked, charged: list[Row]) -> Table:
    """The sums of all days in one currency, as far as Stripe itself exchanged into it."""
    known = {row["currency"]: row["settled"] / row["charged"] for row in figures.rates(asked)}
    found = [
        _convert(row, asked.reporting, known.get(row["currency"]))
        for row in figures.totals(charged)
    ]
    sums = [row for row in found if row["gross"] is not None]
    total: Row = {"from": "all of them", "currency": asked.reporting, "rate": "", "rate_of": ""}
    total |= {c.name: sum(row[c.name] for row in sums) for c in figures.MONEY}
    return Table(
        "converted",
        f"Converted into {asked.reporting.upper()}",
        [*CONVERTED, *figures.MONEY],
        [*found, total] if found else [],
        about="For orientation only: it is in no book. What has no rate is not in the sum.",
    )


def _convert(row: Row, into: str, rate: Any) -> Row:
    """One currency's sums at a rate between minor units; None where there is none."""
    made: Row = {"from": row["currency"], "currency": into}
    if row["currency"] == into:
        return made | {"rate": "1", "rate_of": "the same currency"} | _sums(row, Decimal(1))
    if rate is None:
        nothing = {column.name: None for column in figures.MONEY}
        return made | {"rate": "", "rate_of": "Stripe exchanged none of it"} | nothing
    whole = rate * Decimal(10) ** (exponent(row["currency"]) - exponent(into))
    said = {"rate": f"{whole:.6f}", "rate_of": "Stripe's, of these days' charges"}
    return made | said | _sums(row, rate)


def _sums(row: Row, rate: Decimal) -> Row:
    one = Decimal(1)
    return {
        column.name: int((row[column.name] * rate).quantize(one, ROUND_HALF_UP))
        for column in figures.MONEY
    }


def drill_of(
    asked: Asked, row: Row, column: str, split: str = "", *, settled: bool = False
) -> Drill | None:
    """The entries behind a figure."""
    if column not in ITEMS_OF and not (settled and column == "balance"):
        return None
    drill: Drill = {"item": column}
    if settled:
        drill["settled"] = row["currency"]
    else:
        drill["currency"] = row["currency"]
    if "period" in row:
        first, last = asked.periods.span(row["period"] - 1)
        drill |= {"from": first.isoformat(), "to": last.isoformat()}
    if split:
        drill |= {split: row[split]} if row[split] else {"without": split}
    return drill

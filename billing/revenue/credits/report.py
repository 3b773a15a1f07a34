"""The report on credits: what came and went, what it is worth, and who spent most."""

from collections.abc import Mapping, Sequence

from django.utils import timezone

from billing.models import ReconciliationRun
from billing.models.credit_lots import SPENT
from billing.revenue.asked import Asked
from billing.revenue.credits import columns
from billing.revenue.credits.behind import FREE, behind, drill
from billing.revenue.credits.figures import BACK, BOUGHT, figures, outstanding
from billing.revenue.credits.heaviest import MOST, heaviest
from billing.revenue.report import ChartOf, Drill, Report, Row, Table, View

TIES = "Outstanding credits tie to the ledger and to the balances."
DIFFERS = (
    "Outstanding credits differ between lots, ledger and balances: see the reconciliation below."
)
UNPROVED = "The ledger and the balances have not been added up yet: manage.py reconcile daily does."
AT_ONCE = 50_000  # claims of which a page says who spent most
_ITEMS: Mapping[str, tuple[str, ...]] = {
    "packs": ("pack",),
    "subscriptions": ("subscription",),
    "free": ("free",),
    "returned": ("returned",),
    "spent": SPENT,
    "refunded": ("refund",),
    "disputed": ("dispute",),
    "corrected": ("correction",),
    "net": (),
}
_USED: Mapping[str, tuple[str, ...]] = {
    "spent": SPENT,
    "spent_credits": SPENT,
    "price_per_lead": SPENT,
    "clawed_back": BACK,
    "corrected": ("correction",),
}


class Credits(Report):
    """Credits by the ledger, and at what was paid for each: first in, first out."""

    name = "credits"
    title = "Credits"
    about = (
        "Credits sold, granted free, spent and taken back, what is outstanding at what was paid"
        " for it, and what a lead cost. Each credit is used in the order in which it came."
    )

    def view(self, asked: Asked) -> View:
        sums, held = figures(asked.periods), _outstanding()
        tables = [
            _flows(list(sums.credits())),
            _totals(sums.totals(asked.currency)),
            _values(sums.values(asked.currency)),
            _heaviest(asked, claims=sums.claims),
            _reconciliation(held),
        ]
        return View(tables, [_verdict(held)])

    def behind(self, asked: Asked, drill: Mapping[str, str]) -> Table:
        return _heaviest(asked) if drill.get("rows") == "heaviest" else behind(asked, drill)


def _flows(rows: list[Row]) -> Table:
    about = "Credits of all currencies: a credit is a credit, whatever was paid for it."
    came = ("packs", "subscriptions", "free", "returned")
    return Table(
        "credits",
        "Credits by period",
        columns.CREDITS,
        rows,
        about=about,
        charts=(
            ChartOf(
                "Credits that came", "Sold, granted free and returned in each period.", came,
                split="", kind="stack", unit="credits",
            ),
            ChartOf(
                "Credits that went", "Spent, taken back and corrected in each period.",
                ("spent", "refunded", "disputed", "corrected"),
                split="", kind="stack", unit="credits",
            ),
            ChartOf(
                "Credits outstanding", "In all balances at the end of each period.",
                ("outstanding",), split="", kind="lines", unit="credits",
            ),
        ),
        drill=_behind_flow,
    )  # fmt: skip


def _behind_flow(row: Row, column: str) -> Drill | None:
    day = str(row["date"])
    if column in _ITEMS:
        return drill("entries", *_ITEMS[column], day=day)
    match column:
        case "owed":
            return drill("entries", day=day, owing="yes")
        case "outstanding":
            return drill("lots", day=day)
        case "leads":
            return drill("claims", day=day)
    return None


def _totals(rows: list[Row]) -> Table:
    return Table(
        "totals",
        "What credits were paid for, all of these days",
        columns.TOTALS,
        rows,
        empty="No credits have been bought.",
        drill=_behind_value,
    )


def _values(rows: list[Row]) -> Table:
    about = "Money of the currency in which each credit was bought."
    return Table(
        "values",
        "What credits were paid for, by period",
        columns.VALUES,
        rows,
        about=about,
        empty="No credits have been bought.",
        charts=(
            ChartOf(
                "Sold and delivered",
                "What was paid for credits sold, and for those spent.",
                ("sold", "spent"),
            ),
            ChartOf(
                "Liability",
                "What was paid for the credits outstanding at the end of each period.",
                ("liability",),
                kind="lines",
            ),
        ),
        drill=_behind_value,
    )


def _behind_value(row: Row, column: str) -> Drill | None:
    where = {"day": str(row.get("date", "")), "currency": str(row["currency"])}
    if column in _USED:
        return drill("uses", *_USED[column], **where)
    match column:
        case "sold":
            return drill("entries", *BOUGHT, **where)
        case "settled":
            return drill("entries", *BOUGHT, owing="yes", **where)
        case "returned":
            return drill("lots", "returned", **where)
        case "liability" | "liability_credits" | "price_per_credit":
            return drill("lots", **where)
    return None


def _heaviest(asked: Asked, *, claims: int = 0) -> Table:
    return Table(
        "heaviest",
        "Heaviest users",
        columns.HEAVIEST,
        heaviest(asked.periods),
        about=f"The {MOST} users who spent most credits in these days.",
        drill=_behind_user,
        apart=drill("heaviest") if claims > AT_ONCE else None,
    )


def _behind_user(row: Row, column: str) -> Drill | None:
    user = str(row["user_id"])
    if column in ("credits", "value"):
        return drill("uses", *SPENT, user=user, currency=str(row["currency"]) or FREE)
    return drill("uses", *SPENT, user=user) if column == "spent" else None


def _outstanding() -> list[Row]:
    """What is outstanding now, and by the last reconciliation, which read the ledger as a whole."""
    runs = ReconciliationRun.objects.filter(measures__has_key="credits")
    last = runs.order_by("-finished_at").values_list("finished_at", "measures__credits").first()
    proved = [{"at": last[0], **last[1]}] if last else []
    return [{"at": timezone.now(), **outstanding()}, *proved]


def _verdict(held: Sequence[Row]) -> str:
    if any(row["difference"] for row in held):
        return DIFFERS
    return TIES if len(held) > 1 else UNPROVED


def _reconciliation(held: Sequence[Row]) -> Table:
    return Table(
        "reconciliation",
        "Outstanding credits",
        columns.OUTSTANDING,
        held,
        about=(
            "What is outstanding at this moment, and at the end of the last reconciliation, which"
            " adds up all entries of the ledger and all balances."
        ),
        drill=lambda row, column: drill("balances") if column == "balances" else None,
    )

"""The alerts that are open, above everything else."""

from dataclasses import dataclass
from datetime import datetime

from billing.admin.cells import changelist_url
from billing.alerts import state
from billing.formatting import format_age
from billing.models import Alert

MOST = 10


@dataclass(frozen=True, slots=True)
class ShownAlert:
    alert: Alert
    age: str

    @property
    def tone(self) -> str:
        """As its severity says; what is not known is taken for grave."""
        return self.alert.severity if self.alert.severity in ("info", "warning") else "danger"

    @property
    def url(self) -> str:
        """The page that shows what it is about, else its own; never one elsewhere."""
        page = self.alert.page
        is_ours = page.startswith("/") and not page.startswith("//")
        return page if is_ours else changelist_url(Alert, state="open")


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    shown: list[ShownAlert]
    url: str
    has_more: bool


def open_alerts(now: datetime) -> OpenAlerts:
    """What is so at present, the first of it."""
    found = list(state.open_alerts()[: MOST + 1])
    shown = [ShownAlert(row, format_age(row.opened_at, now)) for row in found[:MOST]]
    return OpenAlerts(shown, changelist_url(Alert, state="open"), has_more=len(found) > MOST)

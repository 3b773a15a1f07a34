"""Findings as the admin shows them: in words, with links, and the fix as a button."""

from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils.safestring import SafeString

from billing.admin.cells import button, label, open_url
from billing.admin.forms import User
from billing.admin.operations import ALL, OperationPage
from billing.diagnosis.findings import Evidence, Finding, Fix, Severity
from billing.diagnosis.kinds import label_of
from billing.formatting import format_money

TONES = {
    Severity.ACCESS: "danger",
    Severity.MONEY: "danger",
    Severity.WARNING: "warning",
    Severity.INFO: "info",
}
AT_STAKE = {
    Severity.ACCESS: "Access at stake",
    Severity.MONEY: "Money at stake",
    Severity.WARNING: "Worth a look",
    Severity.INFO: "Explanation",
}


@dataclass(frozen=True, slots=True)
class ShownFinding:
    """A finding with the address of its fix; `fix_url` is '' for those who may not run it."""

    finding: Finding
    title: str
    tone: str
    at_stake: str
    evidence: list[tuple[Evidence, str]]  # each with the address of what it names, or ''
    fix_title: str = ""
    fix_icon: str = ""
    fix_url: str = ""

    @property
    def worth(self) -> str:
        """The amount and the credits at stake, in words; '' where they are not known."""
        finding = self.finding
        amount = [] if finding.amount is None else [format_money(finding.amount, finding.currency)]
        counted = [] if finding.credits is None else [f"{finding.credits:,} credits"]
        return " and ".join(amount + counted)

    @property
    def label(self) -> SafeString:
        return label(self.at_stake, self.tone)

    @property
    def button(self) -> SafeString:
        return button(self.fix_url, self.fix_icon, self.fix_title, "")


def shown(finding: Finding, user: User, back: str) -> ShownFinding:
    """The finding for a page at `back`, to which its fix leads back."""
    page = page_of(finding.fix) if finding.fix else None
    permitted = page is not None and page.is_permitted(user)
    return ShownFinding(
        finding,
        label_of(finding.kind),
        TONES[finding.severity],
        AT_STAKE[finding.severity],
        [(item, open_url(id=item.id) if item.id else "") for item in finding.evidence],
        page.title if page else "",
        page.icon if page else "",
        fix_url(page, finding.fix, back) if page and permitted and finding.fix else "",
    )


def page_of(fix: Fix) -> OperationPage:
    """The page on which the admin runs this operation."""
    return next(page for page in ALL if page.operation.name == fix.operation)


def fix_url(page: OperationPage, fix: Fix, back: str) -> str:
    """The operation's page with everything filled in: it opens with the plan."""
    query = QueryDict(mutable=True)
    for name, value in fix.params.items():
        field = "target" if name == page.operation.target else name
        query.setlist(field, as_texts(value))
    query["back"] = back
    return f"{page.url()}?{query.urlencode()}"


def as_texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]

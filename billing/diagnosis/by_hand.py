"""Credits that came by hand or by raw SQL, and whether anybody took them back since."""

from collections.abc import Collection
from datetime import datetime, timedelta

from billing.diagnosis.facts import SQL_SINCE, Facts
from billing.models import CreditEntry, OperationRecord
from billing.projection.ledger import RESTORED, UNSEEN

AT_ABOUT = timedelta(days=7)  # how far from a purchase a grant by hand was perhaps meant for it
GOODWILL = "goodwill"  # the reason code of what was never meant for a purchase
OPERATION, UNDO, UNDONE = "operation:", "undo:", ":undone"
EntryKind = CreditEntry.Kind


def nominal(entry: CreditEntry) -> int:
    """What was given (above 0) or taken, whatever part of it was owed."""
    return entry.delta - entry.owed_delta


def is_near(entry: CreditEntry, *moments: datetime | None) -> bool:
    """Whether an entry was made within days of one of these moments."""
    return any(abs(at - entry.created_at) <= AT_ABOUT for at in moments if at)


def unanswered(facts: Facts, doubted: Collection[str] = ()) -> list[CreditEntry]:
    """Grants by hand that are not goodwill, recent credits by raw SQL, and entries of the
    `doubted` sources that nobody took back since, the oldest first.

    An undo answers what it undoes. A correction answers the newest before it of the amount that it
    takes back; where none is, the newest that it takes as much back as, or of which it leaves
    nothing.
    """
    open_: list[CreditEntry] = []
    for entry in sorted(facts.entries, key=lambda each: each.pk):
        amount, source = nominal(entry), entry.source or ""
        if amount > 0 and (source in doubted or _is_by_hand(facts, entry)):
            open_.append(entry)
        elif amount >= 0 or entry.kind != EntryKind.CORRECTION or _is_tying(facts, source):
            continue
        elif undone := _undone_by(source):
            open_ = [each for each in open_ if not (each.source or "").startswith(undone)]
        else:
            _answer(open_, entry)
    return open_


def operation_of(facts: Facts, source: str) -> OperationRecord | None:
    """The operation that posted an entry, as far as it is among the facts."""
    key = source.removeprefix(OPERATION).removesuffix(UNSEEN)
    return next((each for each in facts.operations if each.key == key), None)


def _is_by_hand(facts: Facts, entry: CreditEntry) -> bool:
    if entry.kind == EntryKind.SQL:
        return entry.created_at >= facts.now - SQL_SINCE
    if entry.kind != EntryKind.GRANT:
        return False
    operation = operation_of(facts, entry.source or "")
    return operation is not None and operation.reason_code != GOODWILL


def _is_tying(facts: Facts, source: str) -> bool:
    """Whether it is one of the two entries that tied the balance out: they say nothing new."""
    if source.startswith(RESTORED):
        return True
    operation = operation_of(facts, source)
    return operation is not None and operation.name == "tie_out_balance"


def _undone_by(source: str) -> str:
    """The source that an undo takes back; '' for what is no undo."""
    if source.startswith(UNDO):
        return f"{OPERATION}{source.removeprefix(UNDO)}"
    return source.removesuffix(UNDONE) if source.endswith(UNDONE) else ""


def _answer(open_: list[CreditEntry], correction: CreditEntry) -> None:
    """Takes out of the open ones the one that a correction took back exactly, else those that it
    may have taken back, the newest first."""
    left = -nominal(correction)
    exact = next((each for each in reversed(open_) if nominal(each) == left), None)
    if exact is not None and correction.balance_after:
        open_.remove(exact)
        return
    for earlier in reversed(list(open_)):
        if nominal(earlier) <= left or (left and correction.balance_after == 0):
            open_.remove(earlier)
            left = max(left - nominal(earlier), 0)

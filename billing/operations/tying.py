"""A balance and its ledger brought together again, after something wrote past the triggers."""

from typing import Any

from billing.models import OperationRecord
from billing.operations import inputs, limits
from billing.operations.base import CannotUndoError, Change, Operation, OperationError, Plan, Result
from billing.operations.credits import CreditAdjustment, unknown
from billing.permissions import TIE_OUT
from billing.projection import ledger
from billing.projection.ledger import LedgerError, Posted

UNSEEN, BACK = "Entry for what the ledger never saw", "Entry back to what the ledger said"


class TieOutBalance(CreditAdjustment):
    """Takes a balance that differs from its ledger back to what the ledger says.

    A restore with the triggers off does that, or somebody who owns the tables. What the ledger
    never saw becomes an entry first, so that both steps can be seen for good.
    """

    name = "tie_out_balance"
    title = "Tie out balance"
    permission = TIE_OUT

    def __init__(self, *, user_id: str, **common: Any) -> None:
        super().__init__(**common)
        self.user_id = inputs.user_id(user_id)

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError(
            "Before it the balance was one that nothing in the ledger explained: there is no way"
            " back to that. Correct the balance instead, and say why."
        )

    def parameters(self) -> dict[str, Any]:
        return {"user_id": self.user_id}

    def plan(self) -> Plan:
        held, recorded = self.balance(), ledger.recorded(self.user_id)
        plan = Plan(f"Bring the balance of user {self.user_id} back to what its ledger says.")
        if held == recorded:
            plan.blocked = (
                f"The balance of user {self.user_id} is {held[0]:,} credits, as the ledger says:"
                " there is nothing to tie out. If both are wrong, correct the balance."
            )
            plan.warnings = unknown(self.user_id)
            return plan
        posted = ledger.ways_back(
            self.user_id, held, recorded, reason=self.reason, source=self.source
        )
        plan.changes = self._all_changes(*posted)
        plan.approval = limits.approval(self.actor, abs(moved(posted[1])))
        if min(recorded) < 0:
            plan.warnings.append(
                f"The ledger adds up to {recorded[0]:,} credits and {recorded[1]:,} owed, which"
                " nobody can have: what is below 0 becomes 0."
            )
        plan.warnings += self.under_way()
        return plan

    def run(self, record: OperationRecord) -> Result:
        try:
            with self.committing(record) as commit:
                posted = ledger.tie_out(self.user_id, reason=self.reason, source=self.source)
                if posted is None:
                    raise OperationError(
                        "The balance was tied out just now: there is nothing left to do."
                    )
                commit.result = result = self._result(*posted)
        except LedgerError as error:
            raise OperationError(f"{error} Nothing was changed.") from error
        return result

    def _all_changes(self, unseen: Posted, back: Posted) -> list[Change]:
        """The balance before and after, and both entries with what they bring it to."""
        before = (unseen.balance_after, unseen.owed_after)
        return [
            *self.changes(before, (back.balance_after, back.owed_after)),
            Change(UNSEEN, "none", in_words(unseen)),
            *([Change(BACK, "none", in_words(back))] if back.changes else []),
        ]

    def _result(self, unseen: Posted, back: Posted) -> Result:
        return Result(
            f"The balance of user {self.user_id} is {back.balance_after:,} credits"
            f" ({back.delta:+,}), as its ledger says.",
            self._all_changes(unseen, back),
            details={
                "amount": moved(back),
                "unseen": unseen.delta,
                "unseen_owed": unseen.owed_delta,
                "balance_before": unseen.balance_after,
                "balance_after": back.balance_after,
                "owed_before": unseen.owed_after,
                "owed_after": back.owed_after,
            },
        )


def moved(back: Posted) -> int:
    """Credits that it moves for the user: of the balance, or of what they owe if that is more."""
    return max(back.delta, -back.owed_delta, key=abs)


def in_words(posted: Posted) -> str:
    """An entry as the ledger shows it: `+50 credits, balance 50`."""
    owed = f", {posted.owed_delta:+,} owed" if posted.owed_delta else ""
    return f"{posted.delta:+,} credits{owed}, balance {posted.balance_after:,}"

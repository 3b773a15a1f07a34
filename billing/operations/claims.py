"""The credits of a lead claim that failed: given back, once for each claim."""

from typing import Any

from billing.diagnosis.facts import AT_ABOUT, DEBITS
from billing.formatting import format_time
from billing.models import CreditEntry, LeadClaim, OperationRecord
from billing.operations import inputs
from billing.operations.base import OperationError, Plan, Result
from billing.operations.credits import CreditAdjustment
from billing.permissions import REFUND_CLAIM
from billing.projection import ledger
from billing.projection.ledger import Entry, Posted

PREFIX = "claim:"  # of a claim's number, where other ids stand beside it
MOST_CLAIMS = 2**63 - 1  # what the number of a claim can be


class RefundClaim(CreditAdjustment):
    """Gives back what a failed claim cost, keyed by the claim.

    The application debits a claim by itself. Where the ledger does not show that debit,
    the plan says so: the operator decides whether there was one.
    """

    name = "refund_claim"
    title = "Give back a claim's credits"
    permission = REFUND_CLAIM
    target = "claim_id"

    def __init__(self, *, claim_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        number = str(claim_id).strip().removeprefix(PREFIX)
        self.claim_id = inputs.whole_number(
            number, "The number of the claim", least=1, most=MOST_CLAIMS
        )

    @property
    def subject(self) -> str:
        return f"{PREFIX}{self.claim_id}"

    @property
    def source(self) -> str:
        """What the ledger's entry is keyed by: one claim, one entry."""
        return self.subject

    def parameters(self) -> dict[str, Any]:
        return {"claim_id": self.claim_id}

    def plan(self) -> Plan:
        claim = self._claim()
        balance, owed = self.balance()
        spent = claim.credits_spent
        plan = Plan(
            f"Give {spent:,} credits back to user {claim.user_id} for claim {claim.pk}"
            f" ({claim.lead_id or 'of no named lead'})."
        )
        plan.blocked = objection(claim) or given_back(claim.pk)
        if plan.blocked:
            return plan
        plan.changes = self.changes((balance, owed), ledger.settled(balance, owed, spent))
        if pays := min(owed, spent):
            plan.warnings.append(f"{pays:,} of them pay what the user owes.")
        plan.warnings += [*traces(claim), *self.under_way()]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            claim = LeadClaim.objects.select_for_update().get(pk=self.claim_id)
            if refusal := objection(claim):
                raise OperationError(refusal)
            kind = CreditEntry.Kind.CLAIM
            posted = ledger.post(
                [Entry(claim.user_id, claim.credits_spent, kind, self.source, self.reason)]
            )
            if not posted:
                raise OperationError(given_back(claim.pk))
            commit.result = result = self._result(claim, posted[0])
        return result

    def _claim(self) -> LeadClaim:
        claim = LeadClaim.objects.filter(pk=self.claim_id).first()
        if claim is None:
            raise OperationError(f"There is no claim {self.claim_id}: look among the lead claims.")
        self.user_id = claim.user_id
        return claim

    def _result(self, claim: LeadClaim, posted: Posted) -> Result:
        before = (posted.balance_after - posted.delta, posted.owed_after - posted.owed_delta)
        after = (posted.balance_after, posted.owed_after)
        return Result(
            f"Gave {claim.credits_spent:,} credits back to user {claim.user_id} for claim"
            f" {claim.pk}.",
            self.changes(before, after),
            details={
                "user_id": claim.user_id,
                "claim": claim.pk,
                "lead": claim.lead_id,
                "amount": claim.credits_spent,
                "balance_before": before[0],
                "balance_after": after[0],
            },
        )


def objection(claim: LeadClaim) -> str:
    """Why the claim's credits are not given back, and what to do instead; '' if they are."""
    if claim.status != LeadClaim.Status.FAILED:
        return (
            f"Claim {claim.pk} {claim.status}: its credits bought the lead. If they are to be"
            " given back all the same, grant credits and say why."
        )
    if claim.credits_spent < 1:
        return f"Claim {claim.pk} cost no credits. If some are missing, correct the balance."
    return ""


def given_back(claim_id: int) -> str:
    """The sentence that the claim has its credits back; '' where it has not."""
    entry = CreditEntry.objects.filter(source=f"{PREFIX}{claim_id}").first()
    if entry is None:
        return ""
    return (
        f"The credits of claim {claim_id} were given back already, on"
        f" {format_time(entry.created_at)} by {entry.actor}."
    )


def traces(claim: LeadClaim) -> list[str]:
    """What the ledger does not show of the claim's debit, or shows of its return."""
    about = CreditEntry.objects.filter(
        user_id=claim.user_id,
        kind__in=DEBITS,
        created_at__range=(claim.claimed_at - AT_ABOUT, claim.claimed_at + AT_ABOUT),
    )
    debit = about.filter(delta=-claim.credits_spent).order_by("id").first()
    if debit is None:
        return [
            (
                f"No debit of {claim.credits_spent:,} credits within 5 minutes of the claim"
                f" ({format_time(claim.claimed_at)}) is in the ledger: make sure there was one."
            )
        ]
    returned = about.filter(delta=claim.credits_spent, source=None, id__gt=debit.pk).first()
    if returned is None:
        return []
    return [
        (
            f"{claim.credits_spent:,} credits came back on {format_time(returned.created_at)} by"
            f" {returned.actor}: perhaps for this claim."
        )
    ]

"""What only we know: what Stripe's objects cannot tell, as the marketplace and its people did it.

Everything else that must be true follows from the sandbox's own objects (backoffice.drill.books).
"""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Claim:
    """A lead that a user claimed with credits; one that failed gets them back."""

    user_id: str
    lead_id: str
    credits: int
    has_failed: bool = False


@dataclass
class Model:
    """What operators and the marketplace have done, and it stands.

    `given` are credits by hand for each user, what was taken away included. `attributed` names the
    user of a purchase that Stripe does not know the buyer of. `operations` are the keys of what
    was done through the back office, `notes` pairs of whom and what.

    `forged` are purchases that nobody made, with the ids of the ledger's entries that name them:
    the ledger takes no entry away. What they gave is taken back by another one.
    """

    claims: dict[str, Claim] = field(default_factory=dict)
    given: Counter[str] = field(default_factory=Counter)
    attributed: dict[str, str] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    forged: dict[str, str] = field(default_factory=dict)

    def claim(self, claim: Claim) -> None:
        self.claims[claim.lead_id] = claim

    def copy(self) -> "Model":
        """As it is now: what a backup or an export knows."""
        return deepcopy(self)

    def by_user(self) -> Counter[str]:
        """Credits that came and went by us alone. Failed claims are given back in the end."""
        moved = Counter(self.given)
        for claim in self.claims.values():
            if not claim.has_failed:
                moved[claim.user_id] -= claim.credits
        return moved

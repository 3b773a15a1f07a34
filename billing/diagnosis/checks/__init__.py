"""Every check: one small function each, from facts to findings (billing.diagnosis.findings).

A check reads and never asks: what Stripe said is in the facts, or is not known. It yields one
finding for each thing that is wrong.
"""

from billing.diagnosis.checks import (
    balances,
    cancellations,
    events,
    grants,
    invoices,
    people,
    purchases,
    subscriptions,
)
from billing.diagnosis.findings import Check

ALL: tuple[Check, ...] = (
    *subscriptions.CHECKS,
    *cancellations.CHECKS,
    *invoices.CHECKS,
    *events.CHECKS,
    *people.CHECKS,
    *purchases.CHECKS,
    *grants.CHECKS,
    *balances.CHECKS,
)

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
    payments,
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
    *payments.CHECKS,
    *balances.CHECKS,
)
OF_BOOKS: tuple[Check, ...] = (*ALL, *payments.OF_BOOKS)
"""What reconciliation checks besides: differences that no customer notices."""

"""Findings about balances."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

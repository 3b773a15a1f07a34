"""Findings about cancellations."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

"""Findings about subscriptions."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

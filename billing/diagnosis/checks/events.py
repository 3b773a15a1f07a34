"""Findings about events."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

"""Findings about grants."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

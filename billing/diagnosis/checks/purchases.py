"""Findings about purchases."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

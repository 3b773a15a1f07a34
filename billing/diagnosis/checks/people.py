"""Findings about people."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

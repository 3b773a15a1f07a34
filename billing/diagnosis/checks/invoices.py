"""Findings about invoices."""

from billing.diagnosis.findings import Check

CHECKS: tuple[Check, ...] = ()

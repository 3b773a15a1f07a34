"""Alerts: rules that are checked by themselves, and people who are told what they find."""

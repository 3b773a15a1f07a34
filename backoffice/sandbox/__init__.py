"""A stateful stand-in for Stripe's API: its own process, its own SQLite file.

It speaks the shapes of `API_VERSION`, delivers signed webhooks, and can be told to misbehave.
Nothing in it is shared with the back office, so restoring the back office's database does not
rewind "Stripe".
"""

API_VERSION = "2026-08-26.dahlia"
"""The only API version whose shapes the sandbox renders."""

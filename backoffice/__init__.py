"""The project: its settings, its processes, and the sandbox that stands in for Stripe."""

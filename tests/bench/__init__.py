"""Our speed beside dj-stripe's own: `python -m tests.bench`, one run, the same Stripe data."""

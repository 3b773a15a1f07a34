"""The project: its settings, its processes, and the sandbox that stands in for Stripe."""

import gc

# To import Django, dj-stripe and us makes 190,000 objects that all stay. At Python's usual
# threshold an eighth of every start is spent looking for garbage among them.
gc.set_threshold(50_000, 50, 50)

"""dj-stripe's tables: which observation of an object counts, and how it is stored."""

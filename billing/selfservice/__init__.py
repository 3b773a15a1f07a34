"""The customers' own billing page: no log-in, a signed link, and nobody else's data."""

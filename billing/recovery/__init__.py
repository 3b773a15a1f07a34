"""Coming back from emergencies: a lost outage's events, a damaged database, a lost one."""

"""Coming back from an outage or a loss: what was missed, found at Stripe and put right here."""

"""The way in for Stripe's events: the webhook, the inbox, and its worker."""

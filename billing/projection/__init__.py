"""From Stripe's objects to the billing tables and the credits: pure, idempotent, set-based."""

"""The only code that talks to Stripe, and the only code that knows its old and new shapes."""

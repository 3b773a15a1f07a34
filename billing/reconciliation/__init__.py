"""Our books against Stripe's: every identity, both ways; each difference is one finding."""

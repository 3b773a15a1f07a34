"""How this back office looks from outside: is it ready, and its figures for Prometheus."""

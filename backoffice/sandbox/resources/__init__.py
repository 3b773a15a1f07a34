"""Stripe's API calls, one module per family of resources."""

from importlib import import_module

MODULES = (
    "catalog",
    "checkout",
    "disputes",
    "invoices",
    "payments",
    "payouts",
    "people",
    "platform",
    "setups",
    "subscriptions",
    "taxes",
    "test_helpers",
)


def load() -> None:
    """Registers every call."""
    for module in MODULES:
        import_module(f"{__name__}.{module}")

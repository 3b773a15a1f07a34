"""The accounts of the journal. Read by the settings, so nothing of Django's is imported here."""

from collections.abc import Mapping

ACCOUNTS: Mapping[str, str] = {
    "balance": "Stripe balance",
    "subscriptions": "Revenue from subscriptions",
    "packs": "Revenue from credit packs",
    "sales": "Other revenue",
    "tax": "Tax payable",
    "refunds": "Refunds",
    "disputes": "Disputes",
    "fees": "Stripe fees",
    "other": "Other Stripe movements",
    "bank": "Bank",
    "held": "Held back by Stripe",
    "outside": "Paid outside Stripe, to be cleared",
}
"""Each account's key and its name, unless it is configured otherwise (JOURNAL_ACCOUNTS)."""

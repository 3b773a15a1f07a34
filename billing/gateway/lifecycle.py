"""How far an object has come in its life, to order two events of the same second.

Stripe's `created` has whole seconds. Within one, a state that can only follow another
settles the order without asking Stripe; where nothing settles it, the object is fetched.
"""

from billing.gateway.observation import StripeDict

# Only what Stripe's life cycles never take back stands here.
INVOICE = {"draft": 0, "open": 1, "uncollectible": 2, "paid": 3, "void": 3}
SUBSCRIPTION = {"incomplete": 0, "incomplete_expired": 2, "canceled": 2}
SESSION = {"open": 0, "complete": 2, "expired": 2}
PAYMENT_INTENT = {"succeeded": 1, "canceled": 1}
REFUND = {"pending": 0, "requires_action": 0, "succeeded": 1, "failed": 2, "canceled": 2}
CHARGE = {"pending": 0, "succeeded": 1, "failed": 1}


def rank(data: StripeDict) -> int:
    """A number that only grows over the life of one object; equal says nothing."""
    status = str(data.get("status") or "")
    match data.get("object"):
        case "invoice":
            return INVOICE.get(status, 0)
        case "subscription":
            return SUBSCRIPTION.get(status, 1)
        case "checkout.session":
            unpaid = data.get("payment_status") == "unpaid"
            return SESSION.get(status, 0) + (0 if unpaid else 1)
        case "payment_intent":
            return PAYMENT_INTENT.get(status, 0)
        case "refund":
            return REFUND.get(status, 0)
        case "charge":  # booked when it was captured, or a moment later
            return CHARGE.get(status, 0) + bool(data.get("balance_transaction"))
    return 0

"""Which events mean something to the back office."""

# Every type that is handled, and the reason why the endpoint must be sent it.
HANDLED = frozenset(
    f"{group}.{verb}"
    for group, verbs in {
        "checkout.session": ("completed async_payment_succeeded async_payment_failed expired"),
        "customer": "created updated deleted",
        "customer.subscription": (
            "created updated deleted paused resumed trial_will_end"
            " pending_update_applied pending_update_expired"
        ),
        "invoice": (
            "created updated deleted finalized finalization_failed sent paid payment_succeeded"
            " payment_failed payment_action_required payment_attempt_required overdue"
            " overpaid marked_uncollectible voided will_be_due"
        ),
        "invoice_payment": "paid",
        "payment_intent": (
            "created succeeded payment_failed canceled processing requires_action"
            " amount_capturable_updated partially_funded"
        ),
        "charge": "succeeded failed pending captured expired updated refunded",
        "charge.dispute": "created updated closed funds_withdrawn funds_reinstated",
        "refund": "created updated failed",
        "charge.refund": "updated",
        "product": "created updated deleted",
        "price": "created updated deleted",
        "payout": "created updated paid failed canceled reconciliation_completed",
        "payment_method": "attached detached updated automatically_updated",
    }.items()
    for verb in verbs.split()
)

# Types whose object no longer exists at Stripe afterwards. A deleted subscription is
# only canceled, and can still be retrieved.
DELETIONS = frozenset({"customer.deleted", "invoice.deleted", "product.deleted", "price.deleted"})

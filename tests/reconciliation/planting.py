"""Seeds: causes of findings, planted in a world, each on a person of its own.

Every kind that reconciliation keeps has at least one cause. What is planted last leaves an
event waiting: after that, nothing but what a test names is processed.
"""

from collections.abc import Callable, Collection

from tests.reconciliation import causes_payments, causes_records, causes_subscriptions
from tests.reconciliation.town import Expected, Town

Cause = Callable[[Town], Expected]

SAFE = ("sync_from_stripe", "replay_events", "grant_purchase")

CAUSES: tuple[Cause, ...] = (
    causes_subscriptions.paid_not_active,
    causes_subscriptions.active_only_at_stripe,
    causes_subscriptions.active_only_here,
    causes_subscriptions.status_differs,
    causes_subscriptions.price_differs,
    causes_subscriptions.period_differs,
    causes_subscriptions.cancellation_differs,
    causes_subscriptions.subscription_differs,
    causes_subscriptions.subscription_unattributed,
    causes_subscriptions.override_in_force,
    causes_subscriptions.invoice_differs,
    causes_subscriptions.invoice_whose_retry_ended,
    causes_subscriptions.invoice_of_which_nothing_came,
    causes_subscriptions.unknown_subscription,
    causes_payments.pack_whose_event_is_lost,
    causes_payments.guest_s_pack_whose_event_is_lost,
    causes_payments.pack_whose_event_failed,
    causes_payments.pack_of_a_price_that_was_mapped_late,
    causes_payments.no_credits_this_period,
    causes_payments.price_unmapped,
    causes_payments.paid_by_a_stranger,
    causes_payments.paid_by_somebody_with_their_address,
    causes_payments.runbook_s_grant,
    causes_payments.agent_s_grant_and_then_the_webhook,
    causes_payments.refund_not_taken_back,
    causes_payments.dispute_not_taken_back,
    causes_payments.reversal_differs,
    causes_payments.payment_differs,
    causes_payments.payment_unexplained,
    causes_payments.unknown_payment,
    causes_payments.balance_differs,
    causes_payments.balance_negative,
    causes_payments.claim_debited,
    causes_payments.stray_debit,
    causes_records.event_not_received,
    causes_records.event_failed,
    causes_records.event_set_aside,
    causes_records.event_unknown,
    causes_records.customer_deleted,
    causes_records.customer_unknown,
    causes_records.customer_differs,
    causes_records.invoice_given_away,
    causes_records.deleted_claim,
    causes_records.event_waiting,
)
# Stripe does not answer meanwhile, which takes its time: once is enough.
SLOW = (causes_subscriptions.override_in_force,)


def plant(
    town: Town, count: int = len(CAUSES), *, without: Collection[Cause] = ()
) -> list[Expected]:
    """Plants seeds of all kinds, as the town's dice fall; what must be found of them.

    So many, or one of each cause, but for those that it is `without`.
    """
    once = [cause for cause in CAUSES if cause not in without]
    again = [cause for cause in once if cause not in SLOW]
    more = (again[number % len(again)] for number in range(count - len(CAUSES)))
    order = [*once, *more]
    town.random.shuffle(order)
    order.sort(key=lambda cause: cause is causes_records.event_waiting)
    planted = [cause(town) for cause in order]
    assert len({each.found[:2] for each in planted}) == len(order)
    return planted

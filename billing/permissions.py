"""Every permission of the back office, and which role holds it.

One place for the decision: the migration that makes the roles, the operations that
check, and the tests that enumerate all read it.
"""

SYNC = "billing.sync_from_stripe"
GRANT = "billing.grant_credits"
CORRECT = "billing.correct_balance"
REACTIVATE = "billing.reactivate_subscription"
REPLAY = "billing.replay_event"
EXPORT = "billing.export"

OPERATIONS = (SYNC, GRANT, CORRECT, REACTIVATE, REPLAY)

VIEW = tuple(
    f"billing.view_{model}"
    for model in (
        "billingcustomer",
        "billingsubscription",
        "billinginvoice",
        "billingevent",
        "creditentry",
        "creditprice",
        "inboxevent",
        "leadclaim",
        "leadcredits",
        "operationrecord",
        "paymentreversal",
        "purchase",
        "webhookrejection",
    )
)

PRICING = ("billing.add_creditprice", "billing.change_creditprice")

ROLES: dict[str, tuple[str, ...]] = {
    "support": (*VIEW, *OPERATIONS),
    "finance": (*VIEW, EXPORT),
    "engineer": (*VIEW, *OPERATIONS, EXPORT, *PRICING),
}

"""Every permission of the back office, which role holds it, and how far it goes.

One place for the decision: the migration that makes the roles, the operations that
check, and the tests that enumerate all read it.
"""

from dataclasses import dataclass

SYNC = "billing.sync_from_stripe"
GRANT = "billing.grant_credits"
CORRECT = "billing.correct_balance"
REACTIVATE = "billing.reactivate_subscription"
REPLAY = "billing.replay_event"
GRANT_PURCHASE = "billing.grant_purchase"
TAKE_BACK = "billing.take_back_credits"
REFUND_CLAIM = "billing.refund_claim"
RESEND_INVOICE = "billing.resend_invoice"
MARK_PAID = "billing.mark_invoice_paid"
PAY_INVOICE = "billing.pay_invoice"
VOID_INVOICE = "billing.void_invoice"
RECORD = "billing.record_subscription"
CANCEL = "billing.cancel_at_period_end"
OVERRIDE = "billing.override_status"
END_OVERRIDE = "billing.end_override"
PORTAL_LINK = "billing.create_portal_link"
CHECKOUT_LINK = "billing.create_checkout_link"
ATTRIBUTE = "billing.attribute_payment"
MERGE = "billing.merge_customers"
ERASE = "billing.erase_customer"
ADD_NOTE = "billing.add_note_to_customer"
WITHDRAW_NOTE = "billing.withdraw_note"
TIE_OUT = "billing.tie_out_balance"
BILLING_LINK = "billing.create_billing_link"
TAKE_FINDING = "billing.take_finding"
SNOOZE_FINDING = "billing.snooze_finding"
ACCEPT_FINDING = "billing.accept_finding"
REOPEN_FINDING = "billing.reopen_finding"
FIX_FINDING = "billing.fix_finding"
SIGN_OFF = "billing.sign_off_run"
RECONCILE = "billing.reconcile"
OPEN_INCIDENT = "billing.open_incident"
HAND_OVER_INCIDENT = "billing.hand_over_incident"
CLOSE_INCIDENT = "billing.close_incident"
NOTE_INCIDENT = "billing.note_incident"
TELL_OF_INCIDENT = "billing.tell_of_incident"
RECOVER = "billing.start_recovery"
MAKE_BACKUP = "billing.make_backup"
ASSESS = "billing.assess_database"
CHECK_MONTH = "billing.check_month"
SIGN_MONTH = "billing.sign_month"
REVIEW_MONTH = "billing.review_month"
REOPEN_MONTH = "billing.reopen_month"
CHANGE_RIGHTS = "billing.change_rights"
SWITCH_OFF = "billing.switch_off_account"
SWITCH_ON = "billing.switch_on_account"
RESET_FACTOR = "billing.reset_second_factor"

VIEW_INCIDENT = "billing.view_incident"
APPROVE = "billing.approve_operation"
EXPORT = "billing.export"
VIEW_FINANCE = "billing.view_finance"
VIEW_MONTHS = "billing.view_monthclose"
VIEW_ACCESS = "billing.view_access"

# What the operations need beside those that their own table declares: Django makes these
# permissions for the table of operations.
DECLARED = {
    GRANT_PURCHASE: "Can grant a purchase what it is worth",
    TAKE_BACK: "Can take back a grant or a correction",
    REFUND_CLAIM: "Can give back the credits of a failed claim",
    RESEND_INVOICE: "Can send an invoice again",
    MARK_PAID: "Can mark an invoice as paid elsewhere",
    PAY_INVOICE: "Can retry the payment of an invoice",
    VOID_INVOICE: "Can void an invoice",
    RECORD: "Can record a subscription from Stripe",
    CANCEL: "Can cancel a subscription at the end of its period",
    OVERRIDE: "Can set a subscription's status by hand",
    END_OVERRIDE: "Can end a status override",
    PORTAL_LINK: "Can create a link to the billing portal",
    CHECKOUT_LINK: "Can create a link to checkout",
    ATTRIBUTE: "Can say whose a payment is",
    MERGE: "Can merge two customers of one person",
    ERASE: "Can erase what is stored about a person",
    ADD_NOTE: "Can add a note to a customer",
    WITHDRAW_NOTE: "Can withdraw a note",
    TIE_OUT: "Can bring a balance and its ledger together",
    BILLING_LINK: "Can create a link to the customer's own billing page",
    TAKE_FINDING: "Can take a finding on, or hand it to somebody",
    SNOOZE_FINDING: "Can put a finding off",
    ACCEPT_FINDING: "Can accept a finding as it is",
    REOPEN_FINDING: "Can open a finding again",
    FIX_FINDING: "Can run what a finding recommends",
    RECONCILE: "Can start a reconciliation",
    SIGN_OFF: "Can sign a reconciliation off",
    OPEN_INCIDENT: "Can open an incident",
    HAND_OVER_INCIDENT: "Can hand an incident over",
    CLOSE_INCIDENT: "Can close an incident",
    NOTE_INCIDENT: "Can write a note into an incident",
    TELL_OF_INCIDENT: "Can tell others of an incident",
    RECOVER: "Can recover what an outage or a restore lost",
    MAKE_BACKUP: "Can make a backup of the database",
    ASSESS: "Can look whether the database is whole",
    CHECK_MONTH: "Can check a month against Stripe",
    SIGN_MONTH: "Can sign a month",
    REVIEW_MONTH: "Can review a month that somebody signed, and close it",
    REOPEN_MONTH: "Can open a closed month again",
    CHANGE_RIGHTS: "Can change somebody's rights, and make accounts",
    SWITCH_OFF: "Can switch an account off",
    SWITCH_ON: "Can switch an account on again",
    RESET_FACTOR: "Can take away somebody's second factor",
    APPROVE: "Can approve what others ask for",
    VIEW_FINANCE: "Can view the reports of finance",
    VIEW_ACCESS: "Can view accounts, their rights and their log-ins",
}

OPERATIONS = (
    SYNC,
    GRANT,
    CORRECT,
    REACTIVATE,
    REPLAY,
    *(p for p in DECLARED if p not in (APPROVE, VIEW_FINANCE, VIEW_ACCESS)),
)
FINDINGS = (TAKE_FINDING, SNOOZE_FINDING, ACCEPT_FINDING, REOPEN_FINDING, RECONCILE)
FINANCE_ONLY = (SIGN_OFF, SIGN_MONTH, REVIEW_MONTH, REOPEN_MONTH)
# Who says what others may do moves no money: so nobody gives oneself the right to.
ADMINISTRATORS_ONLY = (CHANGE_RIGHTS, SWITCH_OFF, SWITCH_ON, RESET_FACTOR)
ENGINEERS_ONLY = (
    OVERRIDE,
    END_OVERRIDE,
    MERGE,
    ERASE,
    TIE_OUT,
    HAND_OVER_INCIDENT,
    CLOSE_INCIDENT,
    RECOVER,
    MAKE_BACKUP,
    ASSESS,
    CHECK_MONTH,
)

VIEW = tuple(
    f"billing.view_{model}"
    for model in (
        "alert",
        "assessment",
        "auditevent",
        "backup",
        "billingcustomer",
        "billingsubscription",
        "billinginvoice",
        "billingevent",
        "billingpayment",
        "bulkjob",
        "creditentry",
        "creditprice",
        "findingrecord",
        "inboxevent",
        "incident",
        "leadclaim",
        "leadcredits",
        "note",
        "operationrecord",
        "paymentreversal",
        "purchase",
        "reasoncode",
        "reconciliationrun",
        "recovery",
        "smoketest",
        "statusoverride",
        "webhookrejection",
    )
)

FINANCES = (VIEW_FINANCE, VIEW_MONTHS)

SETTINGS = (
    "billing.add_creditprice",
    "billing.change_creditprice",
    "billing.add_reasoncode",
    "billing.change_reasoncode",
)

OVERSIGHT = (
    VIEW_ACCESS,
    "billing.view_auditevent",
    "billing.view_operationrecord",
    "billing.view_reasoncode",
)

ENGINEERS = tuple(
    permission
    for permission in OPERATIONS
    if permission not in (*FINANCE_ONLY, *ADMINISTRATORS_ONLY)
)
SUPPORTS = tuple(permission for permission in ENGINEERS if permission not in ENGINEERS_ONLY)

ROLES: dict[str, tuple[str, ...]] = {
    "support": (*VIEW, *SUPPORTS),
    "finance": (*VIEW, *FINANCES, *FINDINGS, *FINANCE_ONLY, CHECK_MONTH, EXPORT, APPROVE),
    "engineer": (*VIEW, *FINANCES, *ENGINEERS, EXPORT, APPROVE, *SETTINGS),
    "administrator": (*OVERSIGHT, *ADMINISTRATORS_ONLY, EXPORT, APPROVE),
}


@dataclass(frozen=True, slots=True)
class CreditLimit:
    """Credits that one person may move without a second one: at once, and in 24 hours."""

    at_once: int
    a_day: int


CREDIT_LIMITS = {
    "support": CreditLimit(at_once=500, a_day=2_000),
    "engineer": CreditLimit(at_once=10_000, a_day=50_000),
}
# Who has a shell, or a superuser's account, is held to what an engineer may.
COMMAND_LIMIT = CREDIT_LIMITS["engineer"]

# From this amount on, in a currency's major unit, a second person has to agree that an
# invoice was paid elsewhere.
PAID_ELSEWHERE_ALONE = 1_000

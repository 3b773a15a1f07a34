"""What is stored about people, column by column: one place for erasing, for the page and the tests.

Every column that holds text or JSON stands here, of our tables and of those that come along with
Django and its packages. A new one has to be thought about before a test is content.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column may say of a person, and so what erasing a customer does with it."""

    NOTHING = "N"  # our own words, or an amount's currency: of nobody
    ID = "I"  # an id: it stays, and says nothing of a person to who has only it
    PERSONAL = "P"  # a customer's own: emptied
    STRIPE = "J"  # a Stripe object, as JSON: what is personal in it is redacted
    TEXT = "T"  # free text, or JSON of ours, that may name a customer: that is taken out
    FROZEN = "F"  # what finance signed, with a hash: it must not name a customer
    COLLEAGUE = "O"  # our own people's: goes when their account does
    SECRET = "S"  # noqa: S105  encoded or secret: nothing of a customer is put there
    UNUSED = "U"  # dj-stripe's, never written here; what a company puts there is looked through
    PENDING = "X"  # on its way out of the database, compressed: gone once it was exported


# By table: a kind, then its columns.
_COLUMNS = {
    "django_admin_log": "I object_id; T object_repr change_message",
    "auth_permission": "N name codename",
    "auth_group": "N name",
    "auth_user": "O password username first_name last_name email",
    "django_content_type": "N app_label model",
    "django_session": "S session_key session_data",
    "axes_accessfailurelog": "O user_agent ip_address username http_accept; T path_info",
    "axes_accessattempt": (
        "O user_agent ip_address username http_accept; T path_info get_data post_data"
    ),
    "axes_accesslog": "O user_agent ip_address username http_accept session_hash; T path_info",
    "mfa_authenticator": "N type; S data",
    "usersessions_usersession": "O ip user_agent; S session_key data",
    "account_emailaddress": "O email",
    "account_emailconfirmation": "S key",
    "socialaccount_socialapp": "N provider provider_id name client_id key settings; S secret",
    "socialaccount_socialaccount": "N provider; O uid extra_data",
    "socialaccount_socialtoken": "S token token_secret",
    "procrastinate_jobs": "N queue_name task_name; I lock queueing_lock; T args",
    "procrastinate_periodic_defers": "N task_name; I periodic_id",
    "billing_customers": "I user_id stripe_customer_id; P email name; N attributed_by",
    "billing_subscriptions": (
        "I user_id stripe_subscription_id stripe_customer_id price_id latest_invoice_id; N "
        "status currency; T cancellation_reason"
    ),
    "billing_invoices": (
        "I user_id stripe_invoice_id stripe_customer_id stripe_subscription_id; N number "
        "status billing_reason currency hosted_invoice_url"
    ),
    "billing_audit_chain": "N hash",
    "billing_events": "N type api_version; J payload; I stripe_event_id; O actor",
    "billing_incidents": (
        "T title closing_report figures; O owner opened_by closed_by; I operation_key"
    ),
    "billing_incident_entries": "N kind; T text told; O by actor; I operation_key",
    "billing_alerts": "N rule severity; I key; T title detail page delivery_error",
    "billing_alert_messages": "N occasion way; T error",
    "billing_watched_rules": "N rule; T memory",
    "billing_balance_transactions": (
        "I stripe_id source_id charge_id payout_id; N type category currency "
        "charged_currency country; T description"
    ),
    "billing_balance_days": "N currency category",
    "billing_payouts": (
        "I stripe_id; N status currency method failure_code reconciliation_status; T "
        "description failure_message"
    ),
    "billing_balance_readings": "N what",
    "billing_revenue_entries": (
        "I source price_id product_id customer_id user_id charge_id invoice_id; N item "
        "currency settled_currency kind country"
    ),
    "billing_revenue_days": "N item kind currency settled_currency",
    "billing_revenue_hours": "N item kind currency settled_currency",
    "billing_bridge_days": "N zone currency part; T items causes",
    "billing_month_closes": (
        "N timezone state hash stage; O signed_by reviewed_by reopened_by; F signed_word "
        "explanation reviewed_word figures checklist; T reopened_word later"
    ),
    "billing_closed_entries": (
        "I source price_id product_id customer_id user_id charge_id invoice_id; N item "
        "currency settled_currency kind country"
    ),
    "billing_credit_lots": "I user_id source price_id; N origin currency",
    "billing_credit_uses": "I user_id; N purpose currency",
    "billing_credit_spenders": "I user_id; N spent",
    "billing_credit_flows": "N item currency",
    "billing_credit_positions": "I user_id",
    "lead_credits": "I user_id",
    "credit_entries": "I user_id source; N kind; O actor; T reason",
    "lead_claims": "I user_id lead_id; N status; T failure_reason",
    "billing_credit_prices": "I price_id; N name; O updated_by",
    "billing_invoice_dunning": (
        "I stripe_invoice_id stripe_customer_id charge_id; N currency decline_reason lost_by"
    ),
    "billing_rate_limits": "O key",
    "billing_adoption": "N tables",
    "billing_erased": "I object_id operation_key",
    "billing_saved_views": "N report; T name query; O saved_by",
    "billing_inbox": (
        "I stripe_event_id object_id customer_id source; N type api_version status; J body; "
        "T reason receiver_error"
    ),
    "billing_webhook_rejections": "N reason last_detail",
    "billing_mirror_references": "N child_kind field; I child_id parent_id",
    "billing_subscription_states": (
        "I subscription_id customer_id user_id price_id product_id; N status currency trial reason"
    ),
    "billing_mrr_changes": "I customer_id subscription_id user_id; N currency kind",
    "billing_mrr_days": "N currency item",
    "billing_reason_codes": "N code label",
    "billing_operations": (
        "I key; N name reason_code status; T subject parameters reason ticket plan result "
        "error approval decision; O actor decided_by"
    ),
    "billing_bulk_jobs": "I key; N name reason_code status; T answers reason ticket; O actor",
    "billing_bulk_items": "I target; T said; N status",
    "billing_status_overrides": (
        "I stripe_subscription_id operation_key; N status_before status; O actor ended_by; T reason"
    ),
    "billing_notes": "I stripe_customer_id user_id operation_key; T text; O actor withdrawn_by",
    "billing_payments": (
        "I stripe_charge_id stripe_customer_id payment_intent_id; N status currency "
        "failure_code decline_reason brand; T failure_message; P last4"
    ),
    "billing_purchases": (
        "I source user_id stripe_customer_id payment_intent_id; N kind status currency "
        "lines; P email"
    ),
    "billing_payment_reversals": "I stripe_id payment_intent_id charge_id; N kind currency status",
    "billing_invoice_payments": "I payment_intent_id stripe_invoice_id",
    "billing_reconciliation_runs": (
        "N kind status timezone stage; O actor signed_off_by; T error counts differences "
        "at_stake measures report sign_off"
    ),
    "billing_reconciliation_slices": "N list counts",
    "billing_reconciliation_suspects": (
        "N kind; I object_id stripe_customer_id user_id; J event; T person"
    ),
    "billing_findings": (
        "N kind severity verdict currency state; I subject user_id stripe_customer_id "
        "operation_key; T evidence fix state_reason; O owner state_by resolved_by"
    ),
    "billing_request_pace": "N name",
    "billing_recoveries": "N kind status stage cursor; O actor; T error counts report",
    "billing_missed_events": (
        "I stripe_event_id object_id customer_id; N type missed_as status; J body; T said"
    ),
    "billing_backups": "N name location manifest; O actor; T error",
    "billing_assessments": "O actor; T checks users",
    "billing_export_progress": "N stream place digest waits_for; X pending; T error",
    "billing_export_changes": "N table_name; I row_ids",
    "billing_smoke_tests": "O actor; N mode; T steps",
    "billing_stripe_versions": "I object_id; N kind digest",
    "djstripe_idempotencykey": "N action",
    "djstripe_apikey": "N stripe_data type name; I id; S secret",
    "djstripe_discount": "J stripe_data metadata; I id; N promotion_code",
    "djstripe_upcominginvoice": "U stripe_data metadata",
    "djstripe_subscriptionschedule": (
        "J stripe_data metadata; I id; N current_phase default_settings end_behavior phases status"
    ),
    "djstripe_taxcode": "N stripe_data; I id",
    "djstripe_taxid": "J stripe_data; I id",
    "djstripe_countryspec": (
        "N stripe_data default_currency supported_bank_account_currencies "
        "supported_payment_currencies supported_payment_methods "
        "supported_transfer_countries verification_fields; I id"
    ),
    "djstripe_balancetransaction": "J stripe_data metadata; I id; N currency source type",
    "djstripe_charge": "J stripe_data metadata; I id; N currency status",
    "djstripe_product": "N stripe_data metadata name; I id",
    "djstripe_customer": "J stripe_data metadata; I id; P email",
    "djstripe_event": (
        "J stripe_data metadata data; I id; N api_version request_id idempotency_key type"
    ),
    "djstripe_payout": "N stripe_data metadata currency; I id",
    "djstripe_price": "N stripe_data metadata currency nickname lookup_key; I id",
    "djstripe_refund": "J stripe_data metadata; I id; N currency",
    "djstripe_verificationsession": (
        "U stripe_data metadata last_error redaction verified_outputs status type; I id"
    ),
    "djstripe_verificationreport": (
        "U stripe_data metadata document id_number options selfie type; I id"
    ),
    "djstripe_djstripepaymentmethod": "I id; N type",
    "djstripe_bankaccount": "J stripe_data metadata; I id; P fingerprint",
    "djstripe_card": "J stripe_data metadata; I id; P fingerprint",
    "djstripe_sourcetransaction": (
        "U stripe_data ach_credit_transfer currency customer_data status; I id"
    ),
    "djstripe_scheduledqueryrun": "N stripe_data metadata error sql status title; I id",
    "djstripe_webhookendpoint": (
        "N stripe_data metadata api_version enabled_events status url application "
        "djstripe_validation_method; I id; S secret"
    ),
    "djstripe_webhookeventtrigger": "U remote_ip headers body exception traceback djstripe_version",
}

# dj-stripe's tables that have an id, the object and its metadata, and nothing else: of people, of
# what is sold or how the account is set up, and those that the back office has no use for.
_OF_PEOPLE = (
    "invoice invoiceitem subscription subscriptionitem session mandate dispute "
    "paymentintent setupintent source paymentmethod"
)
_OF_NOBODY = "account coupon promotioncode lineitem shippingrate taxrate"
_UNUSED = (
    "accountv2 applicationfee applicationfeerefund transfer transferreversal file "
    "filelink feature productfeature activeentitlement issuing_authorization issuing_card "
    "issuing_cardholder issuing_dispute issuing_transaction earlyfraudwarning review"
)

COLUMNS: dict[str, dict[str, Kind]] = {
    table: {
        column: Kind(kind)
        for kind, *columns in (part.split() for part in told.split(";"))
        for column in columns
    }
    for table, told in {
        **_COLUMNS,
        **{f"djstripe_{name}": "I id; J stripe_data metadata" for name in _OF_PEOPLE.split()},
        **{f"djstripe_{name}": "I id; N stripe_data metadata" for name in _OF_NOBODY.split()},
        **{f"djstripe_{name}": "I id; U stripe_data metadata" for name in _UNUSED.split()},
    }.items()
}


def columns_of(kind: Kind) -> dict[str, list[str]]:
    """The columns of a kind, by table."""
    found = {
        table: [column for column, is_kind in columns.items() if is_kind == kind]
        for table, columns in COLUMNS.items()
    }
    return {table: columns for table, columns in found.items() if columns}


@dataclass(frozen=True, slots=True)
class Group:
    """One row of the page: what is stored about people, where, why, for how long."""

    what: str
    tables: tuple[str, ...]  # by name; one that ends with * begins so
    why: str
    how_long: str


FOR_EVER = "For ever; erased on request"
BOOKS = "The books: amounts, dates and ids, which tax law has kept for years"

GROUPS = (
    Group("Customers: email, name, our id of the user, Stripe's id", ("billing_customers",),
          "To find who writes, and whose a payment is", FOR_EVER),
    Group("Purchases: the email that the buyer typed; payments: the card's last four digits",
          ("billing_purchases", "billing_payments", "billing_balance_transactions",
           "billing_payouts"),
          BOOKS, "For ever; email, digits and descriptions erased on request"),
    Group("Raw webhook bodies: all that Stripe says, addresses and cards included",
          ("billing_inbox", "billing_missed_events", "djstripe_event"),
          "To process and to replay an event",
          "`RETAIN_PAYLOADS_DAYS` (400) after they were received, once processed; the row stays"),
    Group("Log of Stripe's events, and the audit log: who did what, when and why",
          ("billing_events",),
          "Figures of any past time are computed from it; the audit log proves who did what",
          "For ever; redacted on request, and the chain of hashes stays whole"),
    Group("Stripe's objects, as dj-stripe keeps them: customers, cards, charges, disputes",
          tuple(f"djstripe_{name}" for name in (
              "customer", "card", "bankaccount", "discount", "subscriptionschedule", "taxid",
              "balancetransaction", "charge", "refund", *_OF_PEOPLE.split())),
          "To compare with Stripe, and for the company's own dj-stripe code", FOR_EVER),
    Group("Ledger and claims: our id of the user, credits, a reason in words",
          ("credit_entries", "lead_claims", "billing_subscriptions"), BOOKS,
          "For ever; words erased on request"),
    Group("Notes, operations, approvals, bulk jobs, overrides: what colleagues wrote and did",
          ("billing_notes", "billing_operations", "billing_bulk_jobs", "billing_bulk_items",
           "billing_status_overrides", "billing_credit_prices", "billing_saved_views"),
          "So that the next one knows, and whoever asks why", FOR_EVER),
    Group("Findings, runs, incidents, alerts, recoveries, assessments: what was wrong, with whom",
          ("billing_findings", "billing_reconciliation_*", "billing_incidents",
           "billing_incident_entries", "billing_alerts", "billing_alert_messages",
           "billing_watched_rules", "billing_recoveries", "billing_backups",
           "billing_assessments", "billing_smoke_tests", "billing_bridge_days"),
          "To mend it, and to show afterwards that it was", FOR_EVER),
    Group("Closed months: who signed, with what words", ("billing_month_closes",),
          "Finance's signature", "For ever, unchanged: the hash covers it; name no customer in it"),
    Group("Colleagues' accounts: name, email, password's hash, second factors (encrypted)",
          ("auth_user", "mfa_authenticator", "account_*", "socialaccount_*"),
          "To log in, and so that the audit log names people", "As long as the account is there"),
    Group("Colleagues' log-ins: name, address, browser; sessions",
          ("axes_*", "django_session", "usersessions_*", "django_admin_log"),
          "To stop guessing, and to see who was here",
          "Sessions `SESSION_HOURS` (12); log-ins 180 days; both go by themselves, every night"),
    Group("Addresses of strangers who asked too often", ("billing_rate_limits",),
          "To slow them down", "A day, then the worker removes them"),
    Group("Jobs of the worker: ids of what they are about", ("procrastinate_jobs",),
          "To do them once", "24 hours after they are done"),
    Group("What is on its way out of the database to `EXPORT_URL`, compressed",
          ("billing_export_progress",), "So that a segment is the same one however often tried",
          "Seconds; what is exported is never written over, see below"),
    Group("dj-stripe's other tables, which the back office never fills",
          tuple(f"djstripe_{name}" for name in (
              "upcominginvoice", "verificationsession", "verificationreport", "sourcetransaction",
              "webhookeventtrigger", "webhookendpoint", "apikey", *_UNUSED.split())),
          "They come with dj-stripe",
          "Empty, unless the company's own code fills them; searched when somebody is erased"),
)  # fmt: skip

NOBODYS = {Kind.NOTHING, Kind.ID}


def group_of(table: str) -> list[Group]:
    """The rows of the page that a table stands in."""

    def has(group: Group) -> bool:
        return any(
            table == name or (name.endswith("*") and table.startswith(name[:-1]))
            for name in group.tables
        )

    return [group for group in GROUPS if has(group)]


def page() -> str:
    """The page's table, in Markdown."""
    lines = ["| what | where | why | for how long |", "|---|---|---|---|"]
    for group in GROUPS:
        where = ", ".join(f"`{table}`" for table in group.tables)
        lines.append(f"| {group.what} | {where} | {group.why} | {group.how_long} |")
    return "\n".join(lines)

"""Which tables are exported, and why the others are not: each table of ours stands here."""

from django.db.models import Model

from billing import models as m

# Each of their rows, as it is after each change.
OURS: tuple[type[Model], ...] = (
    m.LeadClaim,
    m.CreditPrice,
    m.ReasonCode,
    m.Incident,
    m.IncidentEntry,
    m.OperationRecord,
    m.Note,
    m.StatusOverride,
    m.BulkJob,
    m.BulkItem,
    m.Alert,
    m.ReconciliationRun,
    m.FindingRecord,
    m.MonthClose,
    m.ClosedEntry,
    m.SavedView,
    m.ErasedObject,
)

# Rows that Stripe's events write; exported is what anybody else does to them: operators, raw SQL.
STRIPES: tuple[type[Model], ...] = (
    m.BillingCustomer,
    m.BillingSubscription,
    m.BillingInvoice,
    m.BillingPayment,
    m.Purchase,
)

# What tells two rows of one number apart, where the table has no other key: columns that stay.
SAME: dict[type[Model], tuple[str, ...]] = {
    m.LeadClaim: ("user_id", "lead_id", "claimed_at"),
    m.CreditPrice: ("price_id",),
    m.ReasonCode: ("code",),
    m.Incident: ("operation_key",),
    m.IncidentEntry: ("operation_key",),
    m.OperationRecord: ("key",),
    m.Note: ("operation_key",),
    m.StatusOverride: ("operation_key",),
    m.BulkJob: ("key",),
    m.BulkItem: ("job_id", "target"),
    m.Alert: ("rule", "key", "opened_at"),
    m.ReconciliationRun: ("kind", "started_at"),
    m.FindingRecord: ("kind", "subject"),
    m.MonthClose: ("month", "timezone"),
    m.ClosedEntry: ("close_id", "source", "line"),
    m.SavedView: ("name",),
    m.ErasedObject: ("object_id",),
    m.BillingCustomer: ("stripe_customer_id",),
    m.BillingSubscription: ("stripe_subscription_id",),
    m.BillingInvoice: ("stripe_invoice_id",),
    m.BillingPayment: ("stripe_charge_id",),
    m.Purchase: ("source",),
}

_STRIPE_TELLS = "Stripe tells it again."
_DERIVED = "It is derived from what else there is."
_OF_THE_MOMENT = "It is of the moment: nobody needs it after a restore."

LEFT_OUT: dict[type[Model], str] = {
    m.BillingEvent: "Ours of it are the stream `audit`; Stripe tells its own again.",
    m.AuditLink: "It goes with the stream `audit`.",
    m.CreditEntry: "It is the stream `ledger`.",
    m.LeadCredits: "Balances are the sums of the ledger.",
    m.InboxEvent: _STRIPE_TELLS,
    m.PaymentReversal: _STRIPE_TELLS,
    m.InvoicePayment: _STRIPE_TELLS,
    m.BalanceTransaction: _STRIPE_TELLS,
    m.BalanceReading: _STRIPE_TELLS,
    m.Payout: _STRIPE_TELLS,
    m.BridgeDay: _STRIPE_TELLS,
    m.StripeVersion: _STRIPE_TELLS,
    m.MirrorReference: _STRIPE_TELLS,
    m.InvoiceDunning: _DERIVED,
    m.BalanceDay: _DERIVED,
    m.RevenueEntry: _DERIVED,
    m.RevenueDay: _DERIVED,
    m.RevenueHour: _DERIVED,
    m.SubscriptionState: _DERIVED,
    m.SubscriptionsRead: _DERIVED,
    m.MrrChange: _DERIVED,
    m.MrrDay: _DERIVED,
    m.CreditLot: _DERIVED,
    m.CreditUse: _DERIVED,
    m.CreditSpender: _DERIVED,
    m.CreditFlow: _DERIVED,
    m.CreditPosition: _DERIVED,
    m.CreditProgress: _DERIVED,
    m.AlertMessage: _OF_THE_MOMENT,
    m.WatchedRule: _OF_THE_MOMENT,
    m.WebhookRejection: _OF_THE_MOMENT,
    m.RequestPace: _OF_THE_MOMENT,
    m.RateLimit: _OF_THE_MOMENT,
    m.ReconciliationSlice: _OF_THE_MOMENT,
    m.ReconciliationSuspect: _OF_THE_MOMENT,
    m.MissedEvent: _OF_THE_MOMENT,
    m.ExportProgress: _OF_THE_MOMENT,
    m.ExportChange: _OF_THE_MOMENT,
    m.Recovery: "What recovered a database that is gone says nothing of the one after it.",
    m.Assessment: "It tells of a database that is gone.",
    m.SmokeTest: "It tells of a deployment that is gone.",
    m.Backup: "The backups' own files say the same.",
    m.Adoption: "The opening entries of the ledger say it.",
}

BY_TABLE: dict[str, type[Model]] = {model._meta.db_table: model for model in (*OURS, *STRIPES)}

"""The tables: the runbook's own five, and what the back office keeps besides."""

from billing.models.accounts import BillingCustomer, BillingInvoice, BillingSubscription
from billing.models.adoption import Adoption
from billing.models.alerts import Alert, AlertMessage, WatchedRule
from billing.models.audit import AuditLink
from billing.models.balance import (
    BalanceDay,
    BalanceReading,
    BalanceTransaction,
    Payout,
    RevenueDay,
    RevenueEntry,
    RevenueHour,
)
from billing.models.closing import BridgeDay, ClosedEntry, MonthClose
from billing.models.context import acting_as
from billing.models.credit_lots import (
    CreditFlow,
    CreditLot,
    CreditPosition,
    CreditProgress,
    CreditSpender,
    CreditUse,
)
from billing.models.credits import CreditEntry, CreditPrice, LeadClaim, LeadCredits
from billing.models.dunning import InvoiceDunning
from billing.models.erasure import ErasedObject
from billing.models.events import AuditEvent, BillingEvent
from billing.models.finance import SavedView
from billing.models.inbox import InboxEvent, WebhookRejection
from billing.models.incidents import Incident, IncidentEntry
from billing.models.mirror import MirrorReference
from billing.models.mrr import MrrChange, MrrDay, SubscriptionsRead, SubscriptionState
from billing.models.operations import (
    BulkItem,
    BulkJob,
    Note,
    OperationRecord,
    ReasonCode,
    StatusOverride,
)
from billing.models.payments import BillingPayment
from billing.models.purchases import InvoicePayment, PaymentReversal, Purchase
from billing.models.rate_limits import RateLimit
from billing.models.reconciliation import (
    FindingRecord,
    ReconciliationRun,
    ReconciliationSlice,
    ReconciliationSuspect,
    RequestPace,
)
from billing.models.recovery import (
    Assessment,
    Backup,
    ExportChange,
    ExportProgress,
    MissedEvent,
    Recovery,
    SmokeTest,
)
from billing.models.versions import StripeVersion

__all__ = [
    "Adoption",
    "Alert",
    "AlertMessage",
    "Assessment",
    "AuditEvent",
    "AuditLink",
    "Backup",
    "BalanceDay",
    "BalanceReading",
    "BalanceTransaction",
    "BillingCustomer",
    "BillingEvent",
    "BillingInvoice",
    "BillingPayment",
    "BillingSubscription",
    "BridgeDay",
    "BulkItem",
    "BulkJob",
    "ClosedEntry",
    "CreditEntry",
    "CreditFlow",
    "CreditLot",
    "CreditPosition",
    "CreditPrice",
    "CreditProgress",
    "CreditSpender",
    "CreditUse",
    "ErasedObject",
    "ExportChange",
    "ExportProgress",
    "FindingRecord",
    "InboxEvent",
    "Incident",
    "IncidentEntry",
    "InvoiceDunning",
    "InvoicePayment",
    "LeadClaim",
    "LeadCredits",
    "MirrorReference",
    "MissedEvent",
    "MonthClose",
    "MrrChange",
    "MrrDay",
    "Note",
    "OperationRecord",
    "PaymentReversal",
    "Payout",
    "Purchase",
    "RateLimit",
    "ReasonCode",
    "ReconciliationRun",
    "ReconciliationSlice",
    "ReconciliationSuspect",
    "Recovery",
    "RequestPace",
    "RevenueDay",
    "RevenueEntry",
    "RevenueHour",
    "SavedView",
    "SmokeTest",
    "StatusOverride",
    "StripeVersion",
    "SubscriptionState",
    "SubscriptionsRead",
    "WatchedRule",
    "WebhookRejection",
    "acting_as",
]

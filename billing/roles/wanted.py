"""What each role may do, and no more.

`billing_owner` owns our tables: migrations run as it, and nothing else does. `billing_backoffice`
is the web server, the worker and the commands: it can't change a table, switch a trigger off, or
rewrite what is append-only. `billing_application` is the marketplace. `billing_analyst` reads
figures, without what names a person, Stripe's raw objects, and secrets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.apps import apps
from django.db import models

from billing import models as m
from billing.adoption.mapping import column_of

OWNER, BACKOFFICE = "billing_owner", "billing_backoffice"
APPLICATION, ANALYST = "billing_application", "billing_analyst"
ROLES = (OWNER, BACKOFFICE, APPLICATION, ANALYST)

APPEND_ONLY = (m.BillingEvent, m.CreditEntry, m.AuditLink, m.IncidentEntry)
DERIVED_ANEW = (
    m.CreditLot, m.CreditUse, m.CreditSpender, m.CreditFlow, m.CreditPosition, m.CreditProgress,
)  # fmt: skip
"""What the ledger's lots are made of: emptied, and derived again."""

READ_BY_APPLICATION: tuple[type[models.Model], ...] = (
    m.BillingCustomer, m.BillingSubscription, m.BillingInvoice, m.BillingEvent, m.LeadCredits,
    m.LeadClaim,
)  # fmt: skip

# Its own statements of a claim: deploy/application.md.
WRITTEN_BY_APPLICATION: Mapping[type[models.Model], Mapping[str, tuple[str, ...]]] = {
    m.LeadCredits: {"UPDATE": ("balance", "updated_at")},
    m.LeadClaim: {
        "INSERT": (
            "user_id", "lead_id", "credits_spent", "status", "failure_reason", "claimed_at",
        ),
        "UPDATE": ("status", "failure_reason"),
    },
}  # fmt: skip

# What the analyst does not read of a table that they do read.
READ_BY_ANALYST: Mapping[type[models.Model], tuple[str, ...]] = {
    m.BillingCustomer: ("email", "name", "attributed_by"),
    m.BillingSubscription: ("cancellation_reason",),
    m.BillingInvoice: ("hosted_invoice_url",),
    m.BillingEvent: ("payload", "actor"),
    m.LeadCredits: (),
    m.LeadClaim: ("failure_reason",),
    m.CreditEntry: ("actor", "reason"),
    m.CreditPrice: ("updated_by",),
    m.Purchase: ("email",),
    m.PaymentReversal: (),
    m.InvoicePayment: (),
    m.BillingPayment: ("last4", "failure_message"),
    m.BalanceTransaction: ("description",),
    m.Payout: (),
    m.BalanceDay: (),
    m.RevenueEntry: (),
    m.RevenueDay: (),
    m.RevenueHour: (),
    m.InvoiceDunning: (),
    m.SubscriptionState: (),
    m.MrrChange: (),
    m.MrrDay: (),
    m.CreditLot: (),
    m.CreditUse: (),
    m.CreditSpender: (),
    m.CreditFlow: (),
}

EVERYTHING = ("SELECT", "INSERT", "UPDATE", "DELETE")
FUNCTIONS = {
    "claim_lead(text,text,bigint)": (APPLICATION, BACKOFFICE),
    "billing_erase(text,bigint,jsonb)": (BACKOFFICE,),
}


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One right. `kind` is table, column, sequence, schema, database or function; `column` is ''
    but for a column."""

    role: str
    kind: str
    name: str
    right: str
    column: str = ""


def on_models() -> set[Grant]:
    """What the roles may do to the tables of our models, by the tables' names."""
    wanted: set[Grant] = set()
    for model in READ_BY_APPLICATION:
        wanted.add(Grant(APPLICATION, "table", model._meta.db_table, "SELECT"))
    for model, by_right in WRITTEN_BY_APPLICATION.items():
        for right, columns in by_right.items():
            table = model._meta.db_table
            wanted |= {Grant(APPLICATION, "column", table, right, each) for each in columns}
    for model, left_out in READ_BY_ANALYST.items():
        columns_ = [column_of(each) for each in model._meta.concrete_fields]
        wanted |= {
            Grant(ANALYST, "column", model._meta.db_table, "SELECT", each)
            for each in columns_
            if each not in left_out
        }
    return wanted


def of_backoffice(table: str) -> tuple[str, ...]:
    """What the back office may do to a table of ours, of Django's or of a package's."""
    model = _BY_TABLE.get(table)
    if model in APPEND_ONLY:
        return ("SELECT", "INSERT")
    if model is m.LeadCredits:
        return ("SELECT", "INSERT", "UPDATE")
    return (*EVERYTHING, "TRUNCATE") if model in DERIVED_ANEW else EVERYTHING


_BY_TABLE = {
    model._meta.db_table: model
    for model in apps.get_app_config("billing").get_models()
    if not model._meta.proxy
}

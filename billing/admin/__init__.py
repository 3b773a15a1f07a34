"""The Django admin: thin pages over the tables and the operations."""

from django.contrib import admin

from billing.admin import (
    alerts,
    assessments,
    audit,
    backups,
    balances,
    bulk,
    customers,
    events,
    inbox,
    incidents,
    invoices,
    months,
    notes,
    outages,
    overrides,
    payments,
    purchases,
    reasons,
    records,
    runs,
    smoke,
    subscriptions,
    users,
    worklist,
)

# Their stock pages fit neither Unfold nor an operator (COMPONENTS: Unfold): dj-stripe's
# answer 500 on today's API versions, Procrastinate's and axes' show what no one here asks.
# Allauth's would show the secrets of second factors.
STOCK = (
    "account",
    "axes",
    "djstripe",
    "mfa",
    "pgtrigger",
    "procrastinate",
    "socialaccount",
    "usersessions",
)

for _model in list(admin.site._registry):
    if _model._meta.app_label in STOCK:
        admin.site.unregister(_model)

__all__ = [
    "alerts",
    "assessments",
    "audit",
    "backups",
    "balances",
    "bulk",
    "customers",
    "events",
    "inbox",
    "incidents",
    "invoices",
    "months",
    "notes",
    "outages",
    "overrides",
    "payments",
    "purchases",
    "reasons",
    "records",
    "runs",
    "smoke",
    "subscriptions",
    "users",
    "worklist",
]

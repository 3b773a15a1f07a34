"""The admin's sidebar: what is listed where, and who may see it."""

from typing import Any

from django.http import HttpRequest
from django.utils.text import format_lazy

from billing.addresses import address, lazy_address
from billing.permissions import VIEW_ACCESS, VIEW_FINANCE


def entry(title: str, icon: str, model: str) -> dict[str, Any]:
    """One changelist in the sidebar, shown to those who may view the model."""

    def may_view(request: HttpRequest) -> bool:
        return request.user.has_perm(f"billing.view_{model}")

    return {
        "title": title,
        "icon": icon,
        "link": lazy_address(f"admin:billing_{model}_changelist"),
        "permission": may_view,
    }


def report(title: str, icon: str, name: str) -> dict[str, Any]:
    """One of finance's reports, shown to those who may view them."""
    return {
        "title": title,
        "icon": icon,
        "link": lazy_address("admin_finance:report", name),
        "permission": lambda request: request.user.has_perm(VIEW_FINANCE),
    }


def shows_incidents(request: HttpRequest) -> bool:
    """Whether the page is of an incident: what to do in an emergency stands below its list."""
    path = request.path
    listed = path.startswith(address("admin:billing_incident_changelist"))
    return listed and path != address("admin:billing_emergencies")


def shows_operations(request: HttpRequest, *, requested: bool) -> bool:
    """Whether the page is the list of operations: those that wait for approval, or all."""
    listed = request.path.startswith(address("admin:billing_operationrecord_changelist"))
    return listed and (request.GET.get("status") == "requested") is requested


SIDEBAR: dict[str, Any] = {
    "show_search": True,
    "show_all_applications": False,
    "navigation": [
        {
            "title": "Billing",
            "items": [
                {"title": "Home", "icon": "home", "link": lazy_address("admin:index")},
                entry("Customers", "person", "billingcustomer"),
                entry("Subscriptions", "autorenew", "billingsubscription"),
                entry("Invoices", "receipt_long", "billinginvoice"),
                entry("Payments", "credit_card", "billingpayment"),
                entry("Purchases", "shopping_cart", "purchase"),
                entry("Refunds and disputes", "undo", "paymentreversal"),
            ],
        },
        {
            "title": "Credits",
            "items": [
                entry("Balances", "toll", "leadcredits"),
                entry("Ledger", "menu_book", "creditentry"),
                entry("Lead claims", "how_to_reg", "leadclaim"),
                entry("Prices to credits", "sell", "creditprice"),
            ],
        },
        {
            "title": "Finance",
            "items": [
                report("Revenue", "payments", "revenue"),
                report("Subscriptions", "trending_up", "subscriptions"),
                report("Failed payments", "credit_card_off", "failed_payments"),
                report("Ageing", "hourglass_bottom", "ageing"),
                report("Credits", "toll", "credits"),
                report("Payouts and balance", "account_balance", "balance"),
                report("Journal", "menu_book", "journal"),
                entry("Months", "calendar_month", "monthclose"),
                report("Closed months", "lock", "closing"),
            ],
        },
        {
            "title": "Events",
            "items": [
                entry("Inbox", "inbox", "inboxevent"),
                entry("Event log", "history", "billingevent"),
                entry("Refused webhooks", "block", "webhookrejection"),
            ],
        },
        {
            "title": "Emergencies",
            "items": [
                {
                    "title": "Emergencies",
                    "icon": "emergency",
                    "link": lazy_address("admin:billing_emergencies"),
                    "permission": lambda request: request.user.has_module_perms("billing"),
                },
                {
                    **entry("Incidents", "e911_emergency", "incident"),
                    "active": shows_incidents,
                },
                entry("Outages", "healing", "recovery"),
                entry("Backups", "save", "backup"),
                entry("Assessments", "fact_check", "assessment"),
                entry("Smoke tests", "experiment", "smoketest"),
                entry("Alerts", "notifications_active", "alert"),
            ],
        },
        {
            "title": "Reconciliation",
            "items": [
                entry("Findings", "rule", "findingrecord"),
                entry("Runs", "event_repeat", "reconciliationrun"),
            ],
        },
        {
            "title": "Changes by hand",
            "items": [
                {
                    **entry("Operations", "build", "operationrecord"),
                    "active": lambda request: shows_operations(request, requested=False),
                },
                {
                    **entry("Approvals", "how_to_vote", "operationrecord"),
                    "active": lambda request: shows_operations(request, requested=True),
                    "link": format_lazy(
                        "{}?status=requested",
                        lazy_address("admin:billing_operationrecord_changelist"),
                    ),
                },
                entry("Bulk jobs", "checklist", "bulkjob"),
                entry("Status overrides", "edit_attributes", "statusoverride"),
                entry("Notes", "sticky_note_2", "note"),
                entry("Audit log", "policy", "auditevent"),
                entry("Reasons", "label", "reasoncode"),
            ],
        },
        {
            "title": "Access",
            "items": [
                {
                    "title": title,
                    "icon": icon,
                    "link": lazy_address(name),
                    "permission": lambda request: request.user.has_perm(VIEW_ACCESS),
                }
                for title, icon, name in (
                    ("Users", "group", "admin:auth_user_changelist"),
                    ("Roles", "badge", "admin:auth_group_changelist"),
                    ("Rights", "grid_on", "access_rights"),
                    ("Log-ins", "login", "access_log_ins"),
                )
            ],
        },
    ],
}

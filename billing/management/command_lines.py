"""The command line that runs what a finding recommends."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from billing.diagnosis.findings import Fix

Params = Mapping[str, Any]

# By the operation's name: the command's own, and its arguments.
COMMANDS: Mapping[str, tuple[str, Callable[[Params], list[Any]]]] = {
    "sync_from_stripe": ("sync_from_stripe", lambda p: [f"--{p['kind']}", p["id"]]),
    "replay_events": ("replay_events", lambda p: [*p["event_ids"]]),
    "grant_purchase": ("grant_purchase", lambda p: [p["purchase_id"]]),
    "attribute_payment": ("attribute_payment", lambda p: [p["purchase_id"], p["user_id"]]),
    "refund_claim": ("refund_claim", lambda p: [p["claim_id"]]),
    "correct_balance": ("correct_balance", lambda p: [p["user_id"], p["balance"]]),
    "tie_out_balance": ("tie_out_balance", lambda p: [p["user_id"]]),
    "reactivate_subscription": ("reactivate_subscription", lambda p: [p["subscription_id"]]),
    "cancel_at_period_end": ("cancel_subscription", lambda p: [p["subscription_id"]]),
    "end_override": ("end_override", lambda p: [p["subscription_id"]]),
    "pay_invoice": ("pay_invoice", lambda p: [p["invoice_id"]]),
    "resend_invoice": ("resend_invoice", lambda p: [p["invoice_id"]]),
    "void_invoice": ("void_invoice", lambda p: [p["invoice_id"]]),
    "create_portal_link": ("portal_link", lambda p: [p["customer"]]),
    "create_checkout_link": ("checkout_link", lambda p: [p["customer"], "--price", p["price"]]),
    "take_back_credits": (
        "take_back_credits",
        lambda p: [p["user_id"], -int(p["amount"]), "--operation", p["grant"]],
    ),
}


def arguments(fix: Fix) -> list[str]:
    """The name and the arguments of the command that runs a fix, but for the reason."""
    command, of = COMMANDS[fix.operation]
    return [command, *(str(each) for each in of(fix.params))]


def command_line(fix: Fix) -> str:
    """The same as it is typed; whoever types it says why."""
    return f"manage.py {shlex.join(arguments(fix))} --reason '...'"

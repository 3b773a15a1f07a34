"""Every rule, and looking whether it fires. One that fails is told of, and stops no other."""

import logging
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction

from billing.alerts import at_stripe, backups, books, exporting, flow, processes
from billing.alerts.firing import EVERY_MINUTE, Firing, Look, Rule, Severity, home_page
from billing.gateway.client import StripeUnavailableError, giving_up_on_silence
from billing.models import WatchedRule

logger = logging.getLogger(__name__)

LONGEST = "30s"  # for one statement of a rule
UNCHECKED = "unchecked"  # the key of a rule's firing about itself

WORKERS = Rule("workers", processes.workers)
BACKLOG = Rule("backlog", flow.backlog)
SILENT = Rule("stripe_silent", at_stripe.silent)
HERE = (
    Rule("quiet", flow.quiet),
    Rule("refused", flow.refused),
    Rule("failing", flow.failing),
    BACKLOG,
    Rule("payloads", flow.payloads),
    Rule("findings", books.findings),
    Rule("ledger", books.ledger),
    Rule("reconciliation", books.reconciliation),
    Rule("backup", backups.backup),
    Rule("export", exporting.export),
    WORKERS,
    SILENT,
)
AT_STRIPE = (
    Rule("endpoint", at_stripe.endpoint, at_stripe.EVERY_TEN_MINUTES, asks_outside=True),
    Rule("undelivered", at_stripe.undelivered, at_stripe.EVERY_TEN_MINUTES, asks_outside=True),
)
OUTSIDE = (*AT_STRIPE, Rule("heartbeat_failed", processes.beats, asks_outside=True))
ALL = (*OUTSIDE, *HERE)


@dataclass(slots=True)
class Outcome:
    """What one look at a rule found. `unknown` says why it could not see, '' where it could.

    Of an unknown outcome nothing follows for what has fired before.
    """

    rule: Rule
    firings: list[Firing] = field(default_factory=list)
    unknown: str = ""
    is_silence: bool = False  # Stripe's


def look_at(
    rules: Sequence[Rule], now: datetime, *, all_due: bool = False, remember: bool = True
) -> list[Outcome]:
    """Looks at the rules that are due, or at all of them."""
    rows = {row.rule: row for row in WatchedRule.objects.filter(rule__in=names(rules))}
    outcomes, changed = [], []
    with giving_up_on_silence():
        for rule in rules:
            row = rows.get(rule.name) or WatchedRule(rule=rule.name, next_at=now, memory={})
            if not all_due and rule.every > EVERY_MINUTE and row.next_at > now:
                continue
            look = Look(now, deepcopy(row.memory))
            outcome = look_at_one(rule, look)
            outcomes.append(outcome)
            memory = row.memory if outcome.unknown else look.memory
            if memory != row.memory or rule.every > EVERY_MINUTE:
                row.memory = memory
                row.next_at = now + (EVERY_MINUTE if outcome.unknown else rule.every)
                changed.append(row)
    if remember:
        keep_rows([*changed, *silence(outcomes, now)])
    return outcomes


def look_at_one(rule: Rule, look: Look) -> Outcome:
    """What the rule says; that it could not be checked, where it fails."""
    outcome = Outcome(rule)
    try:
        if rule.asks_outside:
            outcome.firings.extend(rule.find(look))
        else:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT set_config('statement_timeout', %s, true)", [LONGEST])
                outcome.firings.extend(rule.find(look))
    except StripeUnavailableError as error:
        outcome.unknown, outcome.is_silence = str(error), True
    except Exception as error:
        logger.exception("the rule %s failed", rule.name)
        outcome.unknown = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        outcome.firings.append(unchecked(rule, outcome.unknown))
    return outcome


def unchecked(rule: Rule, error: str) -> Firing:
    return Firing(
        f"The rule “{rule.name}” of the alerts fails",
        f"Nobody is told of what it watches for, and what it told of before stands. The worker's"
        f" log has all of it: {error}",
        home_page(),
        Severity.WARNING,
        key=UNCHECKED,
    )


def silence(outcomes: Iterable[Outcome], now: datetime) -> list[WatchedRule]:
    """What is to be remembered of Stripe's silence, or of its answers."""
    asked = [outcome for outcome in outcomes if outcome.rule in AT_STRIPE]
    if not asked:
        return []
    row = WatchedRule.objects.filter(rule=SILENT.name).first()
    silent = next((outcome for outcome in asked if outcome.is_silence), None)
    if silent is None:
        return [WatchedRule(rule=SILENT.name, next_at=now, memory={})] if row and row.memory else []
    memory = dict(row.memory) if row else {}
    at_stripe.note_silence(memory, silent.unknown, now)
    return [WatchedRule(rule=SILENT.name, next_at=now, memory=memory)]


def keep_rows(rows: Sequence[WatchedRule]) -> None:
    if rows:
        WatchedRule.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["rule"],
            update_fields=["next_at", "memory"],
        )


def names(rules: Iterable[Rule]) -> list[str]:
    return [rule.name for rule in rules]

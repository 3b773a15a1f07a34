"""For the tests of the checks: examining a person, and what a finding's fix does about it."""

import io
import json
import re
from html import escape
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse

from billing.admin.cells import page_url
from billing.admin.findings import fix_url, page_of
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Person
from billing.diagnosis.findings import Finding, Report
from billing.models import BillingCustomer, FindingRecord
from billing.operations.base import Actor, Operation, Result
from billing.operations.registry import named
from tests.admin.conftest import log_in_as
from tests.operations.shop import Shop
from tests.support.events import deliver_and_drain, events_of

# What a customer is never told: ids of Stripe's and of ours.
IDS = re.compile(r"\b(acct|ch|cs|cus|dp|evt|in|pi|price|re|sub|u)_\w|\boperation:|\bcli:")


def person_of(customer_id: str) -> Person:
    """The person whom a Stripe customer stands for; the customer alone, if there is no row."""
    row = BillingCustomer.objects.filter(stripe_customer_id=customer_id).first()
    return Person.of_customer(row) if row else Person(None, (customer_id,))


def report_on(who: str, *, ask_stripe: bool = True) -> Report:
    """The report on a customer (`cus_`) or on a user of ours."""
    person = person_of(who) if who.startswith("cus_") else Person.of_user(who)
    return examine(person, ask_stripe=ask_stripe)[1]


def kinds(who: str, *, ask_stripe: bool = True) -> list[str]:
    """The kinds of everything that is found about somebody, the gravest first."""
    return [finding.kind for finding in report_on(who, ask_stripe=ask_stripe).findings]


def found(who: str, kind: str, *, ask_stripe: bool = True) -> Finding:
    """The one finding of a kind, named to everybody. Fails where there is none, or several."""
    report = report_on(who, ask_stripe=ask_stripe)
    assert not report.silence, report.silence
    matching = [finding for finding in report.findings if finding.kind == kind]
    assert len(matching) == 1, [f"{f.kind}: {f.verdict}" for f in report.findings]
    assert not IDS.search(matching[0].for_customer), matching[0].for_customer
    is_named(who, matching[0], ask_stripe=ask_stripe)
    return matching[0]


def is_named(who: str, finding: Finding, *, ask_stripe: bool = True) -> None:
    """Fails unless `diagnose` and the customer's page name a finding, with its fix."""
    said = finding.as_dict()
    same = {name: said[name] for name in ("kind", "severity", "subject", "verdict", "fix")}
    diagnosed = diagnose(who, *([] if ask_stripe else ["--no-stripe"]))
    assert same in [{name: each[name] for name in same} for each in diagnosed]
    row = BillingCustomer.objects.filter(stripe_customer_id=who).first()
    if row := row or BillingCustomer.objects.filter(user_id=who).first():
        page = page_of_customer(row, ask_stripe=ask_stripe)
        assert f'data-finding="{finding.kind}"' in page
        assert escape(finding.verdict) in page
        if finding.fix:
            assert escape(fix_url(page_of(finding.fix), finding.fix, page_url(row))) in page


def diagnose(*arguments: str) -> list[dict[str, Any]]:
    """The findings that the command prints, and that its exit code announces."""
    out, code = io.StringIO(), 0
    try:
        call_command("diagnose", *arguments, "--json", stdout=out)
    except CommandError as error:
        code = error.returncode
    findings: list[dict[str, Any]] = json.loads(out.getvalue())["findings"]
    assert code == (1 if findings else 0)
    return findings


def page_of_customer(row: BillingCustomer, *, ask_stripe: bool) -> str:
    """What the customer's page says at once, or once Stripe was asked."""
    asked = reverse("admin:billing_diagnosis", args=[row.pk])
    return log_in_as("superuser").get(asked if ask_stripe else page_url(row)).content.decode()


def fix(finding: Finding) -> Result:
    """Runs the operation that a finding recommends, exactly as its page fills it in."""
    assert finding.fix is not None, f"{finding.kind} has no fix: {finding.verdict}"
    filled_in = log_in_as("superuser").get(fix_url(page_of(finding.fix), finding.fix, ""))
    assert 'name="_apply"' in filled_in.content.decode(), "it opens with the plan"
    return operation_of(finding).apply()


def operation_of(finding: Finding) -> Operation:
    assert finding.fix is not None
    return named(finding.fix.operation)(
        **finding.fix.params, actor=Actor.cli("sue"), reason="The back office recommends it"
    )


def kept(finding: Finding, **more: Any) -> FindingRecord:
    """The finding as a run keeps it, about u_ada unless told otherwise."""
    said = finding.as_dict()
    fields = {
        **{name: said[name] for name in ("kind", "subject", "verdict", "evidence", "fix")},
        "severity": finding.severity.value,
        "rank": finding.severity.rank,
        "amount": finding.amount,
        "currency": finding.currency,
        "credits": finding.credits,
        "user_id": "u_ada",
        **more,
    }
    return FindingRecord.objects.create(**fields)


def said(finding: Finding) -> str:
    """The evidence in one text."""
    return "; ".join(f"{each.label}: {each.value} {each.id}" for each in finding.evidence)


def subscribed(shop: Shop, **params: Any) -> str:
    """A subscription of u_ada that is here as Stripe has it."""
    sub = str(shop.subscribe(**params)["subscription"])
    shop.deliver()
    return sub


def deliver_all_but(shop: Shop, *types: str) -> None:
    """Brings what Stripe has sent, but for these types: those deliveries are lost."""
    lost = {*types}
    deliver_and_drain(event for event in events_of(shop.sandbox) if event["type"] not in lost)

"""`manage.py diagnose`."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

from django.core.management.base import CommandParser

from billing.diagnosis import checks
from billing.diagnosis.examination import examine
from billing.diagnosis.facts import Facts, Person
from billing.diagnosis.findings import Finding, Report
from billing.diagnosis.kinds import Kind
from billing.diagnosis.search import Found, Hit, Looked, look_up, search
from billing.formatting import format_time, iso_time
from billing.management.command import USAGE, Answer, OperatorCommand
from billing.management.command_lines import command_line
from billing.models import BillingCustomer, InboxEvent, Purchase
from billing.operations.base import InvalidInputError


class Command(OperatorCommand):
    help = (
        "Say what is wrong with a customer and what mends it, from whatever they gave: an email, a"
        " name, our id of the user, any id of Stripe's, an invoice's number, a lead's id, or a"
        " card's last four digits with an amount or a date. Changes nothing. Ends with 0 if"
        " nothing is wrong, 1 if something is, 2 if nothing matches or several people do, or if"
        " nothing was found and Stripe did not answer."
    )
    example = "diagnose ada@example.com --json"
    unfinished = USAGE
    failed = MappingProxyType({"customer": None, "findings": ()})

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("anything", nargs="+", metavar="ANYTHING", help="What there is.")
        parser.add_argument(
            "--no-stripe", action="store_true", help="Read our own rows only: Stripe is not asked."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        term, ask = " ".join(options["anything"]), not options["no_stripe"]
        found = search(term)
        if len(found.hits) > 1 or (not found.hits and len(found.things) > 1):
            raise InvalidInputError(several(found))
        if found.hits:
            return examined(found.hits[0].person, ask=ask)
        if found.things:
            return of_nobody(found, ask=ask)
        if found.kind and ask:
            return at_stripe(look_up(found.term))
        raise InvalidInputError(nothing(found))


def several(found: Found) -> str:
    """That more than one matches, and by what each can be named."""
    names = [
        f"  {hit.title}: {hit.matched}; {', '.join(_names(hit)) or 'no id'}" for hit in found.hits
    ]
    names += [f"  {thing.words}" for thing in found.things]
    shown = "\n".join(names)
    return f"Several match. Be more precise, by an id for example.\n{shown}"


def _names(hit: Hit) -> list[str]:
    person = hit.person
    return [*([f"user {person.user_id}"] if person.user_id else []), *person.customer_ids]


def nothing(found: Found) -> str:
    """That nothing matches, and what to try."""
    if found.advice:
        return found.advice
    asked = " Without --no-stripe, Stripe is asked for it." if found.kind else ""
    return (
        f"Nothing matches “{found.term}”.{asked} Try the email, our id of the user, any id of"
        " Stripe's, an invoice's number, or a card's last four digits with the amount."
    )


def examined(person: Person, *, ask: bool, about: tuple[str, ...] = ()) -> Answer:
    """What is wrong with a person, or with payments and events of nobody we know (`about`)."""
    facts, report = examine(person, ask_stripe=ask, about=about)
    said = [line for finding in report.findings for line in ["", *as_lines(finding)]]
    how = f"Stripe was asked at {format_time(report.asked_at)}." if report.asked_at else ""
    document = {
        "customer": whom(facts),
        "findings": [finding.as_dict() for finding in report.findings],
        "asked_at": iso_time(report.asked_at) if report.asked_at else None,
        "silence": report.silence or None,
        "api_calls": report.api_calls,
    }
    lines = [who(facts), *([how] if how else []), *said]
    if not report.findings and not report.silence:
        lines.append(f"Nothing is wrong: {len(checks.ALL)} checks were made.")
    is_unfinished = bool(report.silence) and not report.findings
    return Answer(document, lines, attention(report), is_unfinished)


def attention(report: Report) -> str:
    """What a person has to know or do yet; '' for nothing."""
    count = len(report.findings)
    found = [] if not count else ["1 finding." if count == 1 else f"{count} findings."]
    silent = f"Stripe did not answer: {report.silence} This is what our own rows tell."
    return " ".join(found + ([silent] if report.silence else []))


def of_nobody(found: Found, *, ask: bool) -> Answer:
    """What was found and belongs to nobody we know: a guest's payment, an event, a price."""
    [thing] = found.things
    row = thing.row
    about: tuple[str, ...] = ()
    if isinstance(row, Purchase):
        about = (row.source,)
    elif isinstance(row, InboxEvent) and row.object_id:
        about = (row.object_id,)
    answer = examined(Person(None, ()), ask=ask, about=about)
    answer.lines[0] = f"Nobody we know: {thing.words}"
    return answer


def at_stripe(looked: Looked) -> Answer:
    """What is not here: whose it is at Stripe, or else what brings it in."""
    if looked.is_unknown:
        raise InvalidInputError(looked.error)
    if looked.customer_id:
        row = BillingCustomer.objects.filter(stripe_customer_id=looked.customer_id).first()
        person = Person.of_customer(row) if row else Person(None, (looked.customer_id,))
        return examined(person, ask=True)
    if looked.user_id:
        return examined(Person.of_user(looked.user_id), ask=True)
    document: dict[str, Any] = {
        "customer": None,
        "findings": [],
        "at_stripe": looked.as_dict(),
        "silence": looked.error or None,
    }
    if looked.error:
        said = f"It is not here, and Stripe did not answer: {looked.error}"
        return Answer(document, [], said, is_unfinished=True)
    what = f"Stripe has {looked.id} ({looked.status or 'no status'}), which is not here."
    lines = [what, looked.advice or ""]
    if looked.bring_in:
        lines.append(f"  {command_line(looked.bring_in)}")
    return Answer(document, [line for line in lines if line], "It is not here yet.")


def whom(facts: Facts) -> dict[str, Any] | None:
    """The person, for programs; None for nobody."""
    ids, newest = facts.person.customer_ids, _newest(facts)
    if not ids and facts.user_id is None:
        return None
    return {
        "email": newest.get("email"),
        "name": newest.get("name"),
        "user_id": facts.user_id,
        "stripe_customer_ids": list(ids),
        "livemode": newest.get("livemode"),
        "created": newest.get("created"),
    }


def _newest(facts: Facts) -> dict[str, Any]:
    """The newest of the person's customers here, else what Stripe has of one that is not here."""
    if facts.customers:
        row = max(facts.customers, key=lambda each: (each.created_at, each.pk))
        return {
            "email": row.email or None,
            "name": row.name or None,
            "livemode": row.livemode,
            "created": iso_time(row.created_at),
        }
    known = facts.stripe.of("customer") if facts.stripe else {}
    data = next(iter(known.values()), {})
    return {name: data.get(name) for name in ("email", "name", "livemode")}


def who(facts: Facts) -> str:
    """The person in one line."""
    person = whom(facts)
    if person is None:
        return "Nobody we know"
    named = [person["name"], person["email"]]
    user = f"user {person['user_id']}" if person["user_id"] else "of no user we know"
    mode = "" if person["livemode"] is None else "live mode" if person["livemode"] else "test mode"
    return ", ".join(part for part in [*named, user, *person["stripe_customer_ids"], mode] if part)


def as_lines(finding: Finding) -> Iterator[str]:
    """A finding for people, with the command that mends it."""
    yield f"{finding.severity.value}  {Kind(finding.kind).label}  ({finding.kind})"
    yield f"  {finding.subject}: {finding.verdict}"
    for item in finding.evidence:
        id_ = f" ({item.id})" if item.id else ""
        at = f", {format_time(item.time)}" if item.time else ""
        yield f"  - {item.label}: {item.value}{id_}{at}"
    if finding.fix:
        yield f"  fix: {command_line(finding.fix)}"

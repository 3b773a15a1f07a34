"""Erasing what is stored about one person, because they asked for it."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import transaction
from procrastinate.contrib.django import app

from billing.models import (
    BillingEvent,
    BillingSubscription,
    ErasedObject,
    ExportProgress,
    OperationRecord,
    acting_as,
)
from billing.operations import erasing
from billing.operations.base import (
    CannotUndoError,
    Change,
    Operation,
    OperationError,
    Plan,
    Result,
    plain,
)
from billing.operations.erasing import Erased, Person
from billing.operations.ownership import rehearsed
from billing.permissions import ERASE

AUDIT_TYPE = "manual.customer_erased"
AGAIN_TYPE = "system.customer_erased"
TASK = "billing.erase_again"
AGAIN_AFTER = 120  # seconds: what was being written meanwhile is there by then
APPROVAL = "What is erased cannot be brought back: another person has to approve it."
ERASED_KINDS = (
    "Emails, names, phone numbers and addresses",
    "Card details (brand, country and amounts stay)",
    "Notes about them, and their words in reasons, findings and reports",
    "What Stripe's events and objects say of them, here and in what comes later",
)
STAYS = (
    "It stays, for the books: ids, amounts, currencies, countries, dates and statuses of their"
    " subscriptions, invoices, payments, purchases, credits and claims, and who did what when."
)
AT_STRIPE = (
    "At Stripe nothing changes: delete the customer there, and ask for redaction (Stripe's"
    " dashboard, Settings, Compliance, Data redaction), or Stripe and its receipts go on knowing"
    " them."
)
NAMES_THEM = (
    "The reason names them, and it stays in the audit log: give it without, such as “They asked for"
    " it”, and the number of the ticket."
)
ADOPTED = (
    "In a database that was adopted nobody can be erased yet: what arrives later would not be"
    " redacted in the application's own tables. Erase the person in the application first, and ask"
    " an engineer."
)
WORDS_LEFT = (
    "What colleagues wrote in words that stand nowhere else (“her husband called”) cannot be found:"
    " look through the reasons on the customer's page first. What finance signed stays as it is."
)


class EraseCustomer(Operation):
    """Replaces what is personal in all tables, keeps the books, and goes on doing so."""

    name = "erase_customer"
    title = "Erase customer"
    permission = ERASE
    audit_type = AUDIT_TYPE
    target = "whom"

    def __init__(self, *, whom: str, **common: Any) -> None:
        super().__init__(**common)
        self.whom = whom.strip()

    @property
    def subject(self) -> str:
        return self.whom

    def parameters(self) -> dict[str, Any]:
        return {"whom": self.whom}

    def plan(self) -> Plan:
        person = erasing.find(self.whom)
        plan = Plan(f"Erase what is stored about {in_words(person)}. It cannot be undone.")
        counted = rehearsed(lambda: erasing.erase(person, self.key), actor=self.actor.name)
        plan.blocked = behind(counted)
        if settings.DATABASE_SCHEMA:
            plan.blocked = ADOPTED
        if erasing.scrubbed(self.reason + self.ticket, person) != self.reason + self.ticket:
            plan.blocked = NAMES_THEM
        plan.changes = [Change(kind, "stored", "erased") for kind in ERASED_KINDS]
        plan.warnings = [
            f"Rows that change now: {listed(counted)}." if counted.rows else "Nothing is left.",
            STAYS,
            *still_paying(person),
            AT_STRIPE,
            copies(),
            WORDS_LEFT,
            *self.under_way(),
        ]
        plan.approval = APPROVAL
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            person = erasing.find(self.whom)
            done = erasing.erase(person, self.key)
            if refusal := behind(done):
                raise OperationError(refusal)
            app.configure_task(TASK, schedule_in={"seconds": AGAIN_AFTER}).defer(
                customers=[*person.customers]
            )
            commit.result = result = Result(
                f"What was stored about {in_words(person)} is erased: {listed(done) or 'nothing'}.",
                [Change(kind, "stored", "erased") for kind in ERASED_KINDS],
                warnings=[AT_STRIPE, copies()],
                details={
                    "customers": person.customers,
                    "customer": person.customers[0],
                    "user_id": person.user_id or "",
                    "rows": done.rows,
                    "redacted": done.links,
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("What was erased is nowhere any more: nothing can be taken back.")


def erase_again(customers: Sequence[str] | None = None) -> dict[str, int]:
    """Erases what came back of people who were erased; how many rows of each table it was.

    After a restore the backup's rows are as they were, and what a transaction was writing while
    they were erased may have escaped. All of them, where no `customers` are named.
    """
    if customers is None:
        known = ErasedObject.objects.filter(object_id__startswith="cus_").order_by("object_id")
        customers = list(known.values_list("object_id", flat=True))
    total: dict[str, int] = {}
    seen = set[str]()
    for customer in customers:
        if customer in seen or not erasing.is_here(customer):
            continue
        with transaction.atomic(), acting_as("system"):
            person = erasing.find(customer)
            seen |= set(person.customers)
            done = erasing.erase(person, "")
            if done.rows:
                said = {
                    "customer": customer,
                    "customers": person.customers,
                    "rows": done.rows,
                    "redacted": done.links,
                    "summary": f"What had come back of {customer} is erased: {listed(done)}.",
                }
                BillingEvent.objects.create(type=AGAIN_TYPE, payload=plain(said))
        for table, count in done.rows.items():
            total[table] = total.get(table, 0) + count
    return total


def in_words(person: Person) -> str:
    known = f"user {person.user_id}" if person.user_id else "an unknown user"
    return f"{', '.join(person.customers)} ({known})"


def listed(done: Erased) -> str:
    return ", ".join(f"{count:,} in {table}" for table, count in sorted(done.rows.items()))


def still_paying(person: Person) -> list[str]:
    going_on = BillingSubscription.objects.filter(
        stripe_customer_id__in=person.customers, ended_at=None
    )
    ids = ", ".join(going_on.values_list("stripe_subscription_id", flat=True)[:5])
    return [f"They have not ended, and go on to be invoiced: {ids}. Cancel first."] if ids else []


def copies() -> str:
    """Where copies are that no operation reaches, and until when."""
    said = (
        f"Backups hold it for {settings.BACKUP_KEEP_DAYS} days more; after a restore it is erased"
    )
    said += " again."
    if settings.EXPORT_URL:
        said += (
            f" What was exported before stays in {settings.EXPORT_URL}, whose segments are never"
            " written over: give it a retention of its own."
        )
    return said


def behind(done: Erased) -> str:
    """Why it has to wait, '' where it need not.

    An event of the audit log that were redacted before it is exported could not be put back after
    a loss under the hash that it has.
    """
    progress = ExportProgress.objects.filter(stream="audit").first()
    newest = max((link["position"] for link in done.links), default=0)
    if progress is None or not settings.EXPORT_URL or newest <= progress.last_id:
        return ""
    return (
        "The newest events of the audit log name them, and are not exported yet: run"
        " manage.py export_books, or wait a minute, then try again."
    )

"""Notes on customers: written down, shown on their page, withdrawn but never erased."""

from typing import Any

from django.db.models.functions import Now

from billing.models import BillingCustomer, Note, OperationRecord
from billing.operations import inputs
from billing.operations.base import Change, Operation, OperationError, Plan, Result
from billing.operations.credits import unknown
from billing.permissions import ADD_NOTE, WITHDRAW_NOTE

MAX_TEXT = 5_000  # characters


class AddNote(Operation):
    """Writes a note about a Stripe customer (cus_...) or, by our own id, a user.

    One about a customer whose user is known is about that user, too.
    """

    name = "add_note"
    title = "Add note"
    permission = ADD_NOTE
    audit_type = "manual.note_added"
    target = "about"

    def __init__(self, *, about: str, text: str, **common: Any) -> None:
        super().__init__(**common)
        self.is_customer = about.strip().startswith("cus_")
        self.about = inputs.stripe_id(about, "cus_") if self.is_customer else inputs.user_id(about)
        self.text = inputs.words(text.replace("\r\n", "\n"), "The note", most=MAX_TEXT)

    @property
    def subject(self) -> str:
        return self.about

    def parameters(self) -> dict[str, Any]:
        return {"about": self.about, "text": self.text}

    def plan(self) -> Plan:
        plan = Plan(f"Add a note on {self.about}.", [Change("Note", "", self.text)])
        if not self.is_customer:
            plan.warnings = unknown(self.about)
        elif self._customer() is None:
            plan.blocked = f"No customer {self.about} is here: sync it from Stripe first."
        return plan

    def run(self, record: OperationRecord) -> Result:
        customer = self._customer()
        user_id = (customer.user_id if customer else None) if self.is_customer else self.about
        with self.committing(record) as commit:
            note = Note.objects.create(
                stripe_customer_id=self.about if self.is_customer else "",
                user_id=user_id,
                text=self.text,
                actor=self.actor.name,
                operation_key=self.key,
            )
            commit.result = result = Result(
                f"Note {note.pk} was added on {self.about}.",
                [Change("Note", "", self.text)],
                details={
                    "note": note.pk,
                    "customer": note.stripe_customer_id,
                    "user_id": note.user_id,
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        note = Note.objects.get(operation_key=record.key)
        return WithdrawNote(note_id=note.pk, undoes=record, **common)

    def _customer(self) -> BillingCustomer | None:
        return BillingCustomer.objects.filter(stripe_customer_id=self.about).first()


class WithdrawNote(Operation):
    """Marks a note as withdrawn. It stays to be read, struck through."""

    name = "withdraw_note"
    title = "Withdraw note"
    permission = WITHDRAW_NOTE
    audit_type = "manual.note_withdrawn"
    target = "note_id"

    def __init__(self, *, note_id: int | str, **common: Any) -> None:
        super().__init__(**common)
        self.note_id = inputs.whole_number(note_id, "A note's number", least=1, most=2**63 - 1)

    @property
    def subject(self) -> str:
        """Whom the note is about, so that it is found on their page."""
        note = Note.objects.filter(pk=self.note_id).first()
        about = (note.stripe_customer_id or note.user_id) if note else None
        return about or f"note {self.note_id}"

    @property
    def turn(self) -> str:
        return f"note {self.note_id}"

    def parameters(self) -> dict[str, Any]:
        return {"note_id": self.note_id}

    def plan(self) -> Plan:
        plan = Plan(f"Withdraw note {self.note_id} on {self.subject}.")
        note = Note.objects.filter(pk=self.note_id).first()
        if note is None:
            plan.blocked = f"There is no note {self.note_id}."
        elif note.withdrawn_at:
            plan.blocked = f"{note.withdrawn_by} has withdrawn note {self.note_id} already."
        else:
            plan.changes = [Change("Note", note.text, "withdrawn")]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            note = Note.objects.select_for_update().get(pk=self.note_id)
            if note.withdrawn_at:
                raise OperationError(f"{note.withdrawn_by} has withdrawn it meanwhile.")
            Note.objects.filter(pk=note.pk).update(withdrawn_at=Now(), withdrawn_by=self.actor.name)
            commit.result = result = Result(
                f"Note {note.pk} on {self.subject} was withdrawn.",
                [Change("Note", note.text, "withdrawn")],
                details={
                    "note": note.pk,
                    "customer": note.stripe_customer_id,
                    "user_id": note.user_id,
                },
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        """The same text as a new note."""
        note = Note.objects.get(pk=record.parameters["note_id"])
        return AddNote(about=record.subject, text=note.text, undoes=record, **common)

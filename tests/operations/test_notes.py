"""Notes on customers: written, seen by everybody, withdrawn, and never erased."""

from typing import Any

import pytest

from billing.models import Note
from billing.operations import registry
from billing.operations.base import CannotUndoError, InvalidInputError, OperationError, new_key
from billing.operations.notes import MAX_TEXT, AddNote, WithdrawNote
from tests.admin import rows
from tests.admin.rows import CUSTOMER, HOSTILE, USER
from tests.operations.shop import BOB, at_once, audits, record_of
from tests.support.databases import Database

TEXT = "Pays by wire until May.\nAsk Carol."


def add(about: str = CUSTOMER, text: str = TEXT, **more: Any) -> AddNote:
    return AddNote(about=about, text=text, **{**BOB, **more})


def withdraw(note_id: int | str, **more: Any) -> WithdrawNote:
    return WithdrawNote(note_id=note_id, **{**BOB, **more})


@pytest.mark.django_db
def test_a_note_is_on_the_customer_and_on_their_user() -> None:
    rows.customer()
    operation = add(text=f"  {TEXT}\r\n", ticket="T-1")
    plan = operation.plan()
    assert [(c.label, c.after) for c in plan.changes] == [("Note", TEXT)]
    assert not Note.objects.exists()
    result = operation.apply()
    note = Note.objects.get()
    assert (note.stripe_customer_id, note.user_id, note.text) == (CUSTOMER, USER, TEXT)
    assert (note.actor, note.withdrawn_at) == ("cli:bob", None)
    assert result.details["note"] == note.pk
    [payload] = audits("manual.note_added")
    assert (payload["customer"], payload["user_id"]) == (CUSTOMER, USER)
    assert (payload["admin"], payload["ticket"]) == ("cli:bob", "T-1")
    assert payload["changes"][0]["after"] == TEXT
    assert operation.apply().already_done
    assert Note.objects.count() == 1


@pytest.mark.django_db
def test_a_user_without_any_customer_can_have_one() -> None:
    assert "Nothing here knows a user u_new" in add("u_new").plan().warnings[0]
    add("u_new").apply()
    note = Note.objects.get()
    assert (note.stripe_customer_id, note.user_id) == ("", "u_new")


@pytest.mark.django_db
def test_a_customer_must_be_here() -> None:
    operation = add("cus_nobody")
    assert "sync it from Stripe first" in operation.plan().blocked
    with pytest.raises(OperationError, match="No customer cus_nobody"):
        operation.apply()
    assert not Note.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("about", "text", "said"),
    [
        (CUSTOMER, "", "is empty"),
        (CUSTOMER, " \n ", "is empty"),
        (CUSTOMER, "x" * (MAX_TEXT + 1), "at most 5,000 characters"),
        (CUSTOMER, "a\x00b", "NUL"),
        ("", TEXT, "Give a user id"),
        ("cus_/../x", TEXT, "not an id"),
        ("x" * 300, TEXT, "at most 255"),
    ],
)
def test_wrong_notes_are_refused(about: str, text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        add(about, text)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["x" * MAX_TEXT, HOSTILE, "Grüße 🎉 مرحبا"])
def test_what_was_written_is_kept_as_it_is(text: str) -> None:
    rows.customer()
    add(text=text).apply()
    assert Note.objects.get().text == text


@pytest.mark.django_db
def test_a_withdrawn_note_stays() -> None:
    rows.customer()
    add().apply()
    note = Note.objects.get()
    operation = withdraw(note.pk)
    assert operation.subject == CUSTOMER
    assert [(c.before, c.after) for c in operation.plan().changes] == [(TEXT, "withdrawn")]
    operation.apply()
    note.refresh_from_db()
    assert note.withdrawn_by == "cli:bob"
    assert note.withdrawn_at is not None
    assert note.text == TEXT
    [payload] = audits("manual.note_withdrawn")
    assert (payload["note"], payload["customer"]) == (note.pk, CUSTOMER)
    assert operation.apply().already_done
    assert "cli:bob has withdrawn note" in withdraw(note.pk).plan().blocked
    assert "There is no note 999" in withdraw(999).plan().blocked
    with pytest.raises(OperationError, match="There is no note 999"):
        withdraw(999).apply()


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["", "x", "-1", "0", str(2**63)])
def test_wrong_numbers_are_refused(number: str) -> None:
    with pytest.raises(InvalidInputError, match="note's number"):
        withdraw(number)


@pytest.mark.django_db
def test_undoing_withdraws_and_writes_again() -> None:
    rows.customer()
    first = add()
    first.apply()
    undo = registry.undo(record_of(first.key), actor=BOB["actor"], reason="Wrong customer")
    undo.apply()
    assert Note.objects.get().withdrawn_at is not None
    assert audits("manual.note_withdrawn")[0]["undoes"] == first.key
    again = registry.undo(record_of(undo.key), actor=BOB["actor"], reason="It was right")
    again.apply()
    assert [note.text for note in Note.objects.filter(withdrawn_at=None)] == [TEXT]
    with pytest.raises(CannotUndoError, match="taken it back already"):
        registry.undo(record_of(first.key), actor=BOB["actor"], reason="Again")


@pytest.mark.django_db
def test_requests_are_built_again() -> None:
    rows.customer()
    operation = add()
    operation.apply()
    assert registry.rebuild(record_of(operation.key)).parameters() == operation.parameters()
    gone = withdraw(Note.objects.get().pk)
    gone.apply()
    assert registry.rebuild(record_of(gone.key)).parameters() == gone.parameters()


def test_two_at_once_write_and_withdraw_once(real_database: Database) -> None:
    rows.customer()
    key = new_key()
    outcomes = at_once(add(key=key).apply, add(key=key).apply)
    assert sorted(outcome.already_done for outcome in outcomes) == [False, True]
    note = Note.objects.get()
    outcomes = at_once(withdraw(note.pk).apply, withdraw(note.pk).apply)
    assert [isinstance(outcome, OperationError) for outcome in outcomes].count(True) == 1
    assert len(audits("manual.note_withdrawn")) == 1

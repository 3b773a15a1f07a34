"""Each kind of damage, done for real: found by its check, which names rows and users."""

from typing import Any

import pytest
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import F

from billing.models import (
    BillingEvent,
    BillingSubscription,
    CreditEntry,
    LeadCredits,
    PaymentReversal,
    Purchase,
)
from billing.operations.base import Actor
from billing.operations.tying import TieOutBalance
from billing.recovery.assessment.assessing import CHECKS, Assessed, assess
from billing.recovery.assessment.chain import compared
from billing.recovery.assessment.outcomes import Look, Outcome, Verdict
from tests.admin.rows import alert, incident
from tests.support.databases import Database

pytestmark = pytest.mark.usefixtures("database")


def past_all(*statements: str, **params: Any) -> None:
    """SQL as somebody runs it who has turned off triggers and foreign keys for it."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement, params)
        cursor.execute("RESET session_replication_role")


def sql(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def asked(name: str, **how: Any) -> Outcome:
    """What one check finds."""
    [check] = [check for check in CHECKS if check.name == name]
    return check.find(Look(**how))


def is_damaged(name: str, *said: str, **how: Any) -> Outcome:
    outcome = asked(name, **how)
    assert outcome.verdict == Verdict.DAMAGED, outcome
    assert outcome.advice
    for words in said:
        assert words in outcome.detail, outcome.detail
    return outcome


def a_pack() -> Purchase:
    found = Purchase.objects.filter(kind="pack", status="granted", credits__gt=0).first()
    assert found is not None
    return found


def test_what_is_missing_from_the_schema_is_named() -> None:
    sql(
        "ALTER TABLE lead_credits DROP CONSTRAINT lead_credits_not_negative",
        "ALTER TABLE credit_entries DROP CONSTRAINT IF EXISTS credit_entries_source",
        "DROP INDEX IF EXISTS credit_entries_source, billing_inbox_open",
        "ALTER TABLE billing_customers ALTER stripe_customer_id DROP NOT NULL,"
        " ALTER deleted DROP DEFAULT",
        "ALTER TABLE billing_invoices ALTER total TYPE numeric, DROP number",
        "DROP TABLE billing_notes CASCADE",
    )
    is_damaged(
        "tables",
        "the table billing_notes is missing",
        "the column billing_invoices.number is missing",
        "the column billing_invoices.total is numeric instead of bigint",
        "the column billing_customers.stripe_customer_id may be empty",
        "the column billing_customers.deleted has lost its default",
    )
    is_damaged("constraints", "lead_credits_not_negative", "credit_entries_source")
    is_damaged("indexes", "the index billing_inbox_open of billing_inbox is missing")
    assert asked("checks and not null").is_blind


def test_a_key_that_does_not_hold_any_more_is_missed() -> None:
    sql(
        "ALTER TABLE billing_purchases DROP CONSTRAINT billing_purchases_source_key",
        "DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE billing_findings DROP CONSTRAINT %I',"
        " conname) FROM pg_constraint WHERE conrelid = 'billing_findings'::regclass"
        " AND contype = 'f' LIMIT 1); END $$",
        "ALTER TABLE lead_credits DROP CONSTRAINT lead_credits_not_negative,"
        " ADD CONSTRAINT lead_credits_not_negative CHECK (balance >= 0) NOT VALID",
    )
    is_damaged(
        "constraints",
        "billing_purchases.source does not have to be unique any more",
        "the foreign key of billing_findings.",
        "lead_credits: lead_credits_not_negative was never checked",
    )


def test_a_trigger_that_is_off_gone_or_another_is_found() -> None:
    sql(
        "ALTER TABLE credit_entries DISABLE TRIGGER ALL",
        "ALTER TABLE billing_bulk_items DISABLE TRIGGER ALL",
    )
    is_damaged("triggers", "of credit_entries is disabled: pgtrigger_append_only")
    is_damaged("triggers", "of billing_bulk_items is disabled: its foreign keys' own")
    sql("ALTER TABLE credit_entries ENABLE TRIGGER ALL")
    name = "pgtrigger_ledger_update_" + trigger_suffix()
    sql(f"COMMENT ON TRIGGER {name} ON lead_credits IS 'another'")
    is_damaged("triggers", "the trigger ledger_update of lead_credits is not as the code has it")
    sql(f"DROP TRIGGER {name} ON lead_credits")
    is_damaged("triggers", "the trigger ledger_update of lead_credits is missing")


def trigger_suffix() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'pgtrigger_ledger_update_%'"
        )
        return str(cursor.fetchone()[0]).removeprefix("pgtrigger_ledger_update_")


def test_a_migration_that_is_not_applied_or_not_known_is_told() -> None:
    sql("INSERT INTO django_migrations (app, name, applied) VALUES ('billing', '9999_new', now())")
    newer = asked("migrations")
    assert (newer.verdict, "billing.9999_new" in newer.detail) == (Verdict.UNSURE, True)
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("billing")
    MigrationRecorder(connection).record_unapplied("billing", newest)
    is_damaged("migrations", f"billing.{newest} is not applied")


def test_rows_that_refer_to_nothing_are_named_with_their_page() -> None:
    incident(alert=alert())
    past_all("DELETE FROM billing_alerts")
    found = is_damaged(
        "foreign keys", "billing_incidents, alert_id refers to no row of billing_alerts: 1"
    )
    assert found.numbers["wrong"] == 1
    assert found.rows[0]["id"].startswith("billing_incidents ")
    assert found.rows[0]["page"].startswith("/admin/billing/incident/")


def test_what_stands_twice_where_nothing_may_is_found_without_its_index() -> None:
    entry = CreditEntry.objects.exclude(source=None).first()
    assert entry is not None
    sql("DROP INDEX credit_entries_source")
    past_all(
        "INSERT INTO credit_entries (user_id, delta, balance_after, kind, source)"
        " SELECT user_id, delta, balance_after, kind, source FROM credit_entries WHERE id = %(id)s",
        id=entry.pk,
    )
    found = is_damaged("unique", "credit_entries, not unique by source: 2")
    assert found.users == [entry.user_id]
    assert f"/admin/billing/creditentry/{entry.pk}/change/" in [r["page"] for r in found.rows]


def test_rows_against_a_check_or_without_what_they_must_have_are_found() -> None:
    user = LeadCredits.objects.earliest("user_id").user_id
    sql(
        "ALTER TABLE lead_credits DROP CONSTRAINT lead_credits_not_negative,"
        " ALTER balance DROP NOT NULL"
    )
    past_all("UPDATE lead_credits SET balance = -5 WHERE user_id = %(user)s", user=user)
    found = is_damaged("checks and not null", "lead_credits, against lead_credits_not_negative: 1")
    assert found.users == [user]
    past_all("UPDATE lead_credits SET balance = NULL WHERE user_id = %(user)s", user=user)
    is_damaged("checks and not null", "lead_credits, something is empty that must not be: 1")


def test_a_sequence_that_is_behind_is_named_with_what_sets_it_right() -> None:
    highest = CreditEntry.objects.latest("id").pk
    sql("SELECT setval('credit_entries_id_seq', 1)")
    found = is_damaged("sequences", "credit_entries_id_seq")
    assert f"SELECT setval('credit_entries_id_seq', {highest})" in found.advice


def test_many_missing_ids_are_a_hint_and_a_few_are_none() -> None:
    last = CreditEntry.objects.latest("id").pk
    sql(f"SELECT setval('credit_entries_id_seq', {last + 900})")
    assert asked("ledger gaps").verdict == Verdict.OK
    sql(f"SELECT setval('credit_entries_id_seq', {last + 1000})")
    found = asked("ledger gaps")
    assert found.verdict == Verdict.UNSURE
    assert found.rows[0]["id"] == f"{last + 1} to {last + 1000}"


LEDGER = {
    "an entry is deleted": (
        "DELETE FROM credit_entries WHERE id = %(entry)s",
        {"ledger sums", "ledger line"},
    ),
    "an entry is changed": (
        "UPDATE credit_entries SET delta = delta + 1 WHERE id = %(entry)s",
        {"ledger sums", "ledger line"},
    ),
    "a balance is changed": (
        "UPDATE lead_credits SET balance = balance + 1 WHERE user_id = %(user)s",
        {"ledger sums"},
    ),
    "a balance is deleted": (
        "DELETE FROM lead_credits WHERE user_id = %(user)s",
        {"ledger sums"},
    ),
    "an entry says another balance": (
        "UPDATE credit_entries SET balance_after = 99999 WHERE id = %(entry)s",
        {"ledger line"},
    ),
}


@pytest.mark.parametrize("what", LEDGER)
def test_whatever_happens_to_the_ledger_is_seen_and_whose_it_is(what: str) -> None:
    damage, names = LEDGER[what]
    spender = CreditEntry.objects.filter(kind="claim").earliest("id").user_id
    entry = CreditEntry.objects.filter(user_id=spender).earliest("id")
    past_all(damage, entry=entry.pk, user=spender)
    for name in ("ledger sums", "ledger line"):
        if name in names:
            assert is_damaged(name).users == [spender]
        else:
            assert asked(name).verdict == Verdict.OK


def test_what_was_written_past_the_triggers_and_tied_out_is_over() -> None:
    user = CreditEntry.objects.filter(kind="claim").earliest("id").user_id
    past_all("UPDATE lead_credits SET balance = balance + 7 WHERE user_id = %(user)s", user=user)
    LeadCredits.objects.filter(user_id=user).update(balance=F("balance") + 1)
    is_damaged("ledger line")
    TieOutBalance(user_id=user, actor=Actor.cli("bob"), reason="Restored", key="k").apply()
    assert asked("ledger sums").verdict == Verdict.OK
    assert asked("ledger line").verdict == Verdict.OK


def test_purchases_and_their_entries_miss_each_other() -> None:
    pack = a_pack()
    past_all(
        "DELETE FROM credit_entries WHERE source = %(source)s", source=f"checkout:{pack.source}"
    )
    assert is_damaged("purchases granted").users == [pack.user_id]

    bought = Purchase.objects.filter(kind="subscription", status="granted").earliest("id")
    past_all("DELETE FROM billing_purchases WHERE id = %(id)s", id=bought.pk)
    assert is_damaged("grants bought").users == [bought.user_id]


def test_a_payment_that_bought_two_things_and_a_purchase_of_nobody_are_found() -> None:
    one, two = Purchase.objects.filter(kind="pack", status="granted").order_by("id")[:2]
    past_all(
        "UPDATE billing_purchases SET payment_intent_id = %(intent)s WHERE id = %(id)s",
        intent=one.payment_intent_id,
        id=two.pk,
    )
    assert is_damaged("granted twice").users == sorted({str(one.user_id), str(two.user_id)})
    past_all("UPDATE billing_purchases SET user_id = NULL WHERE id = %(id)s", id=one.pk)
    assert is_damaged("purchases of somebody").numbers["wrong"] == 1


def test_refunds_and_their_entries_miss_each_other() -> None:
    entry = CreditEntry.objects.filter(source__startswith="refund:").earliest("id")
    past_all("DELETE FROM credit_entries WHERE id = %(id)s", id=entry.pk)
    assert is_damaged("refunds kept").users == [entry.user_id]

    other = CreditEntry.objects.filter(source__startswith="refund:").earliest("id")
    PaymentReversal.objects.filter(stripe_id=str(other.source).removeprefix("refund:")).delete()
    assert is_damaged("refunds taken back").users == [other.user_id]


def test_claims_and_their_entries_miss_each_other() -> None:
    given_back = CreditEntry.objects.get(source__startswith="claim:")
    number = str(given_back.source).removeprefix("claim:")
    past_all("DELETE FROM lead_claims WHERE id = %(id)s", id=int(number))
    assert is_damaged("claims given back").users == [given_back.user_id]

    debit = CreditEntry.objects.filter(kind="claim", delta=-3).earliest("id")
    past_all("DELETE FROM credit_entries WHERE id = %(id)s", id=debit.pk)
    hint = asked("claims paid for")
    assert (hint.verdict, hint.users) == (Verdict.UNSURE, [debit.user_id])


LOST = {
    "subscriptions of customers": (
        "DELETE FROM billing_customers WHERE stripe_customer_id IN"
        " (SELECT stripe_customer_id FROM billing_subscriptions)"
    ),
    "invoices of customers": (
        "DELETE FROM billing_customers WHERE stripe_customer_id IN"
        " (SELECT stripe_customer_id FROM billing_invoices)"
    ),
    "events logged": (
        "DELETE FROM billing_events WHERE stripe_event_id IN"
        " (SELECT stripe_event_id FROM billing_inbox LIMIT 1)"
    ),
    "subscriptions projected": "DELETE FROM billing_subscriptions WHERE user_id IS NOT NULL",
    "invoices projected": "DELETE FROM billing_invoices WHERE user_id IS NOT NULL",
    "invoices mirrored": "DELETE FROM djstripe_invoice",
    "payments projected": "DELETE FROM billing_payments",
    "payments mirrored": "DELETE FROM djstripe_charge",
    "refunds projected": "DELETE FROM billing_payment_reversals WHERE kind = 'refund'",
    "refunds mirrored": "DELETE FROM djstripe_refund",
    "disputes projected": "DELETE FROM billing_payment_reversals WHERE kind = 'dispute'",
    "disputes mirrored": "DELETE FROM djstripe_dispute",
}
HINTS = {
    "customers projected": "DELETE FROM billing_customers",
    "customers mirrored": "DELETE FROM djstripe_customer",
    "subscriptions mirrored": "DELETE FROM djstripe_subscription",
    "payments of customers": "DELETE FROM billing_customers",
    "purchases of customers": "DELETE FROM billing_customers",
    "invoices of subscriptions": "DELETE FROM billing_subscriptions",
}


def test_what_is_named_by_stripes_id_and_is_not_here_is_found() -> None:
    for statements, verdict in ((LOST, Verdict.DAMAGED), (HINTS, Verdict.UNSURE)):
        for name, statement in statements.items():
            with transaction.atomic():
                past_all(statement)
                found = asked(name)
                transaction.set_rollback(True)
            assert found.verdict == verdict, name
            assert found.rows[0]["page"].startswith("/admin/"), name


def test_the_users_of_lost_subscriptions_are_named() -> None:
    lost = BillingSubscription.objects.exclude(user_id=None).earliest("id")
    past_all("DELETE FROM billing_subscriptions WHERE id = %(id)s", id=lost.pk)
    found = is_damaged("subscriptions projected")
    assert found.users == [lost.user_id]
    assert found.rows[0]["page"].endswith(f"?id={lost.stripe_subscription_id}")


def audit_event() -> BillingEvent:
    """One more event in the audit log, as an operation writes it."""
    return BillingEvent.objects.create(type="manual.note", payload={"user_id": "u_1"})


def test_an_audit_log_that_was_changed_or_cut_off_is_found() -> None:
    for _ in range(3):
        last = audit_event()
    head = asked("audit chain").detail.rpartition(" ")[2].rstrip(".")
    assert len(head) == 64
    assert asked("exported chain", expect=head).verdict == Verdict.OK
    assert (compared(head).verdict, compared("").verdict) == (Verdict.OK, Verdict.OK)
    past_all(
        "DELETE FROM billing_audit_chain WHERE event_id = %(id)s",
        "DELETE FROM billing_events WHERE id = %(id)s",
        id=last.pk,
    )
    assert asked("audit chain").verdict == Verdict.OK
    is_damaged("audit chain", f"The hash {head} is in no link", expect=head)
    assert compared(head).verdict == Verdict.DAMAGED
    past_all("UPDATE billing_events SET actor = 'nobody' WHERE id = %(id)s", id=last.pk - 1)
    is_damaged("audit chain", "is not what was written")


def test_everything_is_said_where_nothing_can_be_kept(database: Database) -> None:
    sql("DROP TABLE billing_assessments CASCADE")
    assessed = assess(actor="cli:test", tell=lambda said: None, quick=True)
    assert isinstance(assessed, Assessed)
    assert assessed.row is None
    assert 'relation "billing_assessments" does not exist' in assessed.unkept
    assert [each.name for each in assessed.damaged] == ["tables"]
    assert len(assessed.outcomes) == len(CHECKS)

"""Every row goes out exactly once and in its order, however late its transaction commits."""

import psycopg
import pytest

from billing.models import AuditLink, BillingEvent, CreditEntry, ExportChange, LeadClaim
from billing.recovery.export import reading
from billing.recovery.export.state import status
from billing.recovery.export.store import Store
from billing.recovery.export.writing import export_books
from tests.recovery.export.conftest import exported
from tests.recovery.export.writers import act_as, claim, give
from tests.support.databases import Database

pytestmark = pytest.mark.usefixtures("place")


def images(table: str) -> list[dict[str, object]]:
    return [row["row"] for row in exported("records") if row["table"] == table]  # type: ignore[misc]


def test_a_claim_goes_out_with_its_entries_and_its_audit_events(
    ours: psycopg.Connection,
) -> None:
    export_books()
    give(ours, "u1")
    claimed = claim(ours, "u1", "lead-1")
    tally = export_books()
    assert tally.rows == {"audit": 3, "ledger": 2, "records": 1}
    assert [(row["id"], row["delta"]) for row in exported("ledger")] == list(
        CreditEntry.objects.order_by("id").values_list("id", "delta")
    )
    assert [row["id"] for row in images("lead_claims")] == [claimed]
    links = AuditLink.objects.order_by("position")
    assert [(row["position"], row["hash"]) for row in exported("audit")] == [
        (link.position, link.hash) for link in links
    ]
    newest = BillingEvent.objects.get(pk=links.last().event_id)  # type: ignore[union-attr]
    assert exported("audit")[-1]["event"]["payload"] == newest.payload  # type: ignore[index]


def test_what_was_there_before_the_export_began_goes_out_too(
    ours: psycopg.Connection,
) -> None:
    give(ours, "u1")
    claim(ours, "u1", "lead-1")
    export_books()
    assert len(images("lead_claims")) == 1
    assert len(exported("ledger")) == 2
    assert not ExportChange.objects.exists()


def test_a_change_goes_out_as_the_row_is_then(ours: psycopg.Connection) -> None:
    give(ours, "u1")
    claimed = claim(ours, "u1", "lead-1")
    export_books()
    ours.execute("UPDATE lead_claims SET status = 'failed' WHERE id = %s", [claimed])
    export_books()
    ours.execute("DELETE FROM lead_claims WHERE id = %s", [claimed])
    export_books()
    found = images("lead_claims")
    assert [row and row["status"] for row in found] == ["succeeded", "failed", None]


@pytest.mark.django_db
def test_nothing_new_makes_no_segment_and_still_says_up_to_when(store: Store) -> None:
    first, second = export_books(), export_books()
    assert not any(second.segments.values())
    assert first.until
    assert second.until
    assert second.until > first.until
    assert reading.exported_until(store) == second.until


def test_an_entry_that_commits_late_goes_out_before_those_after_it(
    application: psycopg.Connection, real_database: Database, store: Store
) -> None:
    export_books()
    act_as(application, "stripe")
    give(application, "slow")  # has its ids, and nobody can see it yet
    with psycopg.connect(real_database.url, autocommit=True) as other:
        give(other, "fast")
        claim(other, "fast", "lead-1")
        until = export_books().until
        assert not exported("ledger"), "an entry before these may still come"
        assert len(exported("audit")) == 3, "the log's own order is safe already"
        application.commit()
    tally = export_books()
    assert [row["user_id"] for row in exported("ledger")] == ["slow", "fast", "fast"]
    assert [row["lead_id"] for row in images("lead_claims")] == ["lead-1"]
    assert until is not None
    assert tally.until is not None
    assert tally.until > until


def test_who_begins_to_write_later_holds_nothing_up(
    application: psycopg.Connection, real_database: Database
) -> None:
    export_books()
    act_as(application, "stripe")
    give(application, "slow")
    with psycopg.connect(real_database.url) as other:
        export_books()  # notes that somebody is writing
        act_as(other, "stripe")
        give(other, "later")
        application.commit()
        export_books()
        assert [row["user_id"] for row in exported("ledger")] == ["slow"]
    export_books()
    assert [row["user_id"] for row in exported("ledger")] == ["slow", "later"]


def test_a_copy_of_what_was_there_waits_for_who_is_writing_then(
    application: psycopg.Connection,
) -> None:
    act_as(application, "olga")
    give(application, "u1")
    claim(application, "u1", "lead-1")
    assert export_books().until is None
    assert status().until is None
    application.commit()
    assert export_books().until
    assert len(images("lead_claims")) == 1


def test_a_long_batch_is_several_segments_in_one_chain(
    ours: psycopg.Connection, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setattr("billing.recovery.export.streams.ROWS", 7)
    for number in range(20):
        give(ours, f"u{number}")
    tally = export_books()
    assert tally.segments["ledger"] == 3
    assert [row["id"] for row in reading.rows("ledger", 9)] == list(
        CreditEntry.objects.filter(id__gt=9).order_by("id").values_list("id", flat=True)
    )
    assert [verdict.wrong for verdict in reading.verify(store)] == ["", "", ""]


def test_stripes_own_writing_is_left_out_and_an_operators_is_not(
    ours: psycopg.Connection,
) -> None:
    export_books()
    insert = "INSERT INTO billing_customers (stripe_customer_id, email) VALUES (%s, '')"
    act_as(ours, "stripe")
    ours.execute(insert, ["cus_1"])
    act_as(ours, "olga")
    ours.execute(insert, ["cus_2"])
    export_books()
    assert [row["stripe_customer_id"] for row in images("billing_customers")] == ["cus_2"]


def test_texts_of_any_kind_come_back_as_they_were(ours: psycopg.Connection) -> None:
    text = 'a\u2028b\x85c\n"d"\t\u00e9\U0001f600'
    give(ours, "u1")
    claim(ours, "u1", text)
    export_books()
    assert images("lead_claims")[0]["lead_id"] == text
    assert LeadClaim.objects.get().lead_id == text

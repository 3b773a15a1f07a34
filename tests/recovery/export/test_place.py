"""The place: a folder or a bucket, down, full, shared by mistake, tampered with."""

import gzip
import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from billing.models import AuditLink, ExportProgress
from billing.recovery.assessment import chain
from billing.recovery.assessment.outcomes import Look, Verdict
from billing.recovery.export import reading, segments
from billing.recovery.export.state import status
from billing.recovery.export.store import Store, StoreError, open_store
from billing.recovery.export.writing import ForkedError, export_books, stop
from tests.alerts.looking import fired
from tests.commands.conftest import Run, run
from tests.recovery.export.bucket import KEY, SECRET, Bucket
from tests.recovery.export.conftest import exported

__all__ = ["run"]  # a fixture

pytestmark = pytest.mark.django_db


def give_and_export(count: int = 1) -> None:
    """So many segments of the audit log and of the ledger, one after the other."""
    for number in range(count):
        give_and_export_one(f"u{number}")


def give_and_export_one(user: str, *, fails: bool = False) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO lead_credits (user_id, balance) VALUES (%s, 5)", [user])
    if fails:
        with pytest.raises(StoreError):
            export_books()
    else:
        export_books()


@pytest.fixture
def filled(place: Path) -> Path:
    """A place with three segments of the audit log."""
    give_and_export(3)
    return place


def wrong(store: Store) -> dict[str, str]:
    return {verdict.stream: verdict.wrong for verdict in reading.verify(store) if verdict.wrong}


# --- A folder -------------------------------------------------------------------------------


def test_a_removed_segment_is_noticed_in_the_middle_and_at_the_end(
    filled: Path, store: Store
) -> None:
    assert wrong(store) == {}
    middle, last = (filled / segments.path_of("audit", number) for number in (2, 3))
    kept = middle.read_bytes()
    middle.unlink()
    assert wrong(store) == {"audit": "Segment 2 is gone."}
    middle.write_bytes(kept)
    last.unlink()
    assert wrong(store) == {"audit": "Segment 3 is gone."}


def test_a_changed_segment_is_noticed_whatever_was_changed(filled: Path, store: Store) -> None:
    file = filled / segments.path_of("ledger", 2)
    kept = file.read_bytes()
    lines = gzip.decompress(kept).replace(b'"delta": 5', b'"delta": 6')
    file.write_bytes(gzip.compress(lines))
    assert "Segment 3 does not follow" in wrong(store)["ledger"]
    file.write_bytes(kept[:-4])
    assert "is no segment as we wrote it" in wrong(store)["ledger"]
    file.write_bytes((filled / segments.path_of("ledger", 1)).read_bytes())
    assert "another segment than its name says" in wrong(store)["ledger"]
    file.write_bytes(kept)
    newest = filled / segments.path_of("ledger", 3)
    lines = gzip.decompress(newest.read_bytes()).replace(b'"delta": 5', b'"delta": 6')
    newest.write_bytes(gzip.compress(lines))
    assert "Segment 3 is not the one that was written" in wrong(store)["ledger"]


def test_the_command_says_what_is_wrong_and_how_far_it_is(filled: Path, run: Run) -> None:
    whole = run("export_books", "--verify")
    assert (whole.code, whole.stdout.splitlines()[0]) == (
        0,
        "audit: as it was written (3 segments, 3 rows)",
    )
    said = run("export_books", "--status", "--json").document
    assert said["place"] == f"file://{filled}"
    assert {each["name"]: each["segments"] for each in said["streams"]} == {
        "audit": 3,
        "ledger": 3,
        "records": 1,  # the reasons that people choose from
    }
    (filled / segments.path_of("audit", 1)).unlink()
    broken = run("export_books", "--verify")
    assert (broken.code, broken.error) == (1, "audit: Segment 1 is gone.")


def test_an_assessment_compares_the_log_with_the_newest_exported_link(filled: Path) -> None:
    head = AuditLink.objects.latest("position").hash
    found = chain.exported(Look())
    assert (found.verdict, head in found.detail) == (Verdict.OK, True)
    give_and_export_one("u9")
    with connection.cursor() as cursor:  # as in a database that was restored from before
        cursor.execute("ALTER TABLE billing_audit_chain DISABLE TRIGGER USER")
        cursor.execute("DELETE FROM billing_audit_chain WHERE position > 3")
        cursor.execute("ALTER TABLE billing_audit_chain ENABLE TRIGGER USER")
    lost = chain.exported(Look())
    assert lost.verdict == Verdict.DAMAGED
    assert "recover_restore" in lost.advice


def test_without_an_address_it_says_what_to_do(run: Run) -> None:
    ran = run("export_books")
    assert ran.code == 2
    assert ran.error.startswith("EXPORT_URL is not set")


def test_what_a_place_does_not_take_is_kept_and_told(filled: Path) -> None:
    """A disk that is full, or not mounted any more: here a file stands in the folder's place."""
    away = filled.rename(filled.with_name("away"))
    filled.write_text("no folder")
    with pytest.raises(StoreError, match="cannot be"):
        give_and_export_one("u9")
    firing = fired("export")[""]
    assert firing.title == "The export of the books fails"
    assert firing.page == "/admin/billing/backup/"
    filled.unlink()
    away.rename(filled)
    tally = export_books()
    assert (tally.rows["audit"], tally.rows["ledger"]) == (1, 1)
    assert fired("export") == {}


def test_a_segment_that_cannot_be_written_is_the_same_one_later(filled: Path, store: Store) -> None:
    (filled / "audit").rename(filled / "audit-away")
    (filled / "audit").write_text("in the way")
    with pytest.raises(StoreError):
        give_and_export_one("u9")
    pending = bytes(ExportProgress.objects.get(stream="audit").pending)
    give_and_export_one("u10", fails=True)
    (filled / "audit").unlink()
    (filled / "audit-away").rename(filled / "audit")
    export_books()
    assert (filled / segments.path_of("audit", 4)).read_bytes() == pending
    assert wrong(store) == {}
    assert [row["position"] for row in exported("audit")] == [1, 2, 3, 4, 5]


def test_an_export_that_is_late_or_lost_its_address_is_told(
    filled: Path, settings: Settings
) -> None:
    assert fired("export") == {}
    later = timezone.now() + timedelta(minutes=11)
    assert fired("export", later)[""].title == "The export of the books is late"
    settings.EXPORT_URL = ""
    assert fired("export", later)[""].title == "Nothing is exported any more"
    stop()
    assert fired("export", later) == {}


def test_a_folder_of_somebody_elses_is_not_written_to(filled: Path, store: Store) -> None:
    """Another database's export, or this one's before it was restored."""
    before = {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()}
    stop()
    with pytest.raises(ForkedError, match="recover_restore"):
        export_books()
    assert {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()} == before


def test_a_second_exporter_elsewhere_loses_and_overwrites_nothing(filled: Path) -> None:
    """A copy of the database that was left running, one segment behind."""
    copy = list(ExportProgress.objects.all())
    give_and_export_one("u9")
    heads = (filled / "heads.json").read_text()
    newest = (filled / segments.path_of("audit", 4)).read_bytes()
    for progress in copy:
        progress.save()
    with pytest.raises(ForkedError, match="has segment 4 of “audit”"):
        give_and_export_one("u10")
    (filled / "heads.json").unlink()  # even then
    with pytest.raises(ForkedError, match="has segment 4 of “audit”"):
        export_books()
    assert (filled / segments.path_of("audit", 4)).read_bytes() == newest
    assert json.loads(heads)["streams"]["audit"]["segment"] == 4


def test_another_place_gets_everything_anew(filled: Path, settings: Settings) -> None:
    settings.EXPORT_URL = f"file://{filled.with_name('other')}"
    export_books()
    assert [row["position"] for row in exported("audit")] == [1, 2, 3]
    assert status().place.endswith("/other")


# --- A bucket -------------------------------------------------------------------------------


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.mark.usefixtures("keys")
def test_a_bucket_takes_the_books_and_gives_them_back(settings: Settings) -> None:
    with Bucket() as bucket:
        settings.EXPORT_URL = f"s3://books/billing?endpoint={bucket.endpoint}"
        give_and_export(2)
        assert sorted(bucket.objects)[:2] == [
            "billing/audit/0000000001.jsonl.gz",
            "billing/audit/0000000002.jsonl.gz",
        ]
        assert wrong(open_store()) == {}
        assert [row["position"] for row in exported("audit")] == [1, 2]
        del bucket.objects["billing/audit/0000000002.jsonl.gz"]
        assert wrong(open_store()) == {"audit": "Segment 2 is gone."}


@pytest.mark.usefixtures("keys")
def test_a_bucket_that_is_down_is_tried_again(settings: Settings) -> None:
    with Bucket() as bucket:
        settings.EXPORT_URL = f"s3://books/billing?endpoint={bucket.endpoint}"
        give_and_export()
        bucket.is_down = True
        give_and_export_one("u9", fails=True)
        assert SECRET not in status().error
        bucket.is_down = False
        export_books()
        assert [row["position"] for row in exported("audit")] == [1, 2]


@pytest.mark.usefixtures("keys")
def test_a_bucket_that_would_overwrite_is_refused(settings: Settings) -> None:
    with Bucket(keeps=False) as bucket:
        settings.EXPORT_URL = f"s3://books/billing?endpoint={bucket.endpoint}"
        with pytest.raises(StoreError, match="If-None-Match"):
            export_books()


@pytest.mark.parametrize(
    ("address", "says"), [("s3://other/billing", "no such bucket"), ("s3://books", "lacked")]
)
def test_a_wrong_bucket_or_key_is_said_without_any_secret(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, address: str, says: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY if "other" in address else "another-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with Bucket() as bucket:
        settings.EXPORT_URL = f"{address}?endpoint={bucket.endpoint}"
        with pytest.raises(StoreError, match=says) as failed:
            export_books()
    assert SECRET not in str(failed.value)

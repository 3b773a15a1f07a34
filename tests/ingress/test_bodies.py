"""What may be delivered: events of Stripe's, whatever is in them. Never a 500."""

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from billing.ingress import worker
from billing.models import BillingCustomer, BillingEvent, InboxEvent, WebhookRejection
from tests.ingress.webhook import (
    LIMIT,
    about,
    as_body,
    deliver,
    event,
    kept,
    refused,
    rejections,
    signed,
    without,
)
from tests.sandbox.server import SandboxProcess

pytestmark = pytest.mark.django_db


def padded(size: int) -> bytes:
    """An event of exactly `size` bytes."""
    empty = len(as_body(about(description="")))
    return as_body(about(description="x" * (size - empty)))


# --- Size -----------------------------------------------------------------------------------


def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert deliver(padded(LIMIT)).status_code == 200
    assert refused(deliver(padded(LIMIT + 1))) == (413, "body too large")
    assert len(InboxEvent.objects.get().body) == LIMIT
    assert rejections() == {"body too large": 1}


def test_the_size_is_looked_at_before_the_signature() -> None:
    assert refused(deliver(padded(LIMIT + 1), "")) == (413, "body too large")


# --- What is no event -----------------------------------------------------------------------

DEEP = 80_000  # brackets, which stay below the limit of a body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"event",
        b"\x00",
        b'{"id": "evt_1"',
        b'\xef\xbb\xbf{"id": "evt_1"}',
        as_body(event()) + b"{}",
        as_body(event()).replace(b"cus_1", b"cus_\xff"),
        as_body(event()).replace(b"cus_1", b"cus_\xed\xa0\x80"),
        as_body(event()).replace(b"cus_1", b"cus_\x00"),
        as_body(event()).decode().encode("utf-16"),
        as_body(about(balance=float("nan"))),
        as_body(about(balance=float("inf"))),
        as_body(about(balance=float("-inf"))),
        b"[" * DEEP + b"]" * DEEP,
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        as_body(event()).replace(b'"cus_1"', b"[" * DEEP + b"]" * DEEP),
        b"[" * DEEP,
        as_body(about()).replace(b'"cus_1"', b"9" * 5000),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert refused(deliver(body)) == (400, "not JSON")
    assert kept() == []
    assert rejections() == {"not JSON": 1}


@pytest.mark.parametrize(
    "body",
    [
        *([], [event()], "evt_1", 1, None, True, {}),
        *(without(name) for name in ("id", "object", "type", "created", "data")),
        *(event(id=value) for value in (None, "", 1, ["evt_1"], {"id": "evt_1"}, "e" * 256)),
        *(event(type=value) for value in (None, "", 1, ["invoice.paid"], "t" * 256)),
        *(event(object=value) for value in (None, "Event", "customer", ["event"], {})),
        *(event(data=value) for value in (None, {}, [], "cus_1", {"object": None})),
        *(event(data={"object": value}) for value in ([], "cus_1", 1)),
        *(event(created=value) for value in (None, "1700000000", 1.5, True, [1], {})),
        *(event(created=value) for value in (-1, 253402300800, 10**30, -(10**30))),
    ],
    ids=lambda body: re.sub(r"\d{10}", "", repr(body))[:90],
)
def test_what_is_no_event_is_refused(body: Any) -> None:
    assert refused(deliver(as_body(body))) == (400, "not an event")
    assert kept() == []
    assert rejections() == {"not an event": 1}


def test_a_thin_event_is_refused_and_the_count_says_what_to_do() -> None:
    thin = {
        "id": "evt_1",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-01-01T00:00:00.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter"},
    }
    assert refused(deliver(as_body(thin))) == (400, "thin event")
    assert kept() == []
    rejection = WebhookRejection.objects.get()
    assert (rejection.reason, rejection.count) == ("thin event", 1)
    assert "snapshot events" in rejection.last_detail


def test_refusals_are_counted_by_hour_and_reason() -> None:
    for body in (b"{", b"[", b"[]"):
        deliver(body)
    deliver(b"{}", "")
    assert rejections() == {"not JSON": 2, "not an event": 1, "no signature": 1}
    now = datetime.now(UTC)
    for rejection in WebhookRejection.objects.all():
        assert rejection.hour.replace(minute=0, second=0, microsecond=0) == rejection.hour
        assert rejection.hour <= rejection.last_at
        assert abs((rejection.last_at - now).total_seconds()) < 60


def test_nothing_of_a_refused_body_is_stored_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    body = as_body(about(email="a-word-that-stands-nowhere-else"))
    old = signed(body, age=3600)
    deliver(body, "")
    deliver(body, old)
    deliver(body, "t=1,v1=a-word-that-stands-nowhere-else")
    for unfit in (body[:-1], b"[" + body + b"]", body.replace(b'"event"', b'"v2.core.event"')):
        deliver(unfit)
    deliver(body + b" " * LIMIT)
    assert sum(rejections().values()) == 7
    assert tables_with("a-word-that-stands-nowhere-else") == []
    assert "a-word-that-stands-nowhere-else" not in caplog.text

    deliver(body)
    assert tables_with("a-word-that-stands-nowhere-else") == ["billing_inbox"]


def tables_with(word: str) -> list[str]:
    """The tables in which a row contains `word`."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(
                f'SELECT EXISTS (SELECT FROM "{table}" t WHERE strpos(t::text, %s) > 0)',  # noqa: S608
                [word],
            )
            if cursor.fetchone()[0]:
                found.append(table)
    return found


# --- What is kept ---------------------------------------------------------------------------


def test_the_inbox_holds_the_body_as_it_was_signed() -> None:
    body = b' { "created" : 1700000000,\n"extra":1.0, ' + as_body(event()).replace(b"{", b"", 1)
    assert deliver(body).status_code == 200
    row = InboxEvent.objects.get()
    assert row.body == body.decode()
    assert (row.stripe_event_id, row.type) == ("evt_1", "customer.created")
    assert (row.object_id, row.customer_id) == ("cus_1", "cus_1")
    assert (row.status, row.attempts, row.livemode) == ("pending", 0, False)
    assert row.stripe_created_at.timestamp() == json.loads(body)["created"]


def test_a_duplicate_is_acknowledged_and_changes_nothing() -> None:
    assert deliver(as_body(event())).status_code == 200
    first = InboxEvent.objects.values().get()
    assert deliver(as_body(event(type="customer.deleted"))).status_code == 200
    assert InboxEvent.objects.values().get() == first
    assert rejections() == {}


@pytest.mark.parametrize("created", [0, 1, 253402300799])
def test_any_time_up_to_the_year_9999_is_one(created: int) -> None:
    assert deliver(as_body(event(created=created))).status_code == 200
    assert InboxEvent.objects.get().stripe_created_at.timestamp() == created


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"account": "acct_connected"}, "the connected account acct_connected"),
        ({"livemode": True}, "from live mode"),
    ],
)
def test_what_is_not_ours_is_set_aside_with_the_reason(
    fields: dict[str, Any], reason: str, sandbox: SandboxProcess
) -> None:
    assert deliver(as_body(event(**fields))).status_code == 200
    worker.drain()
    row = InboxEvent.objects.get()
    assert row.status == "set_aside"
    assert reason in row.reason
    assert not BillingCustomer.objects.exists()
    assert not BillingEvent.objects.exists()


def test_in_live_mode_it_is_the_other_way_round(settings: Settings) -> None:
    settings.STRIPE_LIVE_MODE = True
    deliver(as_body(event(id="evt_test")))
    deliver(as_body(event(id="evt_live", livemode=True)))
    assert kept() == [("evt_test", "set_aside"), ("evt_live", "pending")]


@pytest.mark.parametrize("kind", ["customer.tax_id.created", "radar.early_fraud_warning.created"])
def test_a_type_that_means_nothing_to_us_is_kept_and_seen(
    kind: str, sandbox: SandboxProcess
) -> None:
    assert deliver(as_body(event(type=kind))).status_code == 200
    assert worker.drain().by_status == {"ignored": 1}
    row = InboxEvent.objects.get()
    assert (row.status, row.reason) == ("ignored", "This type needs nothing.")
    assert BillingEvent.objects.get().type == kind
    assert not BillingCustomer.objects.exists()


# --- What may stand in an event --------------------------------------------------------------


def odd(text: str) -> bytes:
    """An event with JSON that Python would not write, in the customer's name."""
    return as_body(about(name="?")).replace(b'"?"', text.encode())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (r'"a\u0000b"', "a\ufffdb"),
        (r'"a\ud800b"', "a?b"),
        (r'"a\udfff"', "a?"),
        (r'"\ud83d\ude00"', "\U0001f600"),
        ('"\U0001f600"', "\U0001f600"),
        (r'"\\u0000"', r"\u0000"),
        ('"\uffff\u202e"', "\uffff\u202e"),
    ],
)
def test_texts_that_a_database_refuses_are_made_fit(
    text: str, name: str, sandbox: SandboxProcess
) -> None:
    assert deliver(odd(text)).status_code == 200
    assert worker.drain().by_status == {"processed": 1}
    assert BillingCustomer.objects.get().name == name
    assert BillingEvent.objects.get().payload["name"] == name


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800"])
@pytest.mark.parametrize("field", ["id", "type", "api_version", "account"])
def test_they_are_made_fit_in_the_events_own_fields_too(field: str, escape: str) -> None:
    body = as_body(event(**{field: "evt_?"})).replace(b"evt_?", f"evt_{escape}".encode())
    assert deliver(body).status_code == 200
    assert deliver(body).status_code == 200
    assert InboxEvent.objects.count() == 1


@pytest.mark.parametrize("metadata", [{"a\x00": "b\ud800"}, {"user_id": "u\x00"}])
def test_metadata_may_hold_anything(metadata: dict[str, str], sandbox: SandboxProcess) -> None:
    assert deliver(as_body(about(metadata=metadata))).status_code == 200
    assert worker.drain().by_status == {"processed": 1}


@pytest.mark.parametrize("digits", [19, 20, 30, 4000])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_may_be_huge(sign: int, digits: int, sandbox: SandboxProcess) -> None:
    number = sign * (10**digits - 1)
    assert deliver(as_body(about(invoice_prefix_number=number))).status_code == 200
    assert worker.drain().by_status == {"processed": 1}
    assert BillingEvent.objects.get().payload["invoice_prefix_number"] == number


@pytest.mark.parametrize("field", ["id", "customer"])
@pytest.mark.parametrize("length", [256, 3000, 100_000])
def test_an_id_of_any_length_is_acknowledged(field: str, length: int) -> None:
    long = "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(length))  # not to compress
    fields = {"object": "invoice", "id": "in_1", field: long}
    body = json.dumps(about(**fields), ensure_ascii=False).encode()
    assert deliver(body).status_code == 200
    row = InboxEvent.objects.get()
    assert long.startswith(row.object_id if field == "id" else row.customer_id)


@pytest.mark.parametrize("field", ["api_version", "account", "metadata"])
def test_an_event_of_any_depth_is_kept_or_refused(field: str) -> None:
    limit = sys.getrecursionlimit()
    answers = set()
    for depth in (10, 200, 250, 260, *range(limit - 120, limit + 20)):
        body = as_body(event(**{field: "?"})).replace(b'"?"', b"[" * depth + b"]" * depth)
        answers.add(deliver(body).status_code)
    assert answers <= {200, 400}


def test_every_answer_is_plain_text() -> None:
    for response in (deliver(as_body(event())), deliver(b"")):
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_delivery_costs_few_statements(django_assert_num_queries: Any) -> None:
    deliver(as_body(event()))
    with django_assert_num_queries(2):  # the row, and whether the worker is awake already
        deliver(as_body(event(id="evt_2")))

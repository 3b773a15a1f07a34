"""Log lines: what must not stand in them, and the ids that lead from a line to its page."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from backoffice.logs import JsonLines, Lines, scrub
from billing.admin.cells import page_url
from billing.ingress import worker
from billing.log_context import about
from billing.models import BillingEvent, InboxEvent, OperationRecord
from billing.operations.base import Actor
from billing.operations.credits import GrantCredits
from tests.admin import rows
from tests.ingress.webhook import as_body, deliver, event
from tests.support.environment import SECRET_KEY, WEBHOOK_SECRET

NAME, PASSWORD = "Planted Name", "hunter22"
EMAIL = "ada.lovelace+x@mail.example.co.uk"
LINK = "/billing/eyJrIjoib3BfMSJ9LCJlIjoxfQ.c2lnbmF0dXJlb2ZpdA/"
BODY = '{"id": "evt_9", "data": {"object": {"name": "Planted Name", "note": "a\\nb"}}}'
PLANTED = (EMAIL, "ada.lovelace%2Bx%40mail.example.co.uk", SECRET_KEY, WEBHOOK_SECRET, BODY, LINK)
SECRET = ("lovelace", SECRET_KEY, WEBHOOK_SECRET, "Planted", "eyJrIjoib3BfMSJ9", "hunter22")


class Log:
    """What was logged through our formatters, as text and as JSON."""

    def __init__(self) -> None:
        self.handlers = []
        self.streams = []
        for formatter in (Lines(), JsonLines()):
            stream = io.StringIO()
            handler = logging.StreamHandler(stream)
            handler.setFormatter(formatter)
            self.streams.append(stream)
            self.handlers.append(handler)

    def handle(self, record: logging.LogRecord) -> None:
        for handler in self.handlers:
            handler.handle(record)

    @property
    def text(self) -> str:
        return self.streams[0].getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.streams[1].getvalue().splitlines()]

    def about(self, **ids: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if ids.items() <= line.items()]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    for handler in log.handlers:
        logging.getLogger().addHandler(handler)
    yield log
    for handler in log.handlers:
        logging.getLogger().removeHandler(handler)


def raise_a_chain() -> None:
    try:
        raise ValueError(f"cannot parse {BODY}")
    except ValueError as error:
        raise RuntimeError(f"{EMAIL} at postgres://me:{PASSWORD}@db.example.com/x") from error


def violate_a_constraint() -> None:
    """PostgreSQL's own words quote the row."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO billing_customers (stripe_customer_id, email, name)"
            " VALUES ('cus_1', %s, %s), ('cus_1', %s, %s)",
            [EMAIL, NAME, EMAIL, NAME],
        )


def misspell_a_statement() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELEKT '{NAME}', %s", [EMAIL])


@pytest.mark.django_db
@pytest.mark.parametrize("fail", [raise_a_chain, violate_a_constraint, misspell_a_statement])
def test_an_exception_tells_where_and_not_of_whom(log: Log, fail: Callable[[], None]) -> None:
    try:
        fail()
    except (RuntimeError, DatabaseError) as error:
        logging.getLogger("billing.x").exception("it failed: %s", error)
    assert fail.__name__ in log.text  # the frame
    assert "test_logs.py" in log.lines[0]["exception"]
    for secret in SECRET:
        assert secret not in log.text, secret
        assert secret not in json.dumps(log.lines), secret


@pytest.mark.parametrize("planted", PLANTED)
@pytest.mark.parametrize("how", ["%s", "before {0} after", "argument {0!r}", "bytes {1!r}"])
def test_nothing_that_is_planted_comes_out(log: Log, planted: str, how: str) -> None:
    logger = logging.getLogger("some.package")
    if how == "%s":
        logger.warning(how, planted)
        log.handle(logging.makeLogRecord({"msg": "too many arguments", "args": (planted,)}))
    else:
        logger.warning(how.format(planted, planted.encode()))
    logger.warning("a dictionary: %s", {"customer": {"email": planted, "password": PASSWORD}})
    assert log.text
    for secret in SECRET:
        assert secret not in log.text
        assert secret not in json.dumps(log.lines)


def test_what_helps_stays() -> None:
    for said in (
        "event evt_1 (invoice.paid) is dead: StripeUnavailableError: it answered 500.",
        'connection to server at "10.0.0.3", port 5432 failed: timeout expired',
        "Not Found: /admin/billing/inboxevent/17/change/",
        "inbox: 3 processed, 1 failed",
        "job 17 (billing.tick) was left by a dead worker",
        "the token bucket has {n} left",
    ):
        assert scrub(said) == said


def test_nobody_can_forge_a_line(log: Log) -> None:
    logging.getLogger("x").warning(
        "refused: %s", "a\n2026-01-01 00:00:00 INFO x all is well\x1b[2J"
    )
    assert log.text.count("\n") == 1
    assert "\x1b" not in log.text


def test_a_json_line_says_when_how_grave_who_what_and_about_what(log: Log) -> None:
    with about(request="r" * 8), about(event="evt_1"):
        logging.getLogger("billing.x").error("it is %d", 7)
    logging.getLogger("billing.x").warning("event evt_2 and operation op_3-4")
    first, second = log.lines
    assert first.pop("time").endswith("+00:00")
    assert first.pop("process")
    assert first == {
        "level": "ERROR",
        "logger": "billing.x",
        "message": "it is 7",
        "request": "rrrrrrrr",
        "event": "evt_1",
    }
    assert (second["event"], second["operation"]) == ("evt_2", "op_3-4")


@pytest.mark.django_db
def test_a_requests_id_is_taken_from_the_proxy_or_made(log: Log) -> None:
    answer = Client().post("/webhooks/stripe", headers={"x-request-id": "edge-1234.5678"})
    assert answer.headers["X-Request-ID"] == "edge-1234.5678"
    [refused] = [line for line in log.about(request="edge-1234.5678") if "refused" in str(line)]
    assert refused["logger"] == "billing.ingress.views"
    for forged in ("short", "x" * 65, "a b c d e f", "über-lange-kennung", '"><script>'):
        made = Client().get("/healthz", headers={"x-request-id": forged}).headers["X-Request-ID"]
        assert made != forged
        assert len(made) == 32


@pytest.mark.django_db
def test_from_a_failed_events_line_to_its_page(
    log: Log, settings: Settings, admin_client: Client
) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [WEBHOOK_SECRET]
    rows.customer("u_ada", "cus_1")
    broken = event(id="evt_broken", type="customer.updated", created=2**33)
    broken["data"]["object"] |= {"email": EMAIL, "name": "Planted Name", "created": "no time"}
    deliver(as_body(broken))
    worker.drain()
    assert InboxEvent.objects.get().status in ("dead", "failed")
    assert log.about(event="evt_broken", logger="billing.ingress.worker")
    for secret in SECRET:
        assert secret not in log.text
    found = admin_client.get(reverse("admin:billing_search"), {"q": "evt_broken"})
    assert found.headers["Location"] == page_url(InboxEvent.objects.get())


@pytest.mark.django_db
def test_from_a_requests_line_to_its_operation_and_back(log: Log, admin_client: Client) -> None:
    actor = Actor.of(User.objects.get())
    with about(request="edge-1234"):
        GrantCredits(user_id="u_ada", amount=5, actor=actor, reason="It was lost.").apply()
    record = OperationRecord.objects.get()
    [line] = log.about(request="edge-1234", operation=record.key)
    assert line["message"] == f"operation {record.key} (grant_credits): applied"
    found = admin_client.get(reverse("admin:billing_search"), {"q": line["operation"]})
    assert found.headers["Location"] == page_url(record)
    audited = BillingEvent.objects.get(type=GrantCredits.audit_type)
    assert audited.payload["request"] == "edge-1234"

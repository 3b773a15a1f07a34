"""Whatever is signed: an answer below 500, and either a row or a counted refusal."""

import json
from typing import Any

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import InboxEvent, WebhookRejection
from tests.ingress.webhook import as_body, deliver, event, rejections

pytestmark = pytest.mark.django_db

# The fixtures are the database and a setting: the examples may share them.
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

TEXTS = st.text(st.characters(), max_size=300)  # lone surrogates and NUL included
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
IDS = st.sampled_from(["evt_1", "evt_2", "cus_1", "", "x" * 256]) | TEXTS
MOMENTS = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1700000000, 253402300799])

OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS | VALUES,
        "object": st.sampled_from(["customer", "invoice", "checkout.session"]) | VALUES,
        "customer": IDS | VALUES,
        "metadata": VALUES,
    },
)
# Most fields of most examples are as they should be: the others are then reached.
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "object": st.just("event") | VALUES,
        "type": st.sampled_from(["invoice.paid", "customer.deleted"]) | IDS,
        "created": MOMENTS,
        "livemode": st.booleans() | VALUES,
        "account": st.none() | IDS | VALUES,
        "api_version": st.none() | IDS | VALUES,
        "data": st.fixed_dictionaries({"object": OBJECTS | VALUES}) | VALUES,
    },
).map(lambda fields: event(**fields))


def answered(body: bytes) -> None:
    """Delivers a body and checks the answer, and what was counted or kept."""
    rows, refusals = accounted()
    known = set(InboxEvent.objects.values_list("stripe_event_id", flat=True))
    response = deliver(body)
    now_rows, now_refusals = accounted()
    if response.status_code == 200:
        row = InboxEvent.objects.get(stripe_event_id=stored_id(body))
        assert now_refusals == refusals
        assert now_rows == rows + (row.stripe_event_id not in known)
    else:
        assert response.status_code in (400, 413)
        assert (now_rows, now_refusals) == (rows, refusals + 1)
        assert response.content.decode().removeprefix("refused: ") in rejections()


def accounted() -> tuple[int, int]:
    """Rows in the inbox, and refusals counted."""
    refused = WebhookRejection.objects.aggregate(total=Sum("count"))["total"]
    return InboxEvent.objects.count(), refused or 0


def stored_id(body: bytes) -> str:
    """The event's id as a text column can hold it."""
    event_id: str = json.loads(body)["id"]
    return event_id.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


@EXAMPLES
@given(st.binary(max_size=2000))
def test_any_bytes(body: bytes) -> None:
    answered(body)


@EXAMPLES
@given(st.integers(0, 400), st.binary(max_size=4))
def test_any_damage_to_an_event(position: int, damage: bytes) -> None:
    whole = as_body(event(created=1700000000))
    answered(whole[:position] + damage + whole[position + len(damage) :])


@EXAMPLES
@given(VALUES)
def test_any_json(value: Any) -> None:
    answered(as_body(value))


@EXAMPLES
@given(EVENTS)
def test_any_event(value: Any) -> None:
    answered(as_body(value))


@EXAMPLES
@given(EVENTS)
def test_any_event_as_utf8(value: Any) -> None:
    answered(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


@EXAMPLES
@given(st.text(max_size=200))
def test_any_signature(header: str) -> None:
    if header.isascii() and header.isprintable():
        rows, refusals = accounted()
        assert deliver(as_body(event()), header or "t=").status_code == 400
        assert accounted() == (rows, refusals + 1)

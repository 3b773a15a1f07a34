"""Who may deliver: Stripe, whose signature is on the raw body."""

import time

import pytest
import stripe
from django.test import Client
from pytest_django import Settings

from billing.ingress.signature import sign
from tests.ingress.webhook import (
    PATH,
    as_body,
    deliver,
    event,
    kept,
    refused,
    rejections,
    signed,
)
from tests.support.environment import WEBHOOK_SECRET

pytestmark = pytest.mark.django_db

BODY = as_body(event())
OTHER_SECRET = "whsec_ofAnotherEndpoint"


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_a_signed_event_is_taken_with_and_without_a_trailing_slash(path: str) -> None:
    response = deliver(BODY, path=path)
    assert (response.status_code, response.content) == (200, b"received")
    assert kept() == [("evt_1", "pending")]
    assert rejections() == {}


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_only_post_is_answered(method: str, path: str) -> None:
    response = getattr(Client(), method)(path)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")


def test_it_needs_no_csrf_token() -> None:
    response = Client(enforce_csrf_checks=True).post(
        PATH, BODY, "application/json", headers={"Stripe-Signature": signed(BODY)}
    )
    assert response.status_code == 200


# {now} is the time, {v1} signs the body.
@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "no signature"),
        (",", "malformed signature"),
        ("nonsense", "malformed signature"),
        ("t=,v1=", "malformed signature"),
        ("v1={v1}", "malformed signature"),
        ("t={now}", "malformed signature"),
        ("t={now},v0={v1}", "malformed signature"),
        ("t={now},V1={v1}", "malformed signature"),
        ("t={now},v1=\u00e9", "malformed signature"),
        ("t=yesterday,v1={v1}", "malformed signature"),
        ("t=-1,v1={v1}", "malformed signature"),
        ("t={now}.5,v1={v1}", "malformed signature"),
        ("t={now}000000000000,v1={v1}", "malformed signature"),
        ("t=\u0661\u0662,v1={v1}", "malformed signature"),
        ("t={now},v1=", "wrong signature"),
        ("t={now},v1={v1}0", "wrong signature"),
        ("t={now}0,v1={v1}", "wrong signature"),
    ],
)
def test_what_stripe_did_not_sign_is_refused_with_the_reason(given: str, reason: str) -> None:
    now, _, v1 = signed(BODY).removeprefix("t=").partition(",v1=")
    assert refused(deliver(BODY, given.format(now=now, v1=v1))) == (400, reason)
    assert kept() == []
    assert rejections() == {reason: 1}


@pytest.mark.parametrize("length", [1, 64, 60_000])
def test_a_signature_of_any_length_is_compared(length: int) -> None:
    given = f"t={int(time.time())},v1={'0' * length}"
    assert refused(deliver(BODY, given)) == (400, "wrong signature")


def test_the_signature_is_of_the_raw_body() -> None:
    assert refused(deliver(BODY + b" ", signed(BODY))) == (400, "wrong signature")
    assert refused(deliver(BODY[:-1] + b" }", signed(BODY))) == (400, "wrong signature")
    assert kept() == []


@pytest.mark.parametrize("age", [301, 310, 86400, -310, -86400])
def test_an_old_signature_is_refused_and_so_is_one_from_the_future(age: int) -> None:
    response = deliver(BODY, signed(BODY, age=age))
    assert refused(response) == (400, "signature too old or from the future")
    assert kept() == []


@pytest.mark.parametrize("age", [295, -295])
def test_clocks_may_differ_by_five_minutes(age: int) -> None:
    assert deliver(BODY, signed(BODY, age=age)).status_code == 200


def test_the_time_that_counts_is_the_one_that_is_signed() -> None:
    old = signed(BODY, age=3600)
    moved = f"t={int(time.time())},{old.partition(',')[2]}"
    assert refused(deliver(BODY, moved)) == (400, "wrong signature")
    twice = f"{old},t={int(time.time())}"  # the first time is the one that is signed
    assert refused(deliver(BODY, twice)) == (400, "signature too old or from the future")
    assert kept() == []


def test_one_of_several_signatures_suffices() -> None:
    time_part, v1 = signed(BODY).split(",")
    given = f"{time_part}, v1={'0' * 64}, v0=ignored, {v1}"
    assert deliver(BODY, given).status_code == 200


def test_several_secrets_count_while_one_is_being_rolled(settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = [OTHER_SECRET, WEBHOOK_SECRET]
    for secret in (WEBHOOK_SECRET, OTHER_SECRET):
        assert deliver(BODY, signed(BODY, secret=secret)).status_code == 200
    third = signed(BODY, secret="whsec_third")
    assert refused(deliver(BODY, third)) == (400, "wrong signature")
    assert kept() == [("evt_1", "pending")]


def test_without_a_secret_everything_is_refused(settings: Settings) -> None:
    settings.STRIPE_WEBHOOK_SECRETS = []
    assert refused(deliver(BODY)) == (400, "no secret configured")
    assert refused(deliver(BODY, signed(BODY, secret=""))) == (400, "no secret configured")
    assert kept() == []
    assert rejections() == {"no secret configured": 2}


def test_our_own_signature_is_one_that_stripes_package_accepts() -> None:
    made = stripe.Webhook.construct_event(BODY, sign(BODY, WEBHOOK_SECRET), WEBHOOK_SECRET)
    assert made.id == "evt_1"

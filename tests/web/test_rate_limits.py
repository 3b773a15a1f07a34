"""Strangers who ask too often are refused, each by their own address; Stripe never is."""

import threading
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from billing import rate_limits
from billing.models import RateLimit, WebhookRejection
from billing.rate_limits import Limit, client_address, network_of, take
from tests.ingress.webhook import as_body, event, kept, signed
from tests.support.databases import Database

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"
LOG_IN = "/admin/login/"
ONE_A_DAY = 24 * 60 * 60.0  # seconds: no test lasts until the next one is due


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of each a day."""
    for name in ("WEBHOOK", "LOG_IN", "BILLING_PAGE", "ELSE"):
        limit = getattr(rate_limits, name)
        monkeypatch.setattr(rate_limits, name, Limit(limit.name, 3, ONE_A_DAY))


def statuses(ask: Callable[[], HttpResponse], times: int = 5) -> list[int]:
    return [ask().status_code for _ in range(times)]


def asked_from(address: str = HERE, **headers: str) -> WSGIRequest:
    return RequestFactory(REMOTE_ADDR=address).get("/", headers=headers)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ask", "usual"),
    [
        (lambda client: client.get(LOG_IN), 200),
        (lambda client: client.get("/robots.txt"), 200),
        (lambda client: client.get("/nothing"), 404),
        (lambda client: client.get("/"), 302),
        (lambda client: client.get("/admin/billing/billingcustomer/"), 302),
        (lambda client: client.get("/billing/"), 200),
        (lambda client: client.get("/billing/not.alink/"), 404),
        (lambda client: client.post("/billing/not.alink/portal/"), 404),
        (lambda client: client.post(LOG_IN, {"username": "ada", "password": "x"}), 200),
        (lambda client: client.post("/webhooks/stripe", b"{}", content_type="text/plain"), 400),
    ],
    ids=[
        "log-in",
        "robots",
        "nothing",
        "root",
        "list",
        "billing",
        "link",
        "portal",
        "pass",
        "hook",
    ],
)
def test_whatever_is_open_is_limited_by_address(
    ask: Callable[[Client], HttpResponse], usual: int
) -> None:
    stranger, other = Client(REMOTE_ADDR=HERE), Client(REMOTE_ADDR=ELSEWHERE)
    assert statuses(lambda: ask(stranger)) == [usual] * 3 + [429] * 2
    assert 0 < int(ask(stranger)["Retry-After"]) <= ONE_A_DAY
    assert ask(other).status_code == usual


@pytest.mark.django_db
def test_who_is_refused_is_told_so_and_writes_nothing() -> None:
    client = Client(REMOTE_ADDR=HERE)
    statuses(lambda: client.get(LOG_IN), 3)
    before = RateLimit.objects.get()
    refused = client.get(LOG_IN)
    assert "Too many requests" in refused.content.decode()
    assert RateLimit.objects.get().due_at == before.due_at
    ask = lambda: client.post("/webhooks/stripe", b"{}", content_type="text/plain")  # noqa: E731
    statuses(ask, 6)
    assert WebhookRejection.objects.get().count == 3


@pytest.mark.django_db
def test_a_burst_of_stripes_is_never_refused() -> None:
    """Not even from an address that sent rubbish before: the signature counts."""
    client = Client(REMOTE_ADDR=HERE)
    statuses(lambda: client.post("/webhooks/stripe", b"{}", content_type="text/plain"))
    for number in range(20):
        body = as_body(event(id=f"evt_{number}"))
        response = client.post(
            "/webhooks/stripe",
            body,
            content_type="application/json",
            headers={"stripe-signature": signed(body)},
        )
        assert response.status_code == 200
    assert len(kept()) == 20


@pytest.mark.django_db
def test_who_is_logged_in_is_not_limited() -> None:
    client = Client(REMOTE_ADDR=HERE)
    statuses(lambda: client.get(LOG_IN))
    user = User.objects.create_user("ada", is_staff=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert statuses(lambda: client.get("/admin/jsi18n/"), 10) == [200] * 10


@pytest.mark.django_db
def test_a_share_comes_back_with_time_and_is_forgotten() -> None:
    limit = Limit("test", 2, 60.0)
    assert [take(limit, asked_from()) for _ in range(2)] == [0, 0]
    assert 0 < take(limit, asked_from()) <= 60
    assert rate_limits.forget() == 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_rate_limits SET due_at = due_at - interval '61 seconds'")
    assert take(limit, asked_from()) == 0
    assert take(limit, asked_from()) > 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_rate_limits SET due_at = due_at - interval '1 day'")
    assert rate_limits.forget() == 1


def test_all_processes_count_together(real_database: Database) -> None:
    """Eight at once, each on a connection of its own: exactly as many pass as may."""
    limit = Limit("test", 5, ONE_A_DAY)
    answers: list[int] = []

    def ask() -> None:
        answers.extend(take(limit, asked_from()) for _ in range(4))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), answers.count(0)) == (32, 5)
    with connection.cursor() as cursor:
        cursor.execute("SELECT relpersistence FROM pg_class WHERE relname = 'billing_rate_limits'")
        assert cursor.fetchone() == ("u",)


@pytest.mark.parametrize(
    ("proxies", "told", "address"),
    [
        (0, "", HERE),
        (0, "203.0.113.9", HERE),  # nobody's word is taken
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.7, 203.0.113.9", "203.0.113.9"),  # the first is the client's own lie
        (2, "198.51.100.7, 203.0.113.9, 192.0.2.77", "203.0.113.9"),
        (2, "203.0.113.9", HERE),  # past one of the proxies
        (1, "", HERE),
        (1, "nonsense", HERE),
        (1, "203.0.113.9, ", HERE),
        (1, "2001:db8::1", "2001:db8::1"),
    ],
)
def test_nobody_lies_about_their_address(
    settings: Settings, proxies: int, told: str, address: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {"x-forwarded-for": told} if told else {}
    assert client_address(asked_from(HERE, **headers)) == address


def test_a_unix_socket_has_no_address() -> None:
    assert client_address(asked_from("")) == "::"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (HERE, HERE),
        ("2001:db8:0:1::5", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::6", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::5", "2001:db8:0:2::/64"),
        ("::ffff:192.0.2.1", HERE),
        ("a socket", "a socket"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network

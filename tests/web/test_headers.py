"""What every answer of the web server carries, whoever asks for whatever, and however it ends."""

import re
from http import HTTPStatus

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path, reverse
from pytest_django import Settings

from backoffice.urls import urlpatterns as of_the_project
from tests.admin import rows
from tests.ingress.webhook import as_body, event, signed
from tests.selfservice.visits import link_for, path_of
from tests.web.addresses import addresses

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"
# Where strangers may be; everywhere else they are led to the log-in, or refused.
OPEN = (
    *(r"/", r"/robots\.txt", r"/billing(/.*)?", r"/admin/login/", r"/admin/logout/"),
    *(r"/admin/account/inactive/", r"/admin/account/2fa/webauthn/login/"),
)
YEAR = 365 * 24 * 60 * 60


def is_hardened(response: HttpResponse, *, is_static: bool = False) -> None:
    """Asserts the headers that no answer goes without."""
    headers = response.headers
    policy = dict(
        part.partition(" ")[::2] for part in headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["base-uri"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "form-action" in policy
    assert "'unsafe-inline'" not in policy.get("script-src", "") + policy["style-src"]
    assert "*" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] in ("same-origin", "strict-origin")
    assert "camera=()" in headers["Permissions-Policy"]
    assert "Access-Control-Allow-Origin" not in headers or is_static
    assert "Server" not in headers
    if not is_static:
        assert "no-store" in headers["Cache-Control"]
    if response.status_code not in (301, 302, 304) and "Content-Type" in headers:
        assert re.fullmatch(
            r"(text|application)/[\w.+-]+; charset=utf-8|application/(json|vnd\.[\w.-]+)|image/.*",
            headers["Content-Type"].replace('"', ""),
        )


@pytest.mark.parametrize("method", ["get", "post"])
def test_strangers_are_led_to_the_log_in_or_refused_at_every_address(
    client: Client, method: str
) -> None:
    assert len(addresses()) > 200
    for number, address in enumerate(addresses()):
        # From as many places as there are addresses: no limit is to answer in a page's place.
        response = getattr(client, method)(address, REMOTE_ADDR=f"192.0.2.{number % 256}")
        is_hardened(response)
        assert response.status_code != HTTPStatus.TOO_MANY_REQUESTS
        status, location = response.status_code, response.headers.get("Location", "")
        if re.fullmatch("|".join(OPEN), address):
            assert status < HTTPStatus.INTERNAL_SERVER_ERROR, address
        else:
            assert location.partition("?")[0] == LOGIN or 400 <= status < 500, address


def test_what_is_open_says_nothing_to_strangers(client: Client) -> None:
    """The few pages that need no log-in hold nobody's data."""
    rows.customer()
    for address in ("/robots.txt", "/billing/", "/billing", LOGIN):
        assert "ada" not in client.get(address).content.decode().lower()
    assert client.get("/")["Location"] == reverse("admin:index")


def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("as no view should")


urlpatterns = [path("breaks/", breaks), path("admin/breaks/", breaks), *of_the_project]


def test_errors_are_hardened_too(settings: Settings) -> None:
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["testserver"]
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    answers = {
        400: [
            client.get("/", headers={"host": "evil.example.com"}),
            client.post("/webhooks/stripe", b"{}", content_type="application/json"),
        ],
        403: [client.post(LOGIN, {"username": "ada"})],
        404: [client.get("/nothing"), client.get("/billing/x.y/"), client.get("/static/nothing")],
        405: [client.get("/webhooks/stripe"), client.trace("/"), client.trace("/webhooks/stripe")],
        500: [client.get("/breaks/"), client.get("/admin/breaks/")],
    }
    for status, responses in answers.items():
        for response in responses:
            assert response.status_code == status
            is_hardened(response)
            assert "RuntimeError" not in response.content.decode()


def test_what_works_is_hardened_too(client: Client) -> None:
    rows.customer()
    body = as_body(event())
    taken = client.post(
        "/webhooks/stripe",
        body,
        content_type="application/json",
        headers={"stripe-signature": signed(body)},
    )
    assert taken.status_code == 200
    pages = [taken, client.get(path_of(link_for(rows.CUSTOMER))), client.get("/robots.txt")]
    boss = User.objects.create_superuser("boss")
    client.force_login(boss, backend="django.contrib.auth.backends.ModelBackend")
    customers = reverse("admin:billing_billingcustomer_changelist")
    pages += [client.get(customers), client.get(reverse("admin:index"))]
    pages += [client.get(f"{customers}export/"), client.get("/admin/finance/revenue/")]
    for page in pages:
        assert page.status_code == 200
        is_hardened(page)
    file = client.get("/static/billing/search.js")
    assert b"document" in file.getvalue()  # which closes it, too
    is_hardened(file, is_static=True)


def test_only_unfolds_pages_may_make_code_of_text(client: Client) -> None:
    for address in ("/robots.txt", "/billing/", "/webhooks/stripe", "/nothing", "/static/x"):
        policy = client.get(address)["Content-Security-Policy"]
        assert "script-src 'none'" in policy or "script-src" not in policy
        assert "unsafe" not in policy
    assert "script-src 'self' 'unsafe-eval';" in client.get(LOGIN)["Content-Security-Policy"]


def test_browsers_come_back_by_tls_alone(settings: Settings) -> None:
    """HSTS on what comes by TLS, a redirect of people, and a refusal of Stripe's plain HTTP."""
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = YEAR
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = settings.SECURE_HSTS_PRELOAD = True
    client = Client()
    for address in (LOGIN, "/nothing", "/billing/", "/webhooks/stripe", "/static/billing/copy.js"):
        response = client.get(address, secure=True)
        response.getvalue()
        said = response["Strict-Transport-Security"]
        assert said == f"max-age={YEAR}; includeSubDomains; preload"
    response = client.get("/admin/")
    assert (response.status_code, response["Location"]) == (301, "https://testserver/admin/")
    is_hardened(response)
    body = as_body(event())
    how = {"content_type": "application/json", "headers": {"stripe-signature": signed(body)}}
    refused = client.post("/webhooks/stripe", body, **how)
    assert (refused.status_code, refused.content) == (403, b"refused: plain HTTP")
    assert client.post("/webhooks/stripe", body, secure=True, **how).status_code == 200

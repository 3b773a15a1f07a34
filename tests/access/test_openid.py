"""Log-in by OpenID Connect, against a real provider: accounts that are here, and no other."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import reverse
from pytest_django import Settings

from backoffice import settings as project
from tests.access.conftest import HOME, LOG_IN, Visitor, person, text, with_app
from tests.access.provider import CLIENT, SECRET, Provider, running

pytestmark = pytest.mark.django_db
NO_ACCOUNT = "Nobody here has the email address"
NO_LOG_IN = "did not come to its end"


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with running() as provider:
        yield provider


@pytest.fixture
def provider(server: Provider, settings: Settings) -> Provider:
    """One that says that sue has logged in, whose address it has verified."""
    server.person = {"email": "Sue@example.com", "email_verified": True}
    server.wrong, server.forged = {}, False
    app = {
        "provider_id": "oidc",
        "name": "Example",
        "client_id": CLIENT,
        "secret": SECRET,
        "settings": {"server_url": server.url, "fetch_userinfo": False},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}
    }
    return server


def through(visitor: Visitor) -> HttpResponse:
    """To the provider and back, as the browser is led."""
    there = visitor.open(reverse("openid_connect_login"))["Location"]
    back = httpx.get(there, trust_env=False).headers["Location"]
    return visitor.open(f"{urlsplit(back).path}?{urlsplit(back).query}")


def test_the_log_in_page_offers_it_where_it_is_set(provider: Provider) -> None:
    page = text(Visitor().open(LOG_IN))
    assert "Log in with Example" in page
    assert reverse("openid_connect_login") in page


def test_who_has_an_account_with_the_verified_address_comes_in(provider: Provider) -> None:
    phone = with_app(person("sue", "support"))
    sue = Visitor()
    assert through(sue)["Location"] == reverse("mfa_authenticate")
    assert not sue.is_in()  # the second factor is ours to ask for
    sue.send(reverse("mfa_authenticate"), code=phone.code())
    assert sue.is_in()
    asked = provider.asked[-1]
    assert asked["redirect_uri"].endswith("/admin/account/oidc/callback/")
    assert len(asked["code_challenge"]) == 43
    assert {"openid", "email"} <= set(asked["scope"].split())
    # Nothing of what the provider says is kept, and the password stays.
    assert not SocialAccount.objects.exists()
    assert not EmailAddress.objects.exists()
    assert User.objects.get().has_usable_password()


def test_who_has_no_password_sets_a_second_factor_up(provider: Provider) -> None:
    user = person("sue", "support")
    user.set_unusable_password()
    user.save()
    sue = Visitor()
    through(sue)
    assert sue.open(HOME)["Location"] == reverse("mfa_index")
    assert sue.open(reverse("mfa_activate_totp")).status_code == 200


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        ({"email_verified": False}, NO_ACCOUNT),
        ({"email": "eve@example.com"}, NO_ACCOUNT),
        ({"email": ""}, NO_ACCOUNT),
        ({"aud": "another-client"}, NO_LOG_IN),
        ({"iss": "https://evil.example.com"}, NO_LOG_IN),
        ({"exp": 1_000_000_000}, NO_LOG_IN),
    ],
)
def test_nobody_else_comes_in(provider: Provider, said: dict[str, object], refusal: str) -> None:
    person("sue")
    provider.wrong = said
    visitor = Visitor()
    assert through(visitor)["Location"] == LOG_IN
    assert refusal in text(visitor.open(LOG_IN))
    assert not visitor.is_in()
    assert User.objects.count() == 1


def test_a_token_that_another_key_signed_is_refused(provider: Provider) -> None:
    person("sue")
    provider.forged = True
    visitor = Visitor()
    assert through(visitor)["Location"] == LOG_IN
    assert not visitor.is_in()


def test_an_account_that_is_switched_off_or_no_admins_stays_out(provider: Provider) -> None:
    sue = person("sue")
    for change in ({"is_active": False}, {"is_active": True, "is_staff": False}):
        User.objects.filter(pk=sue.pk).update(**change)
        visitor = Visitor()
        through(visitor)
        assert not visitor.is_in()


def test_two_accounts_with_one_address_are_nobodys(provider: Provider) -> None:
    person("sue")
    User.objects.create_user("sue2", "SUE@example.com", is_staff=True)
    visitor = Visitor()
    assert through(visitor)["Location"] == LOG_IN
    assert not visitor.is_in()


def test_an_answer_without_its_question_is_refused(provider: Provider) -> None:
    """Another one's code, sent to somebody's browser."""
    person("sue")
    visitor, victim = Visitor(), Visitor()
    there = visitor.open(reverse("openid_connect_login"))["Location"]
    back = urlsplit(httpx.get(there, trust_env=False).headers["Location"])
    assert parse_qs(back.query)["state"]
    assert victim.open(f"{back.path}?{back.query}")["Location"] == LOG_IN
    assert not victim.is_in()


def test_a_provider_that_is_away_or_another_gets_a_sentence(
    provider: Provider, settings: Settings
) -> None:
    [app] = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    app["settings"]["server_url"] = "http://127.0.0.1:9"
    visitor = Visitor()
    assert visitor.open(reverse("openid_connect_login"))["Location"] == LOG_IN
    assert "could not be reached" in text(visitor.open(LOG_IN))


def test_a_provider_in_the_database_counts_for_nothing() -> None:
    SocialApp.objects.create(
        provider="openid_connect", provider_id="oidc", name="Evil", client_id="x", secret="y",
        settings={"server_url": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert "Evil" not in text(Visitor().open(LOG_IN))
    assert Visitor().open(reverse("openid_connect_login")).status_code == 404


def test_the_variables_make_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "OIDC_ISSUER": "https://login.example.com/",
        "OIDC_CLIENT_ID": "id",
        "OIDC_CLIENT_SECRET": "secret",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    found = project.read_openid()
    assert found["settings"]["server_url"] == "https://login.example.com"
    assert found["name"] == "OpenID"
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "")
    with pytest.raises(project.ImproperlyConfigured, match="OIDC_CLIENT_SECRET is not set"):
        project.read_openid()

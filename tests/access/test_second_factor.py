"""Whoever may change anything needs a second factor, and each code is good once."""

from collections.abc import Iterator

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.urls import URLResolver, get_resolver, reverse
from pytest_django import Settings

from billing.access.middleware import OPEN
from billing.access.second_factor import is_required
from billing.permissions import APPROVE, OPERATIONS, SETTINGS
from tests.access.conftest import (
    HOME,
    LOG_IN,
    PASSWORD,
    Visitor,
    person,
    recovery_codes,
    text,
    with_app,
)

pytestmark = pytest.mark.django_db
SET_UP = "/admin/account/2fa/"


def test_each_permission_that_changes_something_asks_for_one() -> None:
    everything = {f"billing.{code}": row for code, row in permissions()}
    for name in (*OPERATIONS, *SETTINGS, APPROVE):
        user = User.objects.create_user(f"with-{name}", is_staff=True)
        user.user_permissions.add(everything[name])
        assert is_required(user), name
    assert is_required(person("ada", superuser=True))
    assert not is_required(person("nobody"))


def permissions() -> list[tuple[str, Permission]]:
    ours = Permission.objects.filter(content_type__app_label="billing")
    return [(row.codename, row) for row in ours]


def test_who_needs_one_gets_the_pages_to_set_it_up() -> None:
    person("sue", "support")
    visitor = Visitor()
    visitor.log_in("sue")
    assert visitor.open(HOME)["Location"] == SET_UP
    page = text(visitor.open(SET_UP))
    assert "you need a second factor" in page


def test_who_may_only_look_does_not_need_one() -> None:
    user = person("lou")
    user.user_permissions.add(Permission.objects.get(codename="view_billingcustomer"))
    visitor = Visitor()
    assert visitor.log_in("lou")["Location"] == HOME
    assert visitor.is_in()


def addresses(
    resolver: URLResolver, namespace: str = "", before: str = "", values: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    """Every page below /admin/: its name, and an address of it."""
    for each in resolver.url_patterns:
        path = before + str(each.pattern).lstrip("^")
        named = (*values, *(each.pattern.converters or each.pattern.regex.groupindex))
        if isinstance(each, URLResolver):
            inner = f"{namespace}{each.namespace}:" if each.namespace else namespace
            yield from addresses(each, inner, path, named)
        elif path.startswith("admin/") and each.name:
            name = f"{namespace}{each.name}"
            given = {one: "billing" if one == "app_label" else "1" for one in named}
            yield name, reverse(name, kwargs=given | each.default_args)


def test_until_then_there_is_no_other_page() -> None:
    """Each one there is, the finance reports' and the exports' too, by whatever method."""
    person("ada", superuser=True)
    visitor = Visitor()
    visitor.log_in("ada")
    found = {name: at for name, at in addresses(get_resolver()) if name not in OPEN}
    assert len(found) > 140
    del found["admin:login"]
    for number, (name, at) in enumerate(sorted(found.items())):
        response = visitor.send(at, action="x") if number % 2 else visitor.open(at)
        assert (response.status_code, response["Location"]) == (302, SET_UP), name
    assert visitor.open("/robots.txt").status_code == 200
    assert visitor.open("/webhooks/stripe").status_code == 405


def test_an_app_is_asked_for() -> None:
    phone = with_app(person("sue", "support"))
    visitor = Visitor()
    assert visitor.log_in("sue")["Location"] == reverse("mfa_authenticate")
    assert not visitor.is_in()
    assert visitor.send(reverse("mfa_authenticate"), code=phone.code())["Location"] == HOME
    assert visitor.is_in()


def test_a_session_from_before_without_it_is_over() -> None:
    sue = person("sue", "support")
    elsewhere = Visitor()
    elsewhere.log_in("sue")
    with_app(sue)
    assert elsewhere.open(HOME)["Location"] == LOG_IN
    assert "Log in with your second factor" in text(elsewhere.open(LOG_IN))


def test_a_code_is_good_once() -> None:
    phone = with_app(person("sue", "support"))
    first, second = Visitor(), Visitor()
    code = phone.code()
    first.log_in("sue")
    first.send(reverse("mfa_authenticate"), code=code)
    assert first.is_in()
    cache.clear()  # another process's memory knows nothing of it
    second.log_in("sue")
    assert "used already" in text(second.send(reverse("mfa_authenticate"), code=code))
    assert not second.is_in()


def test_a_recovery_code_works_once() -> None:
    sue = person("sue", "support")
    with_app(sue)
    [code, *_] = recovery_codes(sue)
    for expected in (True, False):
        visitor = Visitor()
        visitor.log_in("sue")
        visitor.send(reverse("mfa_authenticate"), code=code)
        assert visitor.is_in() is expected


def test_the_last_factor_is_not_taken_off_by_oneself() -> None:
    phone = with_app(person("sue", "support"))
    visitor = Visitor()
    visitor.enter("sue", phone)
    visitor.send(reverse("account_reauthenticate"), password=PASSWORD)
    page = visitor.send(reverse("mfa_deactivate_totp"))
    assert "cannot deactivate" in text(page)
    assert Authenticator.objects.filter(type="totp").count() == 1


def test_secrets_are_encrypted_where_they_are_stored() -> None:
    phone = with_app(person("sue", "support"))
    assert all(phone.secret not in str(row.data) for row in Authenticator.objects.all())
    assert Authenticator.objects.get(type="totp").wrap().validate_code(phone.code())


def test_another_secret_key_makes_it_unreadable_and_the_page_says_so(settings: Settings) -> None:
    phone = with_app(person("sue", "support"))
    settings.SECRET_KEY, old = "another-key-" * 6, settings.SECRET_KEY
    visitor = Visitor()
    visitor.log_in("sue")
    page = visitor.send(reverse("mfa_authenticate"), code=phone.code())
    assert "cannot be read any more" in text(page)
    settings.SECRET_KEY_FALLBACKS = [old]
    visitor.send(reverse("mfa_authenticate"), code=phone.code())
    assert visitor.is_in()


def test_without_the_setting_nothing_is_asked(settings: Settings) -> None:
    settings.SECOND_FACTOR = False
    person("ada", superuser=True)
    visitor = Visitor()
    visitor.log_in("ada")
    assert visitor.is_in()

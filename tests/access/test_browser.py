"""Log-in and one's own account in a browser: a passkey, the keyboard, a phone, the dark."""

import os
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.admin.desk import PASSWORD, PHONE, Desk
from tests.support.accessibility import violations
from tests.support.back_office import BackOffice

pytestmark = pytest.mark.browser


@pytest.fixture
def desk(back_office: BackOffice, page: Page) -> Iterator[Desk]:
    """At the address at which browsers take passkeys without TLS."""
    back_office.url = back_office.url.replace("127.0.0.1", "localhost")
    made = Desk(back_office, page)
    yield made
    assert made.errors == []


def with_key(page: Page) -> None:
    """A machine that knows its owner by the finger, and keeps passkeys."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def look(page: Page, name: str) -> None:
    """As people see it: light, dark, and on a phone, where nothing sticks out."""
    size = page.viewport_size
    for scheme in ("light", "dark"):
        page.evaluate(
            "dark => document.documentElement.classList.toggle('dark', dark)", scheme == "dark"
        )
        page.evaluate("document.getAnimations().forEach(each => each.finish())")
        assert violations(page) == [], (name, scheme)
        if shots := os.environ.get("SHOTS"):
            page.screenshot(path=f"{shots}/access-{name}-{scheme}.png", full_page=True)
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/access-{name}-phone.png", full_page=True)
    assert width <= PHONE["width"], name
    page.evaluate("document.documentElement.classList.remove('dark')")
    assert size is not None
    page.set_viewport_size(size)


def test_a_passkey_is_made_and_lets_in_without_a_password(desk: Desk) -> None:
    page = desk.page
    sue = User.objects.create_user("sue", "sue@example.com", PASSWORD, is_staff=True)
    sue.groups.set(Group.objects.filter(name__in=["support", "administrator"]))
    with_key(page)
    desk.open(reverse("admin:login"))
    expect(page.get_by_label("Username")).to_have_attribute("autofocus", "")
    look(page, "login")
    page.get_by_label("Username").focus()
    page.keyboard.type("sue")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()

    desk.open(reverse("mfa_index"))
    look(page, "factors")
    desk.open(reverse("mfa_activate_totp"))
    look(page, "app")
    desk.open(reverse("mfa_add_webauthn"))
    look(page, "passkey")
    expect(page.get_by_label("A passkey")).to_be_checked()
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Unused codes")).to_be_visible()
    look(page, "codes")
    page.get_by_label("I have saved my recovery codes").check()

    desk.open(reverse("access_sessions"))
    look(page, "sessions")
    desk.open(reverse("access_rights"))
    look(page, "rights")
    desk.open(reverse("admin:auth_user_change", args=[sue.pk]))
    look(page, "user")
    page.context.clear_cookies()
    desk.open(reverse("admin:login"))
    page.get_by_role("button", name="Log in with a passkey").click()
    expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()
    desk.open(reverse("access_log_ins"))
    look(page, "log-ins")

    page.context.clear_cookies()
    desk.open(reverse("admin:login"))
    page.get_by_label("Username").fill("sue")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Two-Factor Authentication")).to_be_visible()
    look(page, "second")
    page.get_by_role("button", name="Use a security key").click()
    expect(page.get_by_role("heading", name="Webhooks")).to_be_visible()

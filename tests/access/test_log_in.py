"""The one log-in page: who comes in by it, who is locked out and until when, and what is kept."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.usersessions.models import UserSession
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.cache import cache
from django.urls import reverse
from pytest_django import Settings

from billing.access import history, sessions
from tests.access.conftest import HOME, LOG_IN, PASSWORD, Visitor, person, text, with_app

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


def fail(visitor: Visitor, name: str = "sue", times: int = 5) -> None:
    for _ in range(times):
        answer = visitor.log_in(name, "wrong")
    assert answer.status_code in (200, 429)


def test_the_admins_log_in_is_the_one_there_is() -> None:
    assert reverse("admin:login") == reverse("account_login") == LOG_IN
    page = text(Visitor().open(LOG_IN))
    assert "Log in with a passkey" in page
    assert "sign up" not in page.lower()
    assert Visitor().open("/admin/billing/billingcustomer/")["Location"].startswith(LOG_IN)


@pytest.mark.parametrize(
    "path",
    ["signup/", "account/signup/", "account/email/", "account/3rdparty/", "account/oidc/login/"],
)
def test_nobody_signs_up(path: str) -> None:
    assert Visitor().open(f"/admin/{path}").status_code in (302, 404)
    answer = Visitor().send(f"/admin/{path}", username="eve", password1=PASSWORD)
    assert answer.status_code in (302, 404)
    assert not User.objects.exists()


def test_a_wrong_name_and_a_wrong_password_get_one_answer() -> None:
    person("sue")
    answers = [text(Visitor().log_in(name, "wrong")) for name in ("sue", "nobody-here")]
    wanted = "The username and/or password you specified are not correct."
    assert all(wanted in answer for answer in answers)


def test_who_is_not_of_the_staff_is_not_let_in() -> None:
    User.objects.create_user("joe", password=PASSWORD)
    visitor = Visitor()
    assert visitor.log_in("joe")["Location"] == LOG_IN
    assert "no access" in text(visitor.open(LOG_IN))
    assert not visitor.is_in()


def test_where_one_wanted_to_go_and_nowhere_else() -> None:
    person("lou")
    lists = "/admin/access/rights/"
    sent = {"login": "lou", "password": PASSWORD}
    assert Visitor().send(LOG_IN, **sent, next=lists)["Location"] == lists
    assert Visitor().send(LOG_IN, **sent, next="https://evil.example.com/")["Location"] == HOME


def test_five_failures_lock_a_name_at_an_address_and_the_page_says_until_when() -> None:
    person("sue")
    with time_machine.travel(NOW, tick=False):
        fail(Visitor("10.0.0.1"), times=4)
        page = text(Visitor("10.0.0.1").log_in("sue", "wrong"))
        assert "It is over at" in page
        assert "2026-03-02 09:45" in page
    with time_machine.travel(NOW + timedelta(minutes=14), tick=False):
        refused = Visitor("10.0.0.1").log_in("sue")
        assert refused.status_code == 429
        assert "2026-03-02 09:45" in text(refused)  # trying makes it no longer
        other = Visitor("10.0.0.2")
        other.log_in("sue")
        assert other.is_in()
    with time_machine.travel(NOW + timedelta(minutes=16), tick=False):
        visitor = Visitor("10.0.0.1")
        visitor.log_in("sue")
        assert visitor.is_in()


def test_wrong_codes_count_like_wrong_passwords() -> None:
    phone = with_app(person("sue", "support"))
    visitor = Visitor()
    visitor.log_in("sue")
    address = reverse("mfa_authenticate")
    for _ in range(4):
        assert "Incorrect code" in text(visitor.send(address, code="000000"))
    assert visitor.send(address, code="000000").status_code == 429
    assert visitor.send(address, code=phone.code()).status_code == 429
    assert not visitor.is_in()
    assert Visitor().log_in("sue").status_code == 429


def test_who_has_the_password_cannot_try_codes_from_everywhere() -> None:
    phone = with_app(person("sue", "support"))
    for number in range(5):
        visitor = Visitor(f"10.0.0.{number}")
        visitor.log_in("sue")
        for _ in range(2):
            visitor.send(reverse("mfa_authenticate"), code="000000")
    late = Visitor("10.0.1.1")
    late.log_in("sue")
    assert late.send(reverse("mfa_authenticate"), code=phone.code()).status_code == 429


def test_no_password_or_code_is_written_down() -> None:
    with_app(person("sue", "support"))
    visitor = Visitor()
    visitor.log_in("sue", "my-secret-typo")
    visitor.log_in("sue")
    visitor.send(reverse("mfa_authenticate"), code="123456")
    written = str(list(AccessAttempt.objects.values()) + list(AccessFailureLog.objects.values()))
    assert "my-secret-typo" not in written
    assert "123456" not in written


def test_the_history_shows_ones_own_and_to_administrators_everybodys() -> None:
    ann, _ = person("ann", "administrator"), person("sue")
    phone = with_app(ann)
    fail(Visitor("10.0.0.7"), times=5)
    sue = Visitor()
    sue.log_in("sue")
    mine = text(sue.open(reverse("access_history")))
    assert "Firefox on Linux" in mine
    assert "10.0.0.7" in mine
    assert "Failed, and locked out" in mine
    assert sue.open(reverse("access_log_ins")).status_code == 403

    office = Visitor("10.0.0.9")
    office.enter("ann", phone)
    everybody = text(office.open(reverse("access_log_ins")))
    assert "10.0.0.7" in everybody
    assert "10.0.0.9" in everybody
    only = text(office.open(reverse("access_log_ins") + "?user=ann"))
    assert "10.0.0.7" not in only
    assert "10.0.0.9" not in text(sue.open(reverse("access_history")))


def test_a_hostile_name_and_browser_are_text_on_the_page() -> None:
    phone = with_app(person("ann", "administrator"))
    evil = Visitor()
    evil.client.defaults["HTTP_USER_AGENT"] = "<script>alert(1)</script>"
    evil.log_in("<img src=x onerror=alert(2)>", "x")
    office = Visitor()
    office.enter("ann", phone)
    page = office.open(reverse("access_log_ins")).content.decode()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_the_history_has_pages_and_an_end() -> None:
    person("sue")
    AccessLog.objects.bulk_create(AccessLog(username="sue") for _ in range(120))
    visitor = Visitor()
    visitor.log_in("sue")
    first = text(visitor.open(reverse("access_history")))
    assert "Earlier" in first
    last = text(visitor.open(reverse("access_history") + "?page=3"))
    assert "Earlier" not in last
    assert "Later" in last
    assert visitor.open(reverse("access_history") + "?page=abc").status_code == 200
    old = AccessLog.objects.order_by("pk")[:20].values_list("pk", flat=True)
    AccessLog.objects.filter(pk__in=list(old)).update(attempt_time=NOW - timedelta(days=400))
    assert history.forget_old() == 20
    assert AccessLog.objects.count() == 101


def test_a_session_ends_when_it_is_not_used() -> None:
    person("sue")
    visitor = Visitor()
    with time_machine.travel(NOW, tick=False) as clock:
        visitor.log_in("sue")
        for _ in range(3):
            clock.shift(timedelta(minutes=29))
            assert visitor.is_in()
        clock.shift(timedelta(minutes=31))
        assert visitor.open(HOME)["Location"].startswith(LOG_IN)
        assert "Your session is over" in text(visitor.open(LOG_IN))


def test_a_session_ends_in_any_case() -> None:
    person("sue")
    visitor = Visitor()
    with time_machine.travel(NOW, tick=False) as clock:
        visitor.log_in("sue")
        for _ in range(24):
            clock.shift(timedelta(minutes=29))
            assert visitor.is_in()
        clock.shift(timedelta(minutes=29))
        assert not visitor.is_in()


def test_one_sees_ones_sessions_and_ends_them() -> None:
    person("sue"), person("lou")
    here, there, third, lou = Visitor(), Visitor("10.0.0.2"), Visitor("10.0.0.3"), Visitor()
    for visitor in (here, there, third):
        visitor.log_in("sue")
        assert visitor.is_in()
    lou.log_in("lou")
    assert lou.is_in()
    address = reverse("access_sessions")
    page = text(here.open(address))
    assert "10.0.0.2" in page
    assert "This one" in page
    number = str(UserSession.objects.get(ip="10.0.0.2").pk)
    lou.send(address, session=number)  # somebody else's
    assert there.is_in()
    here.send(address, session=number)
    assert not there.is_in()
    assert third.is_in()
    here.send(address, session="others")
    assert not third.is_in()
    assert here.is_in()
    assert lou.is_in()


def test_what_is_over_is_forgotten() -> None:
    person("sue")
    visitor = Visitor()
    visitor.log_in("sue")
    assert visitor.is_in()
    Session.objects.update(expire_date=NOW)
    assert sessions.forget_over() == 1
    assert not UserSession.objects.exists()


def test_a_forgotten_password_is_reset_by_letter_where_letters_go_out(settings: Settings) -> None:
    person("sue")
    address = reverse("account_reset_password")
    assert Visitor().open(address).status_code == 404
    assert "Forgotten" not in text(Visitor().open(LOG_IN))
    settings.PASSWORD_RESET = True
    visitor = Visitor()
    assert "Forgotten" in text(visitor.open(LOG_IN))
    for mail_address in ("nobody@example.com", "sue@example.com"):
        assert visitor.send(address, email=mail_address).status_code == 302
    [letter] = mail.outbox
    assert letter.to == ["sue@example.com"]
    [link] = [line for line in str(letter.body).split() if "/password/key/" in line]
    path = link[link.index("/admin/") :]
    form = visitor.open(path)["Location"]
    new = "Another-Long-passphrase-2"
    visitor.send(form, password1=new, password2=new)
    cache.clear()
    assert not visitor.is_in()  # the letter alone lets nobody in
    visitor.log_in("sue", new)
    assert visitor.is_in()
    assert visitor.open(path).status_code == 200  # and is good once
    assert "key/" in path

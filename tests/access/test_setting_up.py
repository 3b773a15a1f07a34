"""Setting a second factor up, from the first log-in on, with commits as they really are."""

from tests.access.conftest import HOME, Visitor, person
from tests.support.databases import Database


def test_an_app_is_set_up_and_lets_in(real_database: Database) -> None:
    person("sue", "support")
    desk, elsewhere = Visitor(), Visitor()
    elsewhere.log_in("sue")
    desk.log_in("sue")
    assert not desk.is_in()
    phone = desk.set_up_app()
    codes = desk.recovery_codes()
    assert len(codes) == 10
    assert desk.is_in()
    assert desk.recovery_codes() == []  # they are shown once
    assert "/login/" in elsewhere.open(HOME)["Location"]

    later = Visitor()
    later.enter("sue", phone)

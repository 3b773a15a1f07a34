"""What is done by hand from the admin: recording, overriding a status, replaying, taking notes."""

import pytest
from django.test import Client
from django.urls import reverse

from billing.admin.cells import changelist_url, page_url
from billing.admin.operations import PAGES
from billing.models import (
    BillingCustomer,
    BillingSubscription,
    InboxEvent,
    Note,
    OperationRecord,
    StatusOverride,
)
from billing.operations import approvals
from billing.operations.base import Actor, new_key
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.rows import CUSTOMER, HOSTILE, USER
from tests.admin.test_operations import address, apply, hidden, text_of
from tests.operations.shop import Shop, audits, balance, status_here
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver, events_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    made = Shop(sandbox)
    made.deliver()
    return made


def test_a_subscription_is_recorded_and_given_its_user(support: Client, shop: Shop) -> None:
    bought = shop.subscribe(attributed=False)
    sub = bought["subscription"]
    assert "Record subscription" in text_of(support.get(reverse("admin:index")))
    shown = support.post(
        address("record-subscription"),
        {"target": sub, "user_id": "u_eve", "key": new_key(), "_preview": "1"},
    )
    assert f"Subscription {sub} not here active" in text_of(shown)
    assert "Credits of user u_eve: balance 0 20" in text_of(shown)
    assert hidden(shown, "user_id") == ["u_eve"]
    assert not BillingSubscription.objects.exists()

    done = apply(support, "record-subscription", target=sub, user_id="u_eve")
    assert f"Recorded {sub} of user u_eve: it is active." in text_of(done)
    assert (status_here(sub), balance("u_eve")) == ("active", (20, 0))
    assert audits("manual.subscription_recorded")[0]["admin"] == "support"
    again = apply(support, "record-subscription", target=sub)
    assert "there is nothing to record" in text_of(again)


def test_a_status_is_set_by_hand_seen_everywhere_and_ended(log_in: LogIn, shop: Shop) -> None:
    bought = shop.subscribe()
    shop.deliver()
    sub = bought["subscription"]
    BillingSubscription.objects.update(status="canceled")
    row = BillingSubscription.objects.get()
    engineer, support = log_in("engineer"), log_in("support")
    assert "Override status" not in text_of(support.get(page_url(row)))
    assert "Override status" in text_of(engineer.get(page_url(row)))
    assert "End status override" not in text_of(engineer.get(page_url(row)))
    answers = {"target": sub, "status": "active", "hours": "12"}
    assert "sync the subscription from Stripe instead" in text_of(
        apply(engineer, "override-status", **answers)
    )

    shop.sandbox.control("faults", path="/v1/subscriptions/*", status=503)
    assert "Nothing was done yet" in text_of(apply(engineer, "override-status", **answers))
    record = OperationRecord.objects.get(name="override_status", status="requested")
    approvals.approve(record, actor=Actor.cli("carol"), words="I saw the money")
    assert status_here(sub) == "active"

    page = text_of(engineer.get(page_url(row)))
    assert "engineer set its status to active by hand" in page
    assert "End status override" in page
    assert "Override status" in page
    assert "it is set by hand already." in page
    listed = support.get(changelist_url(BillingSubscription, override="overridden"))
    assert "active (by hand)" in text_of(listed)
    assert listed.context["cl"].result_count == 1
    customer = BillingCustomer.objects.get()
    assert "active (by hand)" in text_of(support.get(page_url(customer)))
    home = text_of(support.get(reverse("admin:index")))
    assert "Statuses set by hand 1 Look: Stripe has not confirmed them." in home
    made = StatusOverride.objects.get()
    assert "In force" in text_of(support.get(changelist_url(StatusOverride)))

    shop.sandbox.control("faults", "DELETE")
    BillingSubscription.objects.update(status="past_due")
    assert "Done." in text_of(apply(engineer, "end-override", target=sub))
    assert status_here(sub) == "active"
    page = text_of(engineer.get(page_url(row)))
    assert "(by hand)" not in page
    assert "set its status to" not in page
    assert "Statuses set by hand 0 None, as it should be." in text_of(
        support.get(reverse("admin:index"))
    )
    assert "Stripe's own word" in text_of(support.get(page_url(made)))


def test_only_what_is_overridden_is_found_by_the_filter(support: Client) -> None:
    for i in range(3):
        rows.subscription(f"sub_{i}")
    rows.override("sub_1")
    rows.override("sub_2", ended_at=rows.timezone.now(), ended_by="stripe")
    listed = support.get(changelist_url(BillingSubscription, override="overridden"))
    assert [row.stripe_subscription_id for row in listed.context["cl"].result_list] == ["sub_1"]
    assert text_of(support.get(changelist_url(BillingSubscription))).count("(by hand)") == 1


def test_a_wrong_override_is_refused_in_a_sentence(log_in: LogIn) -> None:
    rows.subscription()
    engineer = log_in("engineer")
    for answers, said in (
        ({"status": "active", "hours": "73"}, "from 1 to 72"),
        ({"status": "active", "hours": ""}, "This field is required."),
        ({"status": "splendid", "hours": "1"}, "Select a valid choice"),
        ({"status": "active", "hours": "1"}, "It is active here already."),
    ):
        page = text_of(apply(engineer, "override-status", target="sub_1", **answers))
        assert said in page
    assert not StatusOverride.objects.exists()


def test_what_was_missed_is_replayed_from_one_page(support: Client, shop: Shop) -> None:
    shop.buy()
    shop.subscribe(user_id="u_bob", email="bob@example.com")
    assert "Replay what was missed" in text_of(support.get(reverse("admin:index")))
    asked = support.get(address("replay-missed"))
    assert "Nothing changes yet" in text_of(asked)
    answers = {
        "target": hidden(asked, "target")[0],
        "source": "missing",
        "since": "2020-01-01",
        "until": "2999-01-01",
        "types": "checkout.session.completed, invoice.*",
        "key": hidden(asked, "key")[0],
    }
    shown = support.post(address("replay-missed"), {**answers, "_preview": "1"})
    page = text_of(shown)
    assert "of type checkout.session.completed or invoice.* since 2020-01-01" in page
    assert "2 checkout.session.completed" in page
    assert "Credits of user u_ada: balance 0 50" in page
    assert balance("u_ada") == (0, 0)
    assert hidden(shown, "types") == [answers["types"]]

    done = text_of(apply(support, "replay-missed", **answers, seen=hidden(shown, "seen")[0]))
    assert "events were replayed." in done
    assert (balance("u_ada"), balance("u_bob")) == ((50, 0), (20, 0))
    again = text_of(apply(support, "replay-missed", **answers))
    assert "Already done" in again
    assert "Nothing is missing" in text_of(
        apply(support, "replay-missed", **{**answers, "key": new_key()})
    )
    assert len(audits("manual.event_replay")) == 1


def test_the_dead_of_the_inbox_are_replayed_too(support: Client, shop: Shop) -> None:
    shop.buy()
    deliver(events_of(shop.sandbox))
    InboxEvent.objects.filter(type="checkout.session.completed").update(status="dead", reason="x")
    answers = {"target": "missed", "source": "inbox", "since": "2020-01-01"}
    assert "dead: x" in text_of(support.get(address("replay-missed"), answers))
    assert "Done." in text_of(apply(support, "replay-missed", **answers))
    assert balance("u_ada") == (50, 0)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"source": "missing", "since": ""}, "This field is required."),
        ({"source": "missing", "since": "soon"}, "no date or time"),
        ({"source": "galaxy", "since": "2020-01-01"}, "Select a valid choice"),
        ({"source": "missing", "since": "2020-01-01", "types": "*"}, "no type of event"),
        ({"source": "missing", "since": "2020-01-01", "customer": "x"}, "begin with cus_"),
        ({"source": "missing", "since": "2020-01-01", "until": "2019-01-01"}, "ends before"),
    ],
)
def test_a_wrong_search_is_refused_in_a_sentence(
    support: Client, answers: dict[str, str], said: str
) -> None:
    for button in ("_preview", "_apply"):
        data = {"key": new_key(), "reason": "x", "reason_code": "other", "target": "missed"}
        response = support.post(address("replay-missed"), {**data, **answers, button: "1"})
        assert said in text_of(response)


def test_a_note_is_written_seen_and_withdrawn(support: Client) -> None:
    customer = rows.customer()
    page = support.get(page_url(customer))
    assert PAGES["add-note"].url({"target": CUSTOMER}).split("?")[0] in page.content.decode()
    text = f"First line\r\nSecond line {HOSTILE}"
    shown = support.post(
        address("add-note"), {"target": CUSTOMER, "text": text, "key": new_key(), "_preview": "1"}
    )
    assert HOSTILE not in shown.content.decode()
    [kept] = hidden(shown, "text")
    assert "Done." in text_of(apply(support, "add-note", target=CUSTOMER, text=kept))
    note = Note.objects.get()
    assert note.text == text.replace("\r\n", "\n")
    assert (note.actor, note.user_id) == ("support", USER)

    page = support.get(page_url(customer))
    assert "Second line" in text_of(page)
    assert HOSTILE not in page.content.decode()
    assert "<del>" not in page.content.decode()
    assert "Withdraw note" in text_of(support.get(page_url(note)))
    done = apply(support, "withdraw-note", target=str(note.pk))
    assert "was withdrawn" in text_of(done)
    page = support.get(page_url(customer))
    assert "<del>" in page.content.decode()
    assert "Withdrawn by support" in text_of(page)
    assert "it was withdrawn." in text_of(support.get(page_url(note)))


def test_notes_are_on_every_customer_of_the_user_the_newest_first(support: Client) -> None:
    first, second = rows.customer(), rows.customer(id_="cus_work")
    stranger = rows.customer("u_bob", "cus_bob")
    rows.note("An old note")
    rows.note("A new note", stripe_customer_id="")
    for customer in (first, second):
        page = text_of(support.get(page_url(customer)))
        assert 0 < page.index("A new note") < page.index("An old note")
    assert "An old note" not in text_of(support.get(page_url(stranger)))

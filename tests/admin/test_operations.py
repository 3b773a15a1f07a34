"""Running the operations from the admin: shown first, done once, by those who may."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from billing.admin import operations
from billing.admin.cells import changelist_url, page_url
from billing.admin.forms import MOST_TARGETS
from billing.admin.operations import ALL, PAGES
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    BulkJob,
    CreditEntry,
    InboxEvent,
    LeadCredits,
    OperationRecord,
    Purchase,
)
from billing.operations import bulk, registry
from billing.operations.base import new_key
from billing.permissions import OPERATIONS
from tests.admin import rows
from tests.admin.conftest import LogIn
from tests.admin.rows import CUSTOMER, HOSTILE, USER
from tests.operations.shop import Shop, audits, balance, status_here
from tests.sandbox.server import SandboxProcess
from tests.support.events import deliver, events_of

pytestmark = pytest.mark.django_db

# Enough answers for each page to be applied.
ANSWERS = {
    "sync": {"kind": "customer", "target": CUSTOMER},
    "sync-everything": {"target": "everything"},
    "grant-credits": {"target": USER, "amount": "50"},
    "correct-balance": {"target": USER, "balance": "50"},
    "reactivate": {"target": "sub_1"},
    "replay": {"target": "evt_1"},
    "replay-missed": {"target": "missed", "source": "missing", "since": "2026-01-01"},
    "record-subscription": {"target": "sub_1"},
    "override-status": {"target": "sub_1", "status": "active", "hours": "1"},
    "end-override": {"target": "sub_1"},
    "add-note": {"target": CUSTOMER, "text": "Pays by wire"},
    "withdraw-note": {"target": "1"},
    "cancel": {"target": "sub_1"},
    "resend-invoice": {"target": "in_1"},
    "pay-invoice": {"target": "in_1"},
    "mark-invoice-paid": {"target": "in_1", "evidence": "Transfer 1"},
    "void-invoice": {"target": "in_1"},
    "portal-link": {"target": CUSTOMER},
    "billing-link": {"target": CUSTOMER, "hours": "48"},
    "checkout-link": {"target": CUSTOMER, "price": "price_1"},
    "grant-purchase": {"target": "cs_1", "user_id": USER},
    "attribute-payment": {"target": "cs_1", "user_id": USER},
    "refund-claim": {"target": "claim:1"},
    "take-back-credits": {"target": USER, "amount": "-50", "grant": "op_1"},
    "tie-out-balance": {"target": USER},
    "erase-customer": {"target": CUSTOMER},
    "merge-customers": {"target": CUSTOMER, "gone": "cus_other"},
    "take-finding": {"target": "1"},
    "snooze-finding": {"target": "1", "until": "2026-03-01"},
    "accept-finding": {"target": "1"},
    "reopen-finding": {"target": "1"},
    "fix-finding": {"target": "1"},
    "start-reconciliation": {"target": "daily"},
    "sign-off-run": {"target": "1"},
    "open-incident": {"target": "No webhooks come in", "started_at": "2026-01-01"},
    "hand-over-incident": {"target": "1"},
    "note-incident": {"target": "1", "text": "It began at nine."},
    "tell-of-incident": {"target": "1", "to": "team", "message": "We are at it."},
    "close-incident": {"target": "1", "report": "All was replayed."},
    "make-backup": {"target": "database"},
    "assess": {"target": "whole"},
    "start-recovery": {"target": "2026-01-01", "what": "critical"},
    "check-month": {"target": "2026-01"},
    "sign-month": {"target": "2026-01", "explanation": "Nothing happened yet."},
    "review-month": {"target": "2026-01"},
    "reopen-month": {"target": "2026-01"},
    "change-rights": {"target": "sue", "which": "there", "roles": "support"},
    "switch-off-account": {"target": "sue"},
    "switch-on-account": {"target": "sue"},
    "reset-second-factor": {"target": "sue"},
}
# What finance does besides looking.
FOR_FINANCE = {
    "take-finding", "snooze-finding", "accept-finding", "reopen-finding", "start-reconciliation",
    "sign-off-run", "check-month", "sign-month", "review-month", "reopen-month",
}  # fmt: skip
FOR_ADMINISTRATORS = (
    "change-rights", "switch-off-account", "switch-on-account", "reset-second-factor",
)  # fmt: skip
each_page = pytest.mark.parametrize("name", sorted(PAGES))


def address(name: str) -> str:
    return reverse("admin:billing_operation", args=[name])


def text_of(response: HttpResponse) -> str:
    """What a person reads on the page."""
    assert response.status_code == 200
    content = re.sub(r"<(script|style)\b.*?</\1>", "", response.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", content)).split())


def hidden(response: HttpResponse, name: str) -> list[str]:
    """The values of the page's hidden fields of a name."""
    found = re.findall(r"<input[^>]*>", response.content.decode())
    mine = [tag for tag in found if f'name="{name}"' in tag and 'type="hidden"' in tag]
    return [unescape(re.search(r'value="([^"]*)"', tag)[1]) for tag in mine]


def apply(client: Client, name: str, **answers: str | list[str]) -> HttpResponse:
    """What the page's button sends."""
    data = {
        "key": new_key(), "reason": "The customer called", "reason_code": "other", **answers,
        "_apply": "1",
    }  # fmt: skip
    return client.post(address(name), data)


def select(client: Client, model: type[Model], action: str, picked: list[Model]) -> HttpResponse:
    """What a list sends when an action is run on selected rows."""
    data = {"action": action, "index": "0", "_selected_action": [str(row.pk) for row in picked]}
    return client.post(changelist_url(model), data)


def nothing_happened() -> bool:
    return not (
        OperationRecord.objects.exists()
        or CreditEntry.objects.exists()
        or BillingEvent.objects.filter(type__startswith="manual.").exists()
    )


def test_every_operation_has_a_page_and_answers_here() -> None:
    assert set(ANSWERS) == set(PAGES)
    assert len(ALL) == len(PAGES)
    assert {page.operation for page in PAGES.values()} == set(registry.ALL)
    assert {one.permission for one in registry.ALL} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "nobody") for name in sorted(PAGES)),
        *((name, "finance") for name in sorted(set(PAGES) - FOR_FINANCE)),
        *((name, "engineer") for name in ("sign-off-run", "sign-month", "review-month")),
        *((name, "support") for name in ("sign-off-run", "override-status")),
        *((name, "engineer") for name in FOR_ADMINISTRATORS),
        ("grant-credits", "administrator"),
    ],
)
def test_who_may_not_is_refused_whatever_is_sent(log_in: LogIn, name: str, role: str) -> None:
    client = log_in(role)
    data = {**ANSWERS[name], "key": new_key(), "reason": "x", "reason_code": "other"}
    for response in (
        client.get(address(name)),
        client.get(address(name), ANSWERS[name]),
        client.post(address(name), data),
        client.post(address(name), {**data, "_apply": "1"}),
        client.post(address(name), {**data, "_change": "1"}),
    ):
        assert response.status_code == 403
        assert "Your role does not have the permission" in response.content.decode()
    assert nothing_happened()


@each_page
def test_strangers_are_sent_to_the_log_in(client: Client, name: str) -> None:
    for response in (client.get(address(name)), apply(client, name, **ANSWERS[name])):
        assert response["Location"].startswith(reverse("admin:login"))
    assert nothing_happened()


@each_page
def test_a_form_from_elsewhere_is_refused(log_in: LogIn, name: str) -> None:
    response = apply(log_in("superuser", enforce_csrf_checks=True), name, **ANSWERS[name])
    assert response.status_code == 403
    assert "nothing was changed" in response.content.decode()
    assert nothing_happened()


@each_page
def test_an_address_alone_changes_nothing(log_in: LogIn, name: str) -> None:
    client = log_in("superuser")
    answers = {**ANSWERS[name], "key": new_key(), "reason": "x", "reason_code": "other"}
    for button in ("", "_preview", "_apply", "_change"):
        assert client.get(address(name), {**answers, button: "1"}).status_code == 200
    assert nothing_happened()


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_are_refused(support: Client, method: str) -> None:
    assert getattr(support, method)(address("replay")).status_code == 405


def test_an_unknown_operation_is_not_found(support: Client) -> None:
    assert support.get(address("no-such")).status_code == 404


def test_a_grant_is_asked_for_shown_and_applied(support: Client) -> None:
    row = rows.customer()
    rows.grant(USER, 20)
    page = text_of(support.get(page_url(row)))
    assert "Grant credits" in page

    asked = support.get(address("grant-credits"), {"target": USER, "back": page_url(row)})
    assert "Nothing changes yet" in text_of(asked)
    [key] = hidden(asked, "key")

    answers = {"target": USER, "amount": "50", "purchase": "", "key": key, "back": page_url(row)}
    shown = support.post(address("grant-credits"), {**answers, "_preview": "1"})
    assert "Grant 50 credits to user u_ada." in text_of(shown)
    assert "Balance 20 70" in text_of(shown)
    assert hidden(shown, "key") == [key]
    assert hidden(shown, "amount") == ["50"]
    assert balance(USER) == (20, 0)

    done = apply(support, "grant-credits", **answers)
    assert "Done." in text_of(done)
    assert "Balance 20 70" in text_of(done)
    assert page_url(row) in done.content.decode()
    assert balance(USER) == (70, 0)
    [audit] = audits("manual.credit_adjustment")
    assert (audit["admin"], audit["reason"]) == ("support", "The customer called")
    record = OperationRecord.objects.get(key__startswith=key)
    assert page_url(record) in done.content.decode()
    assert "manual.credit_adjustment" in text_of(support.get(page_url(record)))


def test_the_second_click_finds_what_the_first_did(support: Client) -> None:
    answers = {"target": USER, "amount": "50", "key": new_key()}
    assert "Done." in text_of(apply(support, "grant-credits", **answers))
    for _ in range(2):
        again = text_of(apply(support, "grant-credits", **answers))
        assert "Already done: this was applied before, and was not done again." in again
        assert "Done." not in again
    assert balance(USER) == (50, 0)
    assert len(audits("manual.credit_adjustment")) == 1


def test_a_used_form_with_other_answers_is_refused(support: Client) -> None:
    key = new_key()
    apply(support, "grant-credits", target=USER, amount="50", key=key)
    page = text_of(apply(support, "grant-credits", target=USER, amount="60", key=key))
    assert "This form was already used for something else. Open it again." in page
    assert balance(USER) == (50, 0)


@pytest.mark.parametrize("reason", ["", "   "])
def test_without_a_reason_nothing_is_applied(support: Client, reason: str) -> None:
    response = apply(support, "grant-credits", target=USER, amount="50", reason=reason)
    assert "This field is required." in text_of(response)
    assert "Grant 50 credits to user u_ada." in text_of(response)
    assert nothing_happened()


def test_changing_ones_mind_keeps_the_answers(support: Client) -> None:
    answers = {"target": USER, "amount": "50", "reason": "Because", "key": new_key()}
    response = support.post(address("grant-credits"), {**answers, "_change": "1"})
    page = response.content.decode()
    assert 'value="50"' in page
    assert hidden(response, "reason") == ["Because"]
    assert hidden(response, "key") == [answers["key"]]
    assert nothing_happened()


@pytest.mark.parametrize(
    ("name", "answers", "said"),
    [
        ("grant-credits", {"target": "", "amount": "5"}, "This field is required."),
        ("grant-credits", {"target": USER, "amount": ""}, "This field is required."),
        ("grant-credits", {"target": USER, "amount": "five"}, "Enter a whole number."),
        ("grant-credits", {"target": USER, "amount": "0"}, "The amount must be from 1"),
        ("grant-credits", {"target": USER, "amount": "-5"}, "The amount must be from 1"),
        ("grant-credits", {"target": USER, "amount": "9" * 40}, "The amount must be"),
        ("grant-credits", {"target": "x" * 300, "amount": "5"}, "at most 255 characters"),
        ("grant-credits", {"target": "a\x00b", "amount": "5"}, "no NUL"),
        (
            "grant-credits",
            {"target": USER, "amount": "5", "purchase": "ch_1"},
            "is not an id that is asked for here",
        ),
        ("correct-balance", {"target": USER, "balance": "-1"}, "The balance must be from 0"),
        ("correct-balance", {"target": USER, "balance": "0"}, "is 0 already"),
        ("reactivate", {"target": "cus_1"}, "is not an id that is asked for here"),
        ("replay", {"target": HOSTILE}, "is not an id that is asked for here"),
        ("sync", {"kind": "galaxy", "target": "x"}, "Select a valid choice"),
        ("sync", {"kind": "invoice", "target": "sub_1"}, "is not an id that is asked for here"),
        ("sync", {"kind": "user", "target": "u_unknown"}, "No customer of user u_unknown"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    support: Client, name: str, answers: dict[str, str], said: str
) -> None:
    data = {"key": new_key(), "reason": "x", "reason_code": "other", **answers}
    for button in ("_preview", "_apply"):
        response = support.post(address(name), {**data, button: "1"})
        assert said in text_of(response)
        assert HOSTILE not in response.content.decode()
    assert not CreditEntry.objects.exists()
    assert not BillingEvent.objects.filter(type__startswith="manual.").exists()


@pytest.mark.parametrize("key", ["", "op_1", "x" * 300, f"op_{'g' * 32}"])
def test_a_damaged_key_is_refused(support: Client, key: str) -> None:
    response = apply(support, "grant-credits", target=USER, amount="5", key=key)
    assert response.status_code == 200
    assert nothing_happened()


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_the_way_back_leads_nowhere_else(support: Client, back: str) -> None:
    for response in (
        support.get(address("grant-credits"), {"back": back}),
        apply(support, "grant-credits", target=USER, amount="5", back=back),
    ):
        assert f'href="{back}"' not in response.content.decode()


def test_without_stripe_the_page_says_so(support: Client) -> None:
    """The tests' settings lead to a port where nothing listens."""
    response = support.get(address("sync"), ANSWERS["sync"])
    assert "Stripe could not be reached" in text_of(response)
    assert 'name="_apply"' not in response.content.decode()


# Each operation where it is offered, and what it asks about the row.
OFFERED: list[tuple[str, Callable[[], Model], dict[str, str]]] = [
    ("sync", rows.customer, {"target": CUSTOMER, "kind": "customer"}),
    ("sync", rows.subscription, {"target": "sub_1", "kind": "subscription"}),
    ("sync", rows.invoice, {"target": "in_1", "kind": "invoice"}),
    ("sync", rows.purchase, {"target": CUSTOMER, "kind": "customer"}),
    ("grant-credits", rows.customer, {"target": USER}),
    ("grant-credits", lambda: balance_row(), {"target": USER}),
    (
        "grant-credits",
        lambda: rows.purchase(status=Purchase.Status.UNPRICED, credits=None),
        {"target": USER, "purchase": "cs_1"},
    ),
    ("correct-balance", rows.customer, {"target": USER}),
    ("correct-balance", lambda: balance_row(), {"target": USER}),
    ("reactivate", rows.subscription, {"target": "sub_1"}),
    ("replay", rows.inbox_event, {"target": "evt_1"}),
    ("replay", rows.event, {"target": "evt_1"}),
    ("cancel", rows.subscription, {"target": "sub_1"}),
    ("resend-invoice", lambda: rows.invoice(status="open"), {"target": "in_1"}),
    ("pay-invoice", lambda: rows.invoice(status="open"), {"target": "in_1"}),
    ("mark-invoice-paid", lambda: rows.invoice(status="open"), {"target": "in_1"}),
    ("void-invoice", lambda: rows.invoice(status="open"), {"target": "in_1"}),
    ("portal-link", rows.customer, {"target": CUSTOMER}),
    ("portal-link", rows.subscription, {"target": CUSTOMER}),
    (
        "checkout-link",
        lambda: rows.subscription(status="canceled"),
        {"target": CUSTOMER, "price": "price_1"},
    ),
    ("checkout-link", rows.customer, {"target": CUSTOMER}),
    ("add-note", rows.customer, {"target": CUSTOMER}),
]  # fmt: skip


def balance_row() -> LeadCredits:
    rows.grant(USER, 5)
    return LeadCredits.objects.get(user_id=USER)


@pytest.mark.parametrize(("name", "make", "answers"), OFFERED)
def test_operations_are_offered_on_pages_and_lists(
    log_in: LogIn, name: str, make: Callable[[], Model], answers: dict[str, str]
) -> None:
    row = make()
    for role, expected in (("support", True), ("finance", False)):
        client = log_in(role)
        page = client.get(page_url(row)).content.decode()
        link = f'href="{PAGES[name].url({**answers, "back": page_url(row)})}"'.replace("&", "&amp;")
        assert (link in page) == expected
        listed = client.get(changelist_url(type(row))).content.decode()
        assert (f'<option value="{name}"' in listed) == expected

    picked = select(log_in("support"), type(row), name, [row])
    assert address(name) in picked.content.decode()
    assert f'value="{answers["target"]}"' in picked.content.decode() or (
        f" {answers['target']} " in text_of(picked)  # it cannot be planned: Stripe is not there
    )
    refused = select(log_in("finance"), type(row), name, [row])
    assert address(name) not in refused.content.decode()
    assert not OperationRecord.objects.exists()


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("reactivate", lambda: rows.subscription(status="canceled"), "that is final"),
        ("reactivate", lambda: rows.subscription(status="incomplete_expired"), "that is final"),
        ("grant-credits", rows.purchase, "this purchase has its credits"),
        ("cancel", lambda: rows.subscription(status="canceled"), "that is final"),
        ("cancel", lambda: rows.subscription(cancel_at_period_end=True), "scheduled already"),
        ("resend-invoice", rows.invoice, "there is nothing to ask the customer for"),
        ("pay-invoice", lambda: rows.invoice(status="void"), "nobody owes it"),
        ("mark-invoice-paid", rows.invoice, "It is paid already."),
        ("void-invoice", lambda: rows.invoice(status="draft"), "until it is open, then void it"),
        ("portal-link", lambda: rows.customer(deleted=True), "was deleted at Stripe"),
        ("checkout-link", rows.subscription, "It has not ended."),
        ("checkout-link", lambda: rows.customer(deleted=True), "was deleted at Stripe"),
        (
            "replay",
            lambda: rows.event(None, type="manual.sync"),
            "only Stripe's events can be replayed",
        ),
        (
            "replay",
            lambda: rows.inbox_event(status=InboxEvent.Status.SET_ASIDE, reason="Of another mode."),
            "Of another mode.",
        ),
    ],
)
def test_where_it_makes_no_sense_there_is_a_sentence_instead(
    support: Client, name: str, make: Callable[[], Model], said: str
) -> None:
    response = support.get(page_url(make()))
    assert said in text_of(response)
    assert f'href="{address(name)}' not in response.content.decode()


def test_a_user_without_a_balance_can_be_granted_credits(support: Client) -> None:
    row = rows.customer()
    assert not LeadCredits.objects.exists()
    assert f"target={USER}" in support.get(page_url(row)).content.decode()
    apply(support, "grant-credits", target=USER, amount="7")
    assert balance(USER) == (7, 0)


def test_an_unattributed_purchase_asks_for_the_user(support: Client) -> None:
    row = rows.purchase(user_id=None, status=Purchase.Status.UNATTRIBUTED)
    response = support.get(PAGES["grant-credits"].url({"purchase": row.source, "amount": "50"}))
    page = response.content.decode()
    assert "Nothing changes yet" in text_of(response)
    assert 'value="cs_1"' in page
    done = apply(support, "grant-credits", target=USER, amount="50", purchase="cs_1")
    assert "Done." in text_of(done)
    row.refresh_from_db()
    assert (row.status, row.user_id) == (Purchase.Status.GRANTED, USER)
    assert CreditEntry.objects.get().source == "checkout:cs_1"
    again = apply(support, "grant-credits", target=USER, amount="50", purchase="cs_1")
    assert "has its credits already" in text_of(again)
    assert balance(USER) == (50, 0)


def test_several_rows_have_a_result_each(support: Client) -> None:
    picked = [rows.customer(f"u_{i}", f"cus_{i}") for i in range(3)]
    rows.grant("u_1", 5)
    asked = select(support, BillingCustomer, "correct-balance", picked)
    assert set(hidden(asked, "target")) == {"u_0", "u_1", "u_2"}
    answers = {"target": hidden(asked, "target"), "balance": "5", "key": hidden(asked, "key")[0]}
    shown = support.post(address("correct-balance"), {**answers, "_preview": "1"})
    assert text_of(shown).count("Set the balance of user") == 3
    assert "The balance of user u_1 is 5 already." in text_of(shown)
    assert set(hidden(shown, "target")) == {"u_0", "u_2"}

    done = apply(support, "correct-balance", **answers)
    assert text_of(done).count("Done.") == 2
    assert "The balance of user u_1 is 5 already." in text_of(done)
    assert {balance(f"u_{i}") for i in range(3)} == {(5, 0)}
    assert OperationRecord.objects.filter(status=OperationRecord.Status.APPLIED).count() == 2


def test_a_form_takes_a_hundred_targets_at_most(support: Client) -> None:
    targets = [f"u_{i}" for i in range(MOST_TARGETS + 1)]
    response = apply(support, "grant-credits", target=targets, amount="1")
    assert "That is too many at once: at most 100. Choose fewer." in text_of(response)
    assert nothing_happened()


def test_rows_that_need_answers_of_their_own_go_one_by_one(support: Client) -> None:
    both = [rows.purchase("cs_1"), rows.purchase("cs_2", credits=100)]
    response = select(support, Purchase, "grant-credits", both)
    assert "takes these one at a time" in text_of(support.get(response["Location"]))
    nobodys = [rows.customer(None, "cus_1", email="x@example.com"), rows.customer("u", "cus_2")]
    response = select(support, BillingCustomer, "grant-credits", nobodys)
    page = text_of(support.get(response["Location"]))
    assert "It is not known whose these are: x@example.com. Open them one by one." in page


def test_what_takes_long_goes_on_when_asked_to(
    support: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "PLAN_SECONDS", 0)
    targets = [f"u_{i}" for i in range(3)]
    answers = {"target": targets, "amount": "5", "key": new_key()}
    shown = support.post(address("grant-credits"), {**answers, "_preview": "1"})
    assert text_of(shown).count("This one was not looked at yet") == 3
    assert hidden(shown, "target") == targets

    monkeypatch.setattr(operations, "APPLY_SECONDS", 0)
    waiting = apply(support, "grant-credits", **answers)
    assert text_of(waiting).count("Not done yet.") == 3
    assert "Go on with the other 3" in text_of(waiting)
    assert hidden(waiting, "reason") == ["The customer called"]

    monkeypatch.setattr(operations, "APPLY_SECONDS", 60)
    done = apply(support, "grant-credits", **answers)
    assert text_of(done).count("Done.") == 3
    assert {balance(target) for target in targets} == {(5, 0)}


@pytest.fixture
def shop(sandbox: SandboxProcess) -> Shop:
    made = Shop(sandbox)
    made.deliver()
    return made


def test_a_dead_event_is_replayed(support: Client, shop: Shop) -> None:
    shop.buy()
    event = shop.event_of("checkout.session.completed")
    deliver(events_of(shop.sandbox))
    row = InboxEvent.objects.get(stripe_event_id=event)
    InboxEvent.objects.filter(pk=row.pk).update(status=InboxEvent.Status.DEAD, reason="It failed")
    shown = support.get(address("replay"), {"target": event})
    assert "Credits of user u_ada: balance 0 50" in text_of(shown)
    assert balance("u_ada") == (0, 0)
    done = apply(support, "replay", target=event)
    assert "+50 credits for user u_ada" in text_of(done)
    assert balance("u_ada") == (50, 0)
    again = text_of(apply(support, "replay", target=event))
    assert "Done." in again
    assert balance("u_ada") == (50, 0)
    assert "Processed." in text_of(support.get(page_url(row)))
    assert len(audits("manual.event_replay")) == 2


def test_a_subscription_is_synced_and_reactivated(support: Client, shop: Shop) -> None:
    told = shop.subscribe()
    shop.deliver()
    subscription = told["subscription"]
    shop.sandbox.story("cancel", subscription=subscription, at_period_end=True)
    shown = support.get(address("sync"), {"kind": "subscription", "target": subscription})
    assert "cancel_at_period_end no yes" in text_of(shown)
    assert "Done." in text_of(apply(support, "sync", kind="subscription", target=subscription))
    row = BillingSubscription.objects.get(stripe_subscription_id=subscription)
    assert row.cancel_at_period_end
    assert "A cancellation is scheduled." in text_of(support.get(page_url(row)))

    shown = text_of(support.get(address("reactivate"), {"target": subscription}))
    assert "At Stripe" in shown
    assert "Done." in text_of(apply(support, "reactivate", target=subscription))
    row.refresh_from_db()
    assert not row.cancel_at_period_end
    assert not shop.at_stripe(subscription)["cancel_at_period_end"]
    assert status_here(subscription) == "active"


def test_everything_is_synced_in_the_background(support: Client, shop: Shop) -> None:
    shop.subscribe()
    shop.buy()
    assert "Sync everything from Stripe" in text_of(support.get(reverse("admin:index")))
    key = new_key()
    started = [apply(support, "sync-everything", target="everything", key=key) for _ in range(2)]
    job = BulkJob.objects.get()
    assert {answer["Location"] for answer in started} == {page_url(job)}
    assert "0 of 1" in text_of(support.get(page_url(job)))
    assert not bulk.work(job.pk, seconds=60)
    page = text_of(support.get(page_url(job)))
    assert "1 of 1" in page
    assert "objects from Stripe" in page
    assert BillingInvoice.objects.exists()
    assert balance("u_ada") == (70, 0)


def test_a_role_that_is_taken_away_counts_at_once(support: Client) -> None:
    answers = {"target": USER, "amount": "5", "key": new_key()}
    shown = support.post(address("grant-credits"), {**answers, "_preview": "1"})
    assert shown.status_code == 200
    User.objects.get(username="support").groups.clear()
    assert apply(support, "grant-credits", **answers).status_code == 403
    assert nothing_happened()

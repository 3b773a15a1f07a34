"""The lists and the rows' own pages: seen, found, linked, and never edited."""

from collections.abc import Callable
from html import escape, unescape
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import label_for_field
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from unfold.templatetags import unfold_list

from billing.admin import anything, base, cells
from billing.admin.cells import changelist_url, page_url
from billing.admin.operations import PAGES
from billing.models import (
    BillingCustomer,
    BillingEvent,
    BillingInvoice,
    BillingSubscription,
    CreditEntry,
    InboxEvent,
    LeadCredits,
    MonthClose,
    Purchase,
    ReasonCode,
)
from tests.admin import rows
from tests.admin.conftest import LogIn, count_queries, log_in_as
from tests.admin.rows import CUSTOMER, EDITED, HOSTILE, MODELS, USER

pytestmark = pytest.mark.django_db

HOSTILE_RUN = {
    "status": "running",
    "counts": {HOSTILE: {"stripe": 1}},
    "report": {HOSTILE: {HOSTILE: [{HOSTILE: HOSTILE}], "timezone": HOSTILE}},
}
FOR_FINANCE = (MonthClose,)  # what support does not see
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
View = type[Model]


def page_of(client: Client, row: Model) -> str:
    response = client.get(page_url(row))
    assert response.status_code == 200
    return response.content.decode()


def list_of(client: Client, model: View, **query: str) -> str:
    response = client.get(changelist_url(model, **query))
    assert response.status_code == 200
    return response.content.decode()


def ids_in_list(client: Client, model: View, **query: str) -> set[object]:
    response = client.get(changelist_url(model, **query))
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def reader(model: View) -> Client:
    """Somebody who sees its rows."""
    return log_in_as("finance" if model in FOR_FINANCE else "support")


@each_model
@pytest.mark.parametrize("role", ["support", "finance", "engineer", "superuser"])
def test_every_role_sees_every_list_and_page(log_in: LogIn, model: View, role: str) -> None:
    rows.fill(2)
    client = log_in(role)
    if role == "support" and model in FOR_FINANCE:
        assert client.get(changelist_url(model)).status_code == 403
        assert client.get(page_url(rows.all_of(model)[0])).status_code == 403
        return
    list_of(client, model)
    for row in rows.all_of(model):
        page_of(client, row)


@each_model
def test_nobody_without_a_role_sees_anything(log_in: LogIn, model: View) -> None:
    rows.fill(1)
    client = log_in("nobody")
    assert client.get(changelist_url(model)).status_code == 403
    assert client.get(page_url(rows.all_of(model)[0])).status_code == 403


@each_model
def test_strangers_are_asked_to_log_in(client: Client, model: View) -> None:
    response = client.get(changelist_url(model))
    assert response.status_code == 302
    assert response["Location"].startswith(reverse("admin:login"))


@pytest.mark.parametrize(
    "model", [m for m in MODELS if m not in EDITED], ids=lambda model: model.__name__
)
def test_rows_are_not_edited_here(log_in: LogIn, model: View) -> None:
    rows.fill(1)
    client = log_in("superuser")
    row = rows.all_of(model)[0]
    name = f"admin:billing_{model._meta.model_name}"
    assert client.get(reverse(f"{name}_add")).status_code == 403
    assert client.post(reverse(f"{name}_add"), {}).status_code == 403
    assert client.post(page_url(row), {"user_id": "other"}).status_code == 403
    assert client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    assert model._default_manager.filter(pk=row.pk).exists()


def test_a_list_costs_the_same_however_many_rows_it_shows() -> None:
    def costs() -> dict[View, int]:
        return {
            model: count_queries(lambda: list_of(clients[model], model))  # noqa: B023
            for model in MODELS
        }

    clients = {model: reader(model) for model in MODELS}
    rows.fill(3)
    few = costs()
    rows.fill(57, start=3)
    assert costs() == few
    assert {model: cost for model, cost in few.items() if cost > 12} == {}


def test_a_page_costs_the_same_however_much_belongs_to_it(support: Client) -> None:
    def costs() -> list[int]:
        return [count_queries(lambda: page_of(support, row)) for row in found]  # noqa: B023

    rows.fill(3)
    found: list[Model] = [
        BillingCustomer.objects.get(stripe_customer_id=CUSTOMER),
        BillingSubscription.objects.get(stripe_subscription_id="sub_1"),
        BillingInvoice.objects.get(stripe_invoice_id="in_1"),
        Purchase.objects.get(source="cs_1"),
        LeadCredits.objects.get(user_id=USER),
        InboxEvent.objects.get(stripe_event_id="evt_1"),
        BillingEvent.objects.get(stripe_event_id="evt_1"),
        CreditEntry.objects.get(source="checkout:cs_1"),
    ]
    few = costs()
    rows.fill(57, start=3)
    assert costs() == few
    of_the_customer, *others = few
    assert of_the_customer <= 30  # who is examined as a whole
    assert max(others) <= 20


def test_counting_stops_where_it_would_take_long(
    support: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(12)
    monkeypatch.setattr(base, "MOST_COUNTED", 10)
    page = list_of(support, BillingInvoice)
    assert "the first 10 rows" in page
    assert "10 results" not in page
    page = list_of(support, BillingInvoice, q="in_3")
    assert "1 row" in page
    assert "1 result " in page


@each_model
def test_what_an_empty_list_means_is_said(model: View) -> None:
    ReasonCode.objects.all().delete()  # the only ones that come with the tables
    page = list_of(reader(model), model)
    assert "Nothing here yet" in page
    assert admin.site._registry[model].empty_text.split(".")[0] in page.replace("&#x27;", "'")


def test_a_search_without_a_result_says_so(support: Client) -> None:
    rows.fill(1)
    page = list_of(support, BillingInvoice, q="in_unknown")
    assert "Nothing here has “in_unknown”" in page


@pytest.mark.parametrize(
    "term",
    [
        "ada@example.com", "ADA@Example", "ada", USER, CUSTOMER, "sub_1", "in_1", "cs_1",
        "pi_of_cs_1", "re_1", "evt_1", "Lovelace", f"  {CUSTOMER} ",
    ],
)  # fmt: skip
def test_a_customer_is_found_by_whatever_one_has(support: Client, term: str) -> None:
    ada = rows.customer(name="Ada Lovelace")
    rows.customer("u_bob", "cus_Bob", email="bob@example.com", name="Bob")
    rows.subscription()
    rows.invoice()
    rows.purchase()
    rows.reversal()
    rows.inbox_event()
    assert ids_in_list(support, BillingCustomer, q=term) == {ada.pk}


@pytest.mark.parametrize("term", ["ada@example.com", USER, CUSTOMER])
@pytest.mark.parametrize(
    "model", [BillingSubscription, BillingInvoice, Purchase, BillingEvent, CreditEntry]
)
def test_rows_are_found_by_whose_they_are(support: Client, model: View, term: str) -> None:
    rows.fill(1)
    rows.grant("u_bob", 5)
    rows.subscription("sub_bob", user_id="u_bob", stripe_customer_id="cus_bob")
    rows.invoice("in_bob", user_id="u_bob", stripe_customer_id="cus_bob")
    rows.purchase("cs_bob", user_id="u_bob", stripe_customer_id="cus_bob")
    rows.event("evt_bob", payload={"id": "cs_bob", "customer": "cus_bob"})
    found = ids_in_list(support, model, q=term)
    assert found
    assert len(found) < model._default_manager.count()


@pytest.mark.parametrize(
    ("model", "term"),
    [
        (BillingInvoice, "NUMBER-in_1"),
        (BillingInvoice, "sub_1"),
        (Purchase, "pi_of_cs_1"),
        (CreditEntry, "cs_1"),
        (InboxEvent, "cs_1"),
        (BillingEvent, "evt_1"),
        (BillingEvent, "cs_1"),
    ],
)
def test_rows_are_found_by_ids_of_their_own(support: Client, model: View, term: str) -> None:
    rows.invoice()
    rows.purchase()
    rows.grant(source="checkout:cs_1")
    rows.inbox_event()
    rows.event()
    assert len(ids_in_list(support, model, q=term)) == 1


@each_model
def test_no_search_is_an_error(model: View) -> None:
    client = reader(model)
    for term in ("\x00", "%", "'; DROP TABLE x; --", "x" * 5000, "ü🙂 b c"):
        list_of(client, model, q=term)


def test_filters_narrow_a_list(support: Client) -> None:
    dead = rows.inbox_event("evt_dead")
    done = rows.inbox_event("evt_done", status=InboxEvent.Status.PROCESSED, type="invoice.paid")
    assert ids_in_list(support, InboxEvent, status="dead") == {dead.pk}
    assert ids_in_list(support, InboxEvent, group="invoice") == {done.pk}
    assert ids_in_list(support, InboxEvent, since="hour") == {dead.pk, done.pk}
    assert ids_in_list(support, InboxEvent, livemode="live") == set()
    assert ids_in_list(support, InboxEvent, status="no such") == {dead.pk, done.pk}


def test_what_stripe_and_customers_write_is_text(support: Client) -> None:
    rows.customer(email=HOSTILE, name=HOSTILE)
    rows.subscription(cancellation_reason=HOSTILE)
    rows.invoice(number=HOSTILE, hosted_invoice_url=f"javascript:{HOSTILE}")
    rows.purchase(email=HOSTILE, lines=[{"id": "li_1", "price": HOSTILE, "quantity": 1}])
    rows.reversal(status=HOSTILE)
    rows.inbox_event(type=HOSTILE, reason=HOSTILE, body=HOSTILE, receiver_error=HOSTILE)
    rows.event(type=HOSTILE, payload={"id": HOSTILE, "metadata": {"user_id": HOSTILE}})
    rows.claim(HOSTILE, failure_reason=HOSTILE)
    rows.price(HOSTILE, name=HOSTILE)
    rows.record(subject=HOSTILE, reason=HOSTILE, error=HOSTILE, result={"summary": HOSTILE})
    rows.rejection(HOSTILE, last_detail=HOSTILE)
    rows.audit(HOSTILE, reason=HOSTILE, summary=HOSTILE, changes=[{"label": HOSTILE}])
    rows.bulk_job(target=HOSTILE, reason=HOSTILE, ticket=HOSTILE)
    rows.override(HOSTILE, status=HOSTILE, actor=HOSTILE, reason=HOSTILE)
    rows.note(HOSTILE, actor=HOSTILE, withdrawn_by=HOSTILE)
    rows.alert(HOSTILE, detail=HOSTILE, page=f"javascript:{HOSTILE}", delivery_error=HOSTILE)
    rows.incident(HOSTILE, owner=HOSTILE, closing_report=HOSTILE, opened_by=HOSTILE)
    rows.finding(HOSTILE, kind=HOSTILE, verdict=HOSTILE, owner=HOSTILE, state_reason=HOSTILE)
    rows.run(actor=HOSTILE, error=HOSTILE, stage=HOSTILE, differences={HOSTILE: 1}, **HOSTILE_RUN)
    rows.grant(source=HOSTILE)
    for model in MODELS:
        client = reader(model)
        pages = [list_of(client, model)]
        pages += [page_of(client, row) for row in rows.all_of(model)]
        for page in pages:
            assert "<script>alert" not in page, model
            assert "<img src=x" not in page, model
            assert 'href="javascript:' not in page, model
    assert "<script>alert" not in support.get(reverse("admin:index")).content.decode()


def test_rows_whose_json_is_odd_can_still_be_seen(support: Client) -> None:
    for payload in ([], "text", 7, {"id": {"id": 5}, "metadata": "x", "customer": []}):
        page_of(support, rows.event(None, type="sql.odd", payload=payload))
    page_of(support, rows.inbox_event(body="no JSON at all {"))
    page_of(support, rows.inbox_event("evt_2", body="[]"))
    list_of(support, BillingEvent)


def test_money_and_times_are_in_words(support: Client) -> None:
    rows.customer()
    rows.invoice("in_eur", currency="eur", total=123456)
    rows.invoice("in_jpy", currency="jpy", total=1500)
    rows.invoice("in_kwd", currency="kwd", total=1500)
    page = list_of(support, BillingInvoice)
    assert "1,234.56 EUR" in page
    assert "1,500 JPY" in page
    assert "1.500 KWD" in page
    row = rows.subscription()
    page = page_of(support, row)
    assert f'datetime="{row.created_at:%Y-%m-%dT%H:%M:%SZ}"' in page


def test_lists_name_customers_by_email(support: Client) -> None:
    rows.customer()
    for row in (rows.subscription(), rows.invoice(), rows.purchase(), rows.inbox_event()):
        assert ">ada@example.com</a>" in list_of(support, type(row))


def test_pages_link_to_stripe_in_the_right_mode(support: Client) -> None:
    test = rows.subscription()
    live = rows.subscription("sub_live", livemode=True)
    assert "https://dashboard.stripe.com/test/subscriptions/sub_1" in page_of(support, test)
    assert "https://dashboard.stripe.com/subscriptions/sub_live" in page_of(support, live)


def test_the_customers_page_tells_the_story(support: Client) -> None:
    ada = rows.customer()
    rows.subscription()
    rows.invoice()
    rows.purchase()
    rows.grant(amount=70)
    rows.claim()
    rows.inbox_event()
    for i, subject in enumerate([USER, CUSTOMER, "sub_1", "in_1", "evt_1"]):
        rows.record(f"op_{i}", subject=subject, reason=f"Done to {subject}")
    rows.record("op_other", subject="u_other", reason="Done to another")
    page = page_of(support, ada)
    for said in ("sub_1", "NUMBER-in_1", "cs_1", "+70", "lead_1", "no such line", "Grant credits"):
        assert said in page, said
    assert page.count("Done to ") == 5


def test_a_users_id_may_have_any_characters(support: Client) -> None:
    odd = "a/b?c&d #e_5F%2F"
    ada = rows.customer(odd)
    rows.grant(odd, 5)
    balance = LeadCredits.objects.get(user_id=odd)
    page = page_of(support, balance)
    for address in (cells.open_url(user=odd), cells.open_url(id=odd)):
        assert support.get(address)["Location"] == page_url(ada)
    grant = PAGES["grant-credits"].url({"target": odd, "back": page_url(balance)})
    assert f'href="{escape(grant)}"' in page
    assert odd in unescape(support.get(grant).content.decode())


def test_the_events_page_says_why_it_is_dead(support: Client) -> None:
    rows.customer()
    page = page_of(support, rows.inbox_event())
    assert "It failed for good: nothing happens until it is replayed." in page
    assert "Stripe refused: no such line" in page
    assert "45.00 USD" in page
    assert "ada@example.com" in page
    assert "&quot;amount_total&quot;: 4500" in page
    assert "Replay event" in page


@pytest.mark.parametrize(
    ("status", "said"),
    [("failed", "It was not done. Stripe said no."), ("started", "has not come to its end")],
)
def test_an_operation_that_was_not_done_says_so(support: Client, status: str, said: str) -> None:
    row = rows.record(status=status, error="Stripe said no.", finished_at=None)
    assert said in page_of(support, row)


@pytest.mark.parametrize(
    ("query", "make"),
    [
        ({"id": CUSTOMER}, rows.customer),
        ({"user": USER}, rows.customer),
        ({"id": USER}, rows.customer),
        ({"id": "sub_1"}, rows.subscription),
        ({"id": "in_1"}, rows.invoice),
        ({"id": "cs_1"}, rows.purchase),
        ({"id": "pi_of_cs_1"}, rows.purchase),
        ({"id": "checkout:cs_1"}, rows.purchase),
        ({"id": "invoice:in_1:il_1"}, rows.invoice),
        ({"id": "re_1"}, rows.reversal),
        ({"id": "refund:re_1"}, rows.reversal),
        ({"id": "evt_1"}, rows.inbox_event),
        ({"id": "evt_1"}, rows.event),
        ({"id": "price_1"}, rows.price),
        ({"id": "operation:op_1"}, rows.record),
        ({"id": "No webhooks come in"}, rows.incident),
    ],
)
def test_an_id_leads_to_its_page(
    support: Client, query: dict[str, str], make: Callable[[], Model]
) -> None:
    row = make()
    response = support.get(reverse("admin:billing_open"), query)
    assert (response.status_code, response["Location"]) == (302, page_url(row))


def test_a_user_leads_to_the_balance_or_to_all_their_customers(support: Client) -> None:
    rows.grant("u_alone", 5)
    address = reverse("admin:billing_open")
    balance = LeadCredits.objects.get(user_id="u_alone")
    assert support.get(address, {"user": "u_alone"})["Location"] == page_url(balance)
    rows.customer("u_two", "cus_1")
    rows.customer("u_two", "cus_2")
    location = support.get(address, {"user": "u_two"})["Location"]
    assert location == changelist_url(BillingCustomer, q="u_two")


@pytest.mark.parametrize("given", ["", "sub_unknown", HOSTILE, "\x00", "unknown"])
def test_an_unknown_id_leads_home_and_says_so(support: Client, given: str) -> None:
    response = support.get(reverse("admin:billing_open"), {"id": given}, follow=True)
    page = response.content.decode()
    assert response.redirect_chain[-1][0] == reverse("admin:index")
    assert "Nothing here has the id" in page
    assert "<script>alert" not in page
    assert ("Sync it from Stripe" in page) == (given == "sub_unknown")


def test_a_list_works_out_its_headers_once(
    support: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.fill(3)
    asked: list[str] = []

    def counted(name: str, *args: Any, **more: Any) -> Any:
        asked.append(name)
        return label_for_field(name, *args, **more)

    monkeypatch.setattr(unfold_list, "label_for_field", counted)
    page = support.get(changelist_url(BillingCustomer)).content.decode()
    assert page.count("<tr") > 3
    assert len(asked) == len(set(asked)) > 3


def test_the_palette_finds_people_and_things(log_in: LogIn) -> None:
    ada = rows.customer()
    rows.subscription("sub_MixedCase")
    client = log_in("support")
    address = reverse("admin:search")
    page = client.get(address, {"s": "ada@ex", "extended": "1"}).content.decode()
    assert page_url(ada) in page
    page = client.get(address, {"s": "sub_MixedCase", "extended": "1"}).content.decode()
    assert "sub_MixedCase" in page
    page = log_in("nobody").get(address, {"s": "ada@ex", "extended": "1"}).content.decode()
    assert "ada@example.com" not in page


def test_the_palette_shows_a_few_of_many(support: Client) -> None:
    rows.fill(60)
    page = support.get(reverse("admin:search"), {"s": "ada", "extended": "1"}).content.decode()
    assert page.count('data-description="Email"') == anything.MOST_IN_PALETTE
    assert "Show all that was found" in page


@pytest.mark.parametrize("label", ["djstripe", "procrastinate", "axes", "pgtrigger"])
def test_stock_admin_pages_are_not_reachable(log_in: LogIn, label: str) -> None:
    client = log_in("superuser")
    for model in apps.get_app_config(label).get_models():
        assert model not in admin.site._registry
        for path in ("", "add/", "1/change/"):
            address = f"/admin/{label}/{model._meta.model_name}/{path}"
            assert client.get(address).status_code == 404, address


def test_only_our_own_models_and_the_users_are_registered() -> None:
    labels = {model._meta.app_label for model in admin.site._registry}
    assert labels == {"billing", "auth"}
    ours = {model for model in admin.site._registry if model._meta.app_label == "billing"}
    assert ours == set(MODELS)

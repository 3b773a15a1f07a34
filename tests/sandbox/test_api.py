"""How the API answers: keys, parameters, errors, pages, expansion, idempotency, search."""

import base64
import re
import sqlite3
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import stripe

from tests.sandbox.server import API_KEY, SandboxProcess, run_sandbox


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """(status, code, param) of an error answer."""
    error = answer.json()["error"]
    assert error["message"]
    return answer.status_code, error.get("code"), error.get("param")


def make_customers(sandbox: SandboxProcess, count: int) -> list[str]:
    """Ids of new customers, oldest first."""
    return [
        sandbox.stripe.v1.customers.create({"email": f"page{n}@example.com"}).id
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer sk_test_short",
        "Bearer pk_test_" + "a" * 30,
        "Bearer rk_test_" + "a" * 30,
        "Bearer " + "a" * 40,
        "Basic !!!",
        "Digest " + API_KEY,
    ],
)
def test_an_invalid_key_is_a_401(shared: SandboxProcess, authorization: str) -> None:
    answer = shared.request("GET", "/v1/account", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert API_KEY not in answer.text


def test_a_key_may_be_the_user_of_basic_auth(shared: SandboxProcess) -> None:
    token = base64.b64encode(f"{API_KEY}:".encode()).decode()
    answer = shared.request("GET", "/v1/account", headers={"Authorization": f"Basic {token}"})
    assert answer.status_code == 200
    assert answer.json()["object"] == "account"


def test_every_answer_has_the_headers_of_stripe(shared: SandboxProcess) -> None:
    for path in ("/v1/account", "/v1/nothing", "/v1/customers/cus_none"):
        answer = shared.get(path)
        assert re.fullmatch(r"req_\w{14}", answer.headers["Request-Id"])
        sent = parsedate_to_datetime(answer.headers["Date"])
        assert abs(sent.timestamp() - time.time()) < 60
        assert len(answer.headers.get_list("Date")) == 1


@pytest.mark.parametrize(
    ("method", "path", "data", "expected"),
    [
        ("GET", "/v1/customers/cus_none", None, (404, "resource_missing", "id")),
        ("GET", "/v1/invoices/cus_none", None, (404, "resource_missing", "id")),
        ("GET", "/v1/nothing", None, (404, None, None)),
        ("GET", "/v1/customers/", None, (404, None, None)),
        ("PUT", "/v1/customers", None, (404, None, None)),
        ("POST", "/v1/customers", {"nickname": "x"}, (400, "parameter_unknown", "nickname")),
        (
            "POST",
            "/v1/customers",
            {"address[planet]": "x"},
            (400, "parameter_unknown", "address[planet]"),
        ),
        ("POST", "/v1/customers", {"email": "nobody"}, (400, "email_invalid", "email")),
        (
            "POST",
            "/v1/customers",
            {"balance": "ten"},
            (400, "parameter_invalid_integer", "balance"),
        ),
        ("POST", "/v1/customers", {"metadata": "x"}, (400, None, "metadata")),
        ("POST", "/v1/customers", {"name": "a", "name[b]": "c"}, (400, None, "name")),
        ("POST", "/v1/prices", {"unit_amount": "5"}, (400, "parameter_missing", "currency")),
        ("POST", "/v1/subscriptions", {}, (400, "parameter_missing", "customer")),
        (
            "POST",
            "/v1/subscriptions",
            {"customer": "cus_none", "items[0][price]": "p"},
            (400, "resource_missing", "customer"),
        ),
        ("POST", "/v1/refunds", {"charge": "ch_none"}, (400, "resource_missing", "charge")),
        ("POST", "/v1/refunds", {"amount": "1.5"}, (400, "parameter_invalid_integer", "amount")),
        ("GET", "/v1/customers?limit=101", None, (400, "parameter_invalid_integer", "limit")),
        ("GET", "/v1/customers?limit=0", None, (400, "parameter_invalid_integer", "limit")),
        ("GET", "/v1/customers?created[after]=1", None, (400, "parameter_unknown", None)),
        (
            "GET",
            "/v1/customers?starting_after=cus_none",
            None,
            (400, "resource_missing", "starting_after"),
        ),
        ("GET", "/v1/invoices?customer=cus_none", None, (400, "resource_missing", "customer")),
        ("GET", "/v1/subscriptions?status=fine", None, (400, None, "status")),
        ("GET", "/v1/account?expand[]=nothing", None, (400, None, "expand")),
        ("GET", "/v1/accounts/acct_other", None, (403, "account_invalid", None)),
        (
            "POST",
            "/v1/webhook_endpoints",
            {"url": "ftp://x", "enabled_events[]": "*"},
            (400, "url_invalid", "url"),
        ),
        (
            "POST",
            "/v1/webhook_endpoints",
            {"url": "http://x", "enabled_events[]": "no.such"},
            (400, None, "enabled_events[0]"),
        ),
    ],
)
def test_bad_input_gets_the_error_of_stripe(
    shared: SandboxProcess, method: str, path: str, data: Any, expected: tuple[Any, ...]
) -> None:
    status, code, param = error_of(shared.request(method, path, data=data))
    assert (status, code) == expected[:2]
    if expected[2]:
        assert param == expected[2]


def test_a_parameter_that_is_not_simulated_is_refused(shared: SandboxProcess) -> None:
    answer = shared.post("/v1/customers", {"tax[validate_location]": "deferred"})
    assert error_of(answer) == (400, None, "tax")
    assert "does not simulate" in answer.json()["error"]["message"]


def test_bodies_must_be_forms_of_moderate_size(shared: SandboxProcess) -> None:
    as_json = shared.request("POST", "/v1/customers", json={"name": "x"})
    assert as_json.status_code == 400
    huge = shared.post("/v1/customers", {"description": "x" * 1_100_000})
    assert huge.status_code == 413
    assert huge.json()["error"]["type"] == "invalid_request_error"


def test_a_version_that_is_none_is_refused(shared: SandboxProcess) -> None:
    answer = shared.request("GET", "/v1/account", headers={"Stripe-Version": "latest"})
    assert answer.status_code == 400


def test_the_package_raises_its_own_errors(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.customers.retrieve("cus_none")
    assert missing.value.code == "resource_missing"
    assert missing.value.http_status == 404
    assert str(missing.value.user_message) == "No such customer: 'cus_none'"
    customer = client.customers.create({"payment_method": "pm_card_chargeCustomerFail"})
    method = client.payment_methods.list({"customer": customer.id}).data[0]
    with pytest.raises(stripe.CardError) as declined:
        client.payment_intents.create(
            {
                "amount": 500,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": method.id,
                "confirm": True,
            }
        )
    assert declined.value.code == "card_declined"
    assert declined.value.http_status == 402


def test_arrays_and_objects_come_in_any_order(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    product = client.products.create({"name": "Leads"}).id
    prices = [
        client.prices.create(
            {
                "product": product,
                "currency": "usd",
                "unit_amount": amount,
                "recurring": {"interval": "month"},
            }
        ).id
        for amount in (100, 200)
    ]
    customer = client.customers.create(
        {
            "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"},
        }
    ).id
    indexed = (
        f"items[1][price]={prices[1]}&metadata[b]=2&items[0][quantity]=3&customer={customer}"
        f"&items[0][price]={prices[0]}&metadata[a]=1"
    )
    appended = (
        f"items[][price]={prices[0]}&items[][quantity]=3&items[][price]={prices[1]}"
        f"&metadata[a]=1&metadata[b]=2&customer={customer}"
    )
    for body in (indexed, appended):
        answer = shared.request(
            "POST",
            "/v1/subscriptions",
            content=body,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status_code == 200, answer.text
        made = answer.json()
        items = [(item["price"]["id"], item["quantity"]) for item in made["items"]["data"]]
        assert items == [(prices[0], 3), (prices[1], 1)]
        assert made["metadata"] == {"a": "1", "b": "2"}


def test_metadata_is_merged_and_unset(shared: SandboxProcess) -> None:
    client = shared.stripe.v1
    customer = client.customers.create({"metadata": {"a": "1", "b": "2"}}).id
    client.customers.update(customer, {"metadata": {"a": "", "c": "3"}})
    assert shared.get(f"/v1/customers/{customer}").json()["metadata"] == {"b": "2", "c": "3"}
    client.customers.update(customer, {"metadata": ""})
    assert shared.get(f"/v1/customers/{customer}").json()["metadata"] == {}
    too_many = {f"metadata[k{n}]": "v" for n in range(51)}
    assert shared.post(f"/v1/customers/{customer}", too_many).status_code == 400


def test_pages_both_ways_with_exact_has_more(sandbox: SandboxProcess) -> None:
    ids = make_customers(sandbox, 7)[::-1]

    def page(**params: Any) -> tuple[list[str], bool]:
        body = sandbox.get("/v1/customers", **params).json()
        assert (body["object"], body["url"]) == ("list", "/v1/customers")
        return [made["id"] for made in body["data"]], body["has_more"]

    assert page(limit=7) == (ids, False)
    assert page(limit=6) == (ids[:6], True)
    assert page(limit=3, starting_after=ids[2]) == (ids[3:6], True)
    assert page(limit=3, starting_after=ids[3]) == (ids[4:], False)
    assert page(limit=3, starting_after=ids[6]) == ([], False)
    assert page(limit=3, ending_before=ids[4]) == (ids[1:4], True)
    assert page(limit=3, ending_before=ids[3]) == (ids[:3], False)
    assert page(limit=3, ending_before=ids[0]) == ([], False)
    both = sandbox.get("/v1/customers", starting_after=ids[0], ending_before=ids[1])
    assert both.status_code == 400
    walked = [made.id for made in sandbox.stripe.v1.customers.list({"limit": 2}).auto_paging_iter()]
    assert walked == ids


def test_lists_are_filtered(world: SandboxProcess) -> None:
    everyone = world.get("/v1/customers", limit=100).json()["data"]
    middle = everyone[50]["created"]
    newer = [made["id"] for made in everyone if made["created"] > middle]
    listed = world.get("/v1/customers", limit=100, **{"created[gt]": middle}).json()["data"]
    assert [made["id"] for made in listed] == newer
    assert all(
        made["created"] == middle
        for made in world.get("/v1/customers", created=middle).json()["data"]
    )
    one = next(made for made in everyone if made["email"])
    same = world.get("/v1/customers", email=one["email"]).json()["data"]
    assert one["id"] in [made["id"] for made in same]
    assert {made["email"] for made in same} == {one["email"]}


def test_subscriptions_omit_canceled_ones_unless_asked(world: SandboxProcess) -> None:
    def statuses(**params: Any) -> set[str]:
        found = world.stripe.v1.subscriptions.list({"limit": 100, **params})
        return {made.status for made in found.auto_paging_iter()}

    assert "canceled" not in statuses()
    assert {"active", "trialing", "past_due", "canceled"} <= statuses(status="all")
    assert statuses(status="canceled") == {"canceled"}
    assert statuses(status="ended") <= {"canceled", "incomplete_expired"}
    price = world.get("/v1/prices", type="recurring", limit=1).json()["data"][0]["id"]
    for made in world.get("/v1/subscriptions", price=price, status="all").json()["data"]:
        assert price in [item["price"]["id"] for item in made["items"]["data"]]


def test_expansion_reaches_four_levels(world: SandboxProcess) -> None:
    path = "payment_intent.latest_charge.balance_transaction"
    paid = world.get("/v1/checkout/sessions", limit=100, **{"expand[]": f"data.{path}"}).json()
    booked = [
        made["payment_intent"]["latest_charge"]["balance_transaction"]["object"]
        for made in paid["data"]
        if made["payment_status"] == "paid" and made["mode"] == "payment"
    ]
    assert booked
    assert set(booked) == {"balance_transaction"}
    session = paid["data"][0]["id"]
    deep = "customer.subscriptions.data.latest_invoice.customer"
    answer = world.get(f"/v1/checkout/sessions/{session}", **{"expand[]": deep})
    assert error_of(answer) == (400, None, "expand")
    too_deep = world.get("/v1/invoices", **{"expand[]": "data.payments.data.payment.charge"})
    assert "more than 4 levels" in too_deep.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["id", "nothing", "amount_total", "mode", "metadata.customer", "client_reference_id"]
)
def test_only_what_the_package_calls_expandable_is_expanded(
    sandbox: SandboxProcess, path: str
) -> None:
    customer = sandbox.post("/v1/customers").json()["id"]
    session = sandbox.post(
        "/v1/checkout/sessions",
        {
            "mode": "setup",
            "currency": "usd",
            "success_url": "https://x.example",
            "client_reference_id": customer,
            "customer": customer,
            "metadata[customer]": customer,
        },
    ).json()["id"]
    expanded = sandbox.get(f"/v1/checkout/sessions/{session}", **{"expand[]": "customer"}).json()
    assert expanded["customer"]["object"] == "customer"
    refused = sandbox.get(f"/v1/checkout/sessions/{session}", **{"expand[]": path})
    assert error_of(refused) == (400, None, "expand")
    assert f"cannot be expanded ({path})." in refused.json()["error"]["message"]


def test_a_field_that_has_nothing_yet_can_be_expanded(world: SandboxProcess) -> None:
    path = {"expand[]": "data.failure_balance_transaction"}
    refunds = world.get("/v1/refunds", limit=100, **path).json()["data"]
    whole = [refund for refund in refunds if refund["status"] == "succeeded"]
    assert whole
    assert not any("failure_balance_transaction" in refund for refund in whole)


def test_a_path_that_forgets_the_data_of_a_list_is_told_so(world: SandboxProcess) -> None:
    refused = world.get("/v1/invoices", **{"expand[]": "customer"})
    assert refused.json()["error"]["message"] == (
        "This property cannot be expanded (customer). You may want to try expanding "
        "'data.customer' instead."
    )


def test_events_end_after_thirty_days(sandbox: SandboxProcess) -> None:
    for _ in range(3):
        sandbox.post("/v1/customers")
    newest, middle, oldest = (made["id"] for made in sandbox.get("/v1/events").json()["data"])
    sandbox.stop()
    age(sandbox, oldest, days=31)
    with run_sandbox(sandbox.data) as again:
        listed = again.get("/v1/events", limit=2).json()
        assert ([made["id"] for made in listed["data"]], listed["has_more"]) == (
            [newest, middle],
            False,
        )
        assert again.get(f"/v1/events/{oldest}").status_code == 404
        for cursor in ("starting_after", "ending_before"):
            refused = again.get("/v1/events", **{cursor: oldest})
            assert error_of(refused) == (400, "resource_missing", cursor)


def age(sandbox: SandboxProcess, id_: str, *, days: int) -> None:
    """Makes an object so much older, in the file of a sandbox that does not run."""
    with sqlite3.connect(sandbox.data) as db:
        db.execute(
            "UPDATE objects SET created = created - ?,"
            " json = json_set(json, '$.created', created - ?) WHERE id = ?",
            (days * 86400, days * 86400, id_),
        )
    db.close()


def test_events_are_filtered_by_type(sandbox: SandboxProcess) -> None:
    sandbox.post("/v1/customers")
    sandbox.post("/v1/products", {"name": "Leads"})

    def kinds(**params: Any) -> list[str]:
        listed = sandbox.get("/v1/events", **params).json()["data"]
        return [made["type"] for made in listed]

    assert kinds() == ["product.created", "customer.created"]
    assert kinds(type="customer.created") == kinds(type="customer.*") == ["customer.created"]
    assert kinds(**{"types[]": ["product.created", "customer.created"]}) == kinds()
    assert kinds(delivery_success="true") == kinds()
    assert kinds(delivery_success="false") == []
    many = {f"types[{n}]": "product.created" for n in range(21)}
    assert sandbox.get("/v1/events", **many).status_code == 400
    both = {"type": "product.created", "types[]": "product.created"}
    assert error_of(sandbox.get("/v1/events", **both)) == (400, None, "type")


def test_lines_have_one_cursor_too(sandbox: SandboxProcess) -> None:
    customer = sandbox.post("/v1/customers").json()["id"]
    for amount in (1, 2, 3):
        sandbox.post(
            "/v1/invoiceitems", {"customer": customer, "amount": amount, "currency": "usd"}
        ).raise_for_status()
    invoice = sandbox.post(
        "/v1/invoices", {"customer": customer, "pending_invoice_items_behavior": "include"}
    ).json()
    first, second, third = (line["id"] for line in invoice["lines"]["data"])
    path = f"/v1/invoices/{invoice['id']}/lines"
    page = sandbox.get(path, limit=1, starting_after=first).json()
    assert ([line["id"] for line in page["data"]], page["has_more"]) == ([second], True)
    page = sandbox.get(path, limit=2, ending_before=third).json()
    assert ([line["id"] for line in page["data"]], page["has_more"]) == ([first, second], False)
    both = sandbox.get(path, starting_after=first, ending_before=third)
    assert both.status_code == 400
    assert error_of(sandbox.get(path, starting_after="il_none"))[1] == "resource_missing"


def test_fields_on_request_are_absent_until_expanded(world: SandboxProcess) -> None:
    for path, name in (
        ("invoices", "payments"),
        ("checkout/sessions", "line_items"),
        ("charges", "refunds"),
        ("customers", "subscriptions"),
    ):
        plain = world.get(f"/v1/{path}", limit=1).json()["data"][0]
        assert name not in plain
        expanded = world.get(f"/v1/{path}", limit=1, **{"expand[]": f"data.{name}"}).json()
        assert expanded["data"][0][name]["object"] == "list"


def test_an_idempotency_key_replays_the_first_answer(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "once"}
    first = sandbox.post("/v1/customers", {"name": "A"}, headers=headers)
    again = sandbox.post("/v1/customers", {"name": "A"}, headers=headers)
    assert first.content == again.content
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"]
    assert len(sandbox.get("/v1/customers").json()["data"]) == 1
    other = sandbox.post("/v1/customers", {"name": "B"}, headers=headers)
    assert other.status_code == 400
    assert other.json()["error"]["type"] == "idempotency_error"
    elsewhere = sandbox.post("/v1/products", {"name": "A"}, headers=headers)
    assert elsewhere.json()["error"]["type"] == "idempotency_error"
    long = sandbox.post("/v1/customers", {"name": "A"}, headers={"Idempotency-Key": "k" * 256})
    assert long.status_code == 400


def test_a_key_of_a_refused_request_can_be_used_again(sandbox: SandboxProcess) -> None:
    headers = {"Idempotency-Key": "retry"}
    assert sandbox.post("/v1/customers", {"email": "x"}, headers=headers).status_code == 400
    assert sandbox.post("/v1/customers", {"email": "x@y.zz"}, headers=headers).status_code == 200


def test_a_declined_card_is_replayed_and_not_charged_twice(sandbox: SandboxProcess) -> None:
    data = {
        "amount": "700",
        "currency": "usd",
        "confirm": "true",
        "payment_method": "pm_card_chargeDeclined",
    }
    answers = [
        sandbox.post("/v1/payment_intents", data, headers={"Idempotency-Key": "pay"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [402, 402]
    assert answers[0].content == answers[1].content
    assert len(sandbox.get("/v1/charges").json()["data"]) == 1
    error = answers[0].json()["error"]
    assert (error["code"], error["decline_code"]) == ("card_declined", "generic_decline")
    assert error["payment_intent"]["status"] == "requires_payment_method"


def test_a_refused_request_leaves_nothing_behind(sandbox: SandboxProcess) -> None:
    refused = sandbox.post("/v1/customers", {"name": "A", "payment_method": "pm_card_nonexistent"})
    assert error_of(refused) == (400, "resource_missing", "payment_method")
    assert sandbox.get("/v1/customers").json()["data"] == []
    assert sandbox.get("/v1/events").json()["data"] == []


def test_deleted_customers_say_so(sandbox: SandboxProcess) -> None:
    client = sandbox.stripe.v1
    customer = client.customers.create({"email": "gone@example.com"}).id
    deleted = {"id": customer, "object": "customer", "deleted": True}
    assert sandbox.request("DELETE", f"/v1/customers/{customer}").json() == deleted
    assert sandbox.get(f"/v1/customers/{customer}").json() == deleted
    assert sandbox.get("/v1/customers").json()["data"] == []
    assert sandbox.post(f"/v1/customers/{customer}", {"name": "x"}).status_code == 404
    assert sandbox.get("/v1/events", limit=1).json()["data"][0]["type"] == "customer.deleted"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ('email:"ann@example.com"', ["Ann"]),
        ("email:'ANN@example.com'", ["Ann"]),
        ('email~"example"', ["Bob", "Ann"]),
        ('name~"ann" AND metadata["user_id"]:"u_1"', ["Ann"]),
        ('metadata["user_id"]:"u_2" OR name:"Ann"', ["Bob", "Ann"]),
        ('-metadata["user_id"]:"u_1" email~"example"', ["Bob"]),
        ("metadata['user_id']:null", []),
        ("created>0", ["Bob", "Ann"]),
        ("created>9999999999", []),
    ],
)
def test_customers_are_searched(shared: SandboxProcess, query: str, found: list[str]) -> None:
    client = shared.stripe.v1
    if not client.customers.list({"email": "bob@example.com"}).data:
        for name, user in (("Ann", "u_1"), ("Bob", "u_2")):
            client.customers.create(
                {
                    "name": name,
                    "email": f"{name.lower()}@example.com",
                    "metadata": {"user_id": user},
                }
            )
    listed = client.customers.search({"query": query, "limit": 100})
    names = [made.name for made in listed.data if made.name in ("Ann", "Bob")]
    assert names == found


def test_a_search_pages_and_refuses_what_it_cannot_parse(world: SandboxProcess) -> None:
    pages, token, seen = 0, None, []
    while True:
        params = {"query": 'email~"example.com"', "limit": 60} | ({"page": token} if token else {})
        body = world.get("/v1/customers/search", **params).json()
        seen += [made["id"] for made in body["data"]]
        pages += 1
        if not body["has_more"]:
            break
        token = body["next_page"]
    assert pages >= 2
    assert len(seen) == len(set(seen)) > 100
    for query in (
        "email",
        'email:"a" AND',
        "shoe:1",
        'email~"ab"',
        'name:"a" AND name:"b" OR name:"c"',
    ):
        assert world.get("/v1/customers/search", query=query).status_code == 400
    assert world.get("/v1/customers/search").status_code == 400


def test_the_request_log_counts_calls_by_route(sandbox: SandboxProcess) -> None:
    sandbox.get("/v1/customers")
    customer = sandbox.post("/v1/customers", {"name": "A"}).json()["id"]
    for _ in range(2):
        sandbox.get(f"/v1/customers/{customer}")
    counted = sandbox.control("counters", http="GET")
    assert counted["routes"]["GET /v1/customers/{id}"] == 2
    assert counted["total"] == 4
    seen = sandbox.control("requests?since=2", http="GET")["requests"]
    assert [entry["path"] for entry in seen] == [f"/v1/customers/{customer}"] * 2
    sandbox.control("counters/reset")
    assert sandbox.control("counters", http="GET")["total"] == 0

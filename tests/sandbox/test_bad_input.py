"""Whatever comes in, the answer is one of Stripe's errors and never a failure of the sandbox."""

import socket
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import httpx
import pytest

from backoffice.sandbox.app import ROUTES
from backoffice.sandbox.routing import Route
from tests.sandbox.server import API_KEY, SandboxProcess, run_sandbox
from tests.support.waiting import wait_until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NASTY = ["", "\x00", "-1", "9" * 30, "9" * 12, "1e400", "\U0001f4a9" * 300, "a' OR 1=1 --"]
LONGEST_FRACTION = "0." + "1" * 400

BODIES = {
    "bytes that are no UTF-8": b"name=\xff\xfe&description=%ff%fe%c3%28",
    "NUL": b"name=%00&metadata[%00]=%00",
    "half a surrogate": b"name=%ed%a0%80&email=%ed%a0%80@x.yz",
    "no pairs": b"&&&===&=&",
    "a nameless parameter": b"=x",
    "brackets that do not close": b"name[=x&metadata]=y&[a]=z",
    "brackets within brackets": b"metadata[[a]]=x",
    "thousands of levels": b"metadata" + b"[a]" * 5000 + b"=x",
    "thousands of arrays": b"expand" + b"[]" * 5000 + b"=x",
    "the same name, thousands of times": b"&".join([b"name=x"] * 5000),
    "thousands of names": b"&".join(b"metadata[k%d]=v" % n for n in range(5000)),
    "an array with gaps": b"preferred_locales[7]=de&preferred_locales[900]=en",
    "an index of thousands of digits": b"preferred_locales[" + b"9" * 5000 + b"]=de",
    "an index that is no number": b"preferred_locales[x]=de&preferred_locales[-1]=en",
    "an index of other digits": "preferred_locales[²]=de&preferred_locales[٣]=en".encode(),
    "a value and an object": b"address=x&address[city]=y",
    "an object and a value": b"address[city]=y&address=x",
    "an array and an object": b"address[]=x&address[city]=y",
    "a huge number": b"balance=" + b"9" * 5000,
    "a number in other digits": "balance=٣".encode(),
    "percent signs": b"name=%&description=%zz%1",
    "semicolons": b"name=a;description=b",
}


def answered_well(answer: httpx.Response) -> bool:
    """Whether an answer is either that of a call that was done, or an error of Stripe's."""
    if answer.status_code == 200:
        return bool(answer.json())
    error = answer.json()["error"]
    return 400 <= answer.status_code < 500 and bool(error["message"] and error["type"])


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/subscriptions", "/v1/checkout/sessions"])
def test_strange_forms(shared: SandboxProcess, path: str, body: bytes) -> None:
    answer = shared.post(path, None, content=body, headers=FORM)
    assert answered_well(answer), answer.text


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_strange_queries(shared: SandboxProcess, body: bytes) -> None:
    query = quote(body[:20_000], safe="=&[]%")
    for path in ("/v1/customers", "/v1/events", "/v1/customers/search"):
        answer = shared.get(f"{path}?{query}")
        assert answered_well(answer), answer.text


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """A sandbox with a small world, which these tests wear out."""
    data = tmp_path_factory.mktemp("town") / "stripe.db"
    with run_sandbox(data, customers=40, seed=3) as running:
        yield running


def an_id(town: SandboxProcess, route: Route) -> str:
    """The id of an object that a route is about, or one that is no id where there is none."""
    family = route.path.removesuffix("/{id}").partition("/{id}")[0]
    listed = town.get(family, **{"status": "all"} if family == "/v1/subscriptions" else {}).json()
    return str(listed["data"][0]["id"]) if listed.get("data") else "' OR id > '"


def required(town: SandboxProcess, route: Route) -> dict[str, str]:
    """What a call needs before it looks at anything else."""
    customer = an_id(town, next(r for r in ROUTES if r.path == "/v1/customers/{id}"))
    price = town.get("/v1/prices", type="recurring", active="true").json()["data"][0]
    needed = {
        "/v1/checkout/sessions": {
            "mode": "subscription",
            "success_url": "https://x.example",
            "line_items[0][price]": price["id"],
            "line_items[0][quantity]": "1",
        },
        "/v1/invoiceitems": {"customer": customer, "amount": "5"},
        "/v1/invoices": {"customer": customer},
        "/v1/payment_intents": {"amount": "500", "currency": "usd"},
        "/v1/prices": {"currency": "usd", "product": price["product"], "unit_amount": "5"},
        "/v1/products": {"name": "x"},
        "/v1/subscriptions": {"customer": customer, "items[0][price]": price["id"]},
        "/v1/webhook_endpoints": {"url": "http://127.0.0.1:1", "enabled_events[0]": "*"},
    }
    return needed.get(route.path, {}) if route.method == "POST" else {}


def variations(name: str) -> Iterator[dict[str, str]]:
    """Nasty values for a parameter: alone, in an array, and in an object."""
    for value in (*NASTY, LONGEST_FRACTION):
        yield {name: value}
    yield {f"{name}[0]": NASTY[1], f"{name}[3]": NASTY[3]}
    yield {f"{name}[gte]": NASTY[3], f"{name}[lt]": "x"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_parameter_of_every_call(town: SandboxProcess, route: Route) -> None:
    path = quote(route.path.format(id=an_id(town, route)))
    base = required(town, route)
    for name in sorted(route.supported | route.extra.keys()):
        for sent in variations(name):
            part = "data" if route.method == "POST" else "params"
            answer = town.request(route.method, path, **{part: base | sent})
            assert answered_well(answer), (sent, answer.text)
    assert answered_well(town.request(route.method, path))


@pytest.mark.parametrize(
    "query", [*NASTY, "created>" + "9" * 40, 'metadata["$.x\'"]:"a"', "-", '"']
)
def test_searches(shared: SandboxProcess, query: str) -> None:
    assert answered_well(shared.get("/v1/customers/search", query=query))


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "DELETE", "BREW"])
def test_methods_that_a_url_does_not_have(shared: SandboxProcess, method: str) -> None:
    answer = shared.request(method, "/v1/customers")
    assert answer.status_code in (404, 405)


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/core/events", "/v1/customers/a/b/c", "/v1/%00"])
def test_paths_that_do_not_exist(shared: SandboxProcess, path: str) -> None:
    assert shared.get(path).status_code < 500


def test_a_chunked_body_is_read_and_limited(shared: SandboxProcess) -> None:
    small = shared.post("/v1/customers", content=iter([b"name=", b"Ann"]), headers=FORM)
    assert small.json()["name"] == "Ann"
    endless = (b"x" * 65_536 for _ in range(40))
    large = shared.post("/v1/customers", content=endless, headers=FORM)
    assert large.status_code == 413


def test_a_client_that_hangs_up_changes_nothing(shared: SandboxProcess) -> None:
    address = urlsplit(shared.url)
    known = shared.get("/v1/customers", email="gone@example.com").json()["data"]
    with socket.create_connection((str(address.hostname), address.port or 0)) as client:
        client.sendall(
            b"POST /v1/customers HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n"
            b"Authorization: Bearer " + API_KEY.encode() + b"\r\n\r\nemail=gone@example.com"
        )
    wait_until(lambda: 499 in statuses(shared))
    assert shared.get("/v1/customers", email="gone@example.com").json()["data"] == known


def statuses(sandbox: SandboxProcess) -> list[int]:
    """Of the answers so far."""
    return [entry["status"] for entry in sandbox.control("requests", http="GET")["requests"]]

"""Restricted keys: they do what they may, and are told what they may not."""

from typing import Any

import httpx
import pytest
import stripe

from tests.sandbox.server import SandboxProcess, run_sandbox


def restricted(sandbox: SandboxProcess, **permissions: str) -> str:
    """A new restricted key."""
    made = sandbox.control("keys", permissions=permissions)
    assert made["permissions"] == permissions
    return str(made["key"])


def asked(
    sandbox: SandboxProcess, key: str, method: str, path: str, **options: Any
) -> httpx.Response:
    """A request with `key`."""
    return sandbox.request(method, path, headers={"Authorization": f"Bearer {key}"}, **options)


def test_a_restricted_key_does_what_it_may(sandbox: SandboxProcess) -> None:
    key = restricted(sandbox, customers="read", subscriptions="write", products="none")
    assert key.startswith("rk_test_")
    for method, path, status in (
        ("GET", "/v1/customers", 200),
        ("GET", "/v1/customers/search?query=created>0", 200),
        ("GET", "/v1/customers/cus_none", 404),
        ("POST", "/v1/customers", 403),
        ("DELETE", "/v1/customers/cus_none", 403),
        ("GET", "/v1/subscriptions", 200),
        ("POST", "/v1/subscriptions/sub_none", 404),
        ("GET", "/v1/products", 403),
        ("GET", "/v1/invoices", 403),
        ("GET", "/v1/checkout/sessions", 403),
    ):
        assert asked(sandbox, key, method, path).status_code == status, (method, path)
    assert sandbox.get("/v1/customers").json()["data"] == []


def test_the_error_names_the_permission_and_not_the_key(sandbox: SandboxProcess) -> None:
    key = restricted(sandbox, customers="read")
    answer = asked(sandbox, key, "POST", "/v1/checkout/sessions", data={"mode": "setup"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (403, "invalid_request_error")
    assert error["code"] == "more_permissions_required"
    assert "Having the 'rak_checkout_session_write' permission" in error["message"]
    assert key not in answer.text
    with pytest.raises(stripe.PermissionError):
        stripe.StripeClient(
            key, base_addresses={"api": sandbox.url}, max_network_retries=0
        ).v1.invoices.list()


def test_a_key_is_kept_and_belongs_to_a_mode(sandbox: SandboxProcess) -> None:
    key = restricted(sandbox, customers="read")
    live_key = sandbox.control("keys?mode=live", permissions={"customers": "write"})["key"]
    assert live_key.startswith("rk_live_")
    assert asked(sandbox, live_key, "POST", "/v1/customers").json()["livemode"] is True
    sandbox.stop()
    with run_sandbox(sandbox.data) as again:
        assert asked(again, key, "GET", "/v1/customers").json()["data"] == []


def test_a_key_that_was_never_made_is_a_401(shared: SandboxProcess) -> None:
    for key in ("rk_test_" + "a" * 30, "rk_live_" + "a" * 30):
        assert asked(shared, key, "GET", "/v1/customers").status_code == 401
    publishable = asked(shared, "pk_test_" + "a" * 30, "GET", "/v1/customers")
    assert publishable.status_code == 401
    assert publishable.json()["error"]["code"] == "secret_key_required"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"permissions": "all"},
        {"permissions": {"shoes": "read"}},
        {"permissions": {"customers": "all"}},
        {"permissions": {"customers": ["read"]}},
    ],
    ids=str,
)
def test_permissions_that_do_not_exist_are_refused(
    shared: SandboxProcess, body: dict[str, Any]
) -> None:
    answer = shared.request("POST", "/_sandbox/keys", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]

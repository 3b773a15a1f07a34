"""Stripe's rate limits, where they are switched on."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import stripe

from tests.sandbox.server import SandboxProcess, run_sandbox

LIVE_KEY = "sk_live_" + "sandbox0" * 4


def burst(sandbox: SandboxProcess, *paths: str, key: str | None = None) -> Counter[int]:
    """How often each status was answered to requests made at once."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(path: str) -> int:
        return sandbox.request("GET", path, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        return Counter(pool.map(ask, paths))


def test_without_limits_a_burst_is_answered(sandbox: SandboxProcess) -> None:
    assert burst(sandbox, *["/v1/customers"] * 200) == {200: 200}


def test_a_burst_is_cut_off_and_soon_forgiven(sandbox: SandboxProcess) -> None:
    sandbox.control("rate_limits", on=True)
    begun = time.monotonic()
    counted = burst(sandbox, *["/v1/customers"] * 400)
    allowed = 25 + 25 * (time.monotonic() - begun)
    assert 25 <= counted[200] <= allowed
    assert counted[429] == 400 - counted[200]
    time.sleep(1.1)  # the limits are per second
    assert burst(sandbox, *["/v1/customers"] * 25)[200] == 25
    sandbox.control("rate_limits", on=False)
    assert burst(sandbox, *["/v1/customers"] * 100) == {200: 100}


def test_the_error_is_that_of_stripe(sandbox: SandboxProcess) -> None:
    sandbox.control("rate_limits", on=True, rate=1)
    answer = first_refused(sandbox)
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "rate_limit")
    assert answer.headers["Stripe-Rate-Limited-Reason"] in ("global-rate", "endpoint-rate")
    assert not {"retry-after", "stripe-should-retry"} & answer.headers.keys()
    client = stripe.StripeClient(
        "sk_test_" + "a" * 24, base_addresses={"api": sandbox.url}, max_network_retries=5
    )
    with pytest.raises(stripe.RateLimitError):  # the package itself makes no further try
        [client.v1.customers.list() for _ in range(10_000)]


def first_refused(sandbox: SandboxProcess) -> httpx.Response:
    """The first 429."""
    for _ in range(10_000):
        if (answer := sandbox.get("/v1/customers")).status_code == 429:
            return answer
    raise AssertionError("no request was one too many")


def test_live_mode_has_more_and_each_endpoint_its_own(sandbox: SandboxProcess) -> None:
    sandbox.control("rate_limits?mode=live", on=True)
    begun = time.monotonic()
    counted = burst(sandbox, *["/v1/customers"] * 90, key=LIVE_KEY)
    assert 25 <= counted[200] <= 25 + 25 * (time.monotonic() - begun)
    paths = ["/v1/products", "/v1/prices"] * 10
    assert burst(sandbox, *paths, key=LIVE_KEY) == {200: 20}


def test_the_option_switches_the_limits_on(tmp_path: Path) -> None:
    with run_sandbox(tmp_path / "s.db", extra_args=["--rate-limits"]) as limited:
        for mode in ("", "?mode=live"):
            switched = limited.control(f"rate_limits{mode}", http="GET")
            assert switched == {"on": True, "rate": None}


@pytest.mark.parametrize("body", [{}, {"on": 1}, {"on": "yes"}, {"on": True, "rate": 0.5}], ids=str)
def test_the_switch_takes_only_on_and_off(shared: SandboxProcess, body: dict[str, object]) -> None:
    assert shared.request("POST", "/_sandbox/rate_limits", json=body).status_code == 400

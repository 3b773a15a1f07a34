"""Between Stripe and us everything goes wrong at once; in the end everything must be as if not.

The sandbox drops, delays, duplicates and reorders deliveries, signs some with a wrong secret or
at a wrong time, and answers the worker's requests late, with errors, or by resetting the
connection. Then the faults end, what was dropped is resent, and all rows are compared with those
of a second back office, to which the same events came undisturbed.
"""

from pathlib import Path
from typing import Any

from tests.durability.drill import (
    Deployment,
    check_credits,
    check_events,
    check_rows,
    deployment,
    resend,
)
from tests.durability.traffic import Traffic
from tests.sandbox.server import SandboxProcess, run_sandbox
from tests.support.databases import Databases
from tests.support.waiting import wait_until

EVENTS = 220
SEED = 20
DELIVERY_FAULTS: list[dict[str, Any]] = [
    {"drop_deliveries": True, "probability": 0.1},
    {"delay_deliveries": 0.2, "jitter": 3, "probability": 0.3},
    {"duplicate_deliveries": 3, "probability": 0.2},
    {"reorder_deliveries": 2, "probability": 0.3},
    {"wrong_secret": True, "probability": 0.05},
    {"skew_signatures": -3600, "probability": 0.05},
]
REQUEST_FAULTS: list[dict[str, Any]] = [
    {"reset": True, "count": 2},
    {"status": 429, "count": 2},
    {"reset": True, "after": True, "count": 4},
    {"status": 500, "count": 4},
    {"delay_seconds": 0.5, "count": 2},
]


def set_faults(sandbox: SandboxProcess) -> None:
    """Everything that may go wrong: with deliveries by chance, with requests one after another."""
    faults = [*DELIVERY_FAULTS, *({"path": "/v1/*", **fault} for fault in REQUEST_FAULTS)]
    for seed, fault in enumerate(faults, start=SEED):
        sandbox.control("faults", seed=seed, **fault)


def each_has_hit(sandbox: SandboxProcess) -> bool:
    """Whether nothing that may go wrong has been spared."""
    return all(fault["hit_count"] for fault in sandbox.control("faults", http="GET")["faults"])


def deliver_the_rest(sandbox: SandboxProcess, deployed: Deployment) -> None:
    """What waits is delivered now, what was lost is resent, as `stripe events resend` does."""
    sandbox.control("deliver")
    undelivered = True
    while undelivered:
        page = sandbox.get("/v1/events", delivery_success="false", limit=100).json()
        undelivered = [event["id"] for event in page["data"]]
        for event in undelivered:
            answer = sandbox.post(
                f"/v1/events/{event}/retry", {"webhook_endpoint": deployed.endpoint.id}
            )
            assert answer.status_code == 200
        sandbox.control("deliver")
    assert set(sandbox.control("state", http="GET")["outbox"]) == {"succeeded"}


def test_whatever_goes_wrong_on_the_way_the_rows_are_those_of_an_undisturbed_run(
    databases: Databases, tmp_path: Path
) -> None:
    disturbed, undisturbed = databases.create(), databases.create()
    options = ["--retry-schedule", "1,1,2,2,5,5", "--delivery-timeout", "30"]
    with run_sandbox(tmp_path / "stripe.sqlite3", extra_args=options) as sandbox:
        with deployment(disturbed.url, sandbox, tmp_path / "disturbed") as deployed:
            traffic = Traffic(sandbox, SEED)
            set_faults(sandbox)
            while traffic.events < EVENTS:
                traffic.tell()
            wait_until(lambda: each_has_hit(sandbox), seconds=180)
            sandbox.control("faults", http="DELETE")
            deliver_the_rest(sandbox, deployed)
            deployed.wait_until_done()
            assert deployed.worker.is_alive, deployed.worker.output
        check_events(disturbed.url, sandbox, str(deployed.endpoint.id))
        check_credits(disturbed.url, traffic)

        with deployment(undisturbed.url, sandbox, tmp_path / "undisturbed") as calm:
            resend(sandbox, str(calm.endpoint.id))
            calm.wait_until_done()
        assert check_rows(disturbed.url, undisturbed.url) > EVENTS
    for database in (disturbed, undisturbed):
        databases.drop(database)

"""What there is to see in the demo: three people to log in as, and what went wrong lately.

`python -m backoffice.demo_world STATE` runs in the demo's environment, beside its web server.
Everything is done as it would happen: people pay at the sandbox, webhooks are sent or get
lost, Stripe refuses a request. No billing row is written from here but the claims of leads,
which the marketplace itself would write.
"""

import io
import json
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import httpx
from django.conf import settings

LOST = {"drop_deliveries": True}
REFUSED = {
    "path": "/v1/checkout/sessions/*",
    "status": 403,
    "body": {
        "error": {
            "type": "invalid_request_error",
            "message": "The provided key does not have the required permissions for this endpoint."
            " Having the 'rak_checkout_session_read' permission would allow this request to"
            " continue.",
        }
    },
}
CLAIMANTS = 40
CLAIMS_FAILING = 0.1
CLAIM_FAILURES = ("The lead was claimed by somebody else.", "The lead was withdrawn.")


class Sandbox:
    """The Stripe sandbox: its copy of Stripe's API, and the strings to pull."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        )

    def api(self, method: str, path: str, /, **form: str) -> Any:
        """A request of Stripe's API. Raises httpx.HTTPError."""
        return self.answer(self.client.request(method, path, data=form))

    def control(self, path: str, /, **body: Any) -> Any:
        """A request of the sandbox's own API."""
        return self.answer(self.client.post(f"/_sandbox/{path}", json=body))

    @contextmanager
    def fault(self, **spec: Any) -> Iterator[None]:
        """Let something go wrong meanwhile."""
        self.control("faults", **spec)
        try:
            yield
        finally:
            self.answer(self.client.delete("/_sandbox/faults"))

    def customer(self, name: str, email: str, user_id: str) -> str:
        """A new customer with a card; the id."""
        form = {"name": name, "email": email, "metadata[user_id]": user_id}
        return str(self.api("POST", "/v1/customers", **form)["id"])

    def story(self, name: str, **parameters: Any) -> Any:
        """Something that a buyer or a bank does; the ids of what came of it."""
        return self.control(f"stories/{name}", **parameters)

    def redeliver(self, event: str, endpoint: str) -> None:
        """Have Stripe send an event (again)."""
        self.api("POST", f"/v1/events/{event}/retry", webhook_endpoint=endpoint)

    @staticmethod
    def answer(response: httpx.Response) -> Any:
        if response.is_error:
            raise RuntimeError(f"{response.request.url}: {response.status_code} {response.text}")
        return response.json()


def tell_stories(sandbox: Sandbox, endpoint: str) -> None:
    """A few days in the marketplace, with what an operator is here for."""
    from billing.ingress import worker

    dora = sandbox.customer("Dora Fischer", "dora@example.com", "user_dora")
    ben = sandbox.customer("Ben Okafor", "ben@example.com", "user_ben")
    carla = sandbox.customer("Carla Rossi", "carla@example.com", "user_carla")
    emil = sandbox.customer("Emil Larsen", "emil@example.com", "user_emil")
    ada = sandbox.customer("Ada Keller", "ada@example.com", "user_ada")
    carlas = sandbox.story("subscribe", customer=carla, user_id="user_carla")
    emils = sandbox.story("subscribe", customer=emil, user_id="user_emil")
    sandbox.story("buy_pack", email="somebody@example.com", attributed=False)
    buy_out_of_order(sandbox, endpoint, dora)
    sandbox.control("deliver")
    worker.drain()

    sandbox.story("past_due", subscription=emils["subscription"])
    with sandbox.fault(**LOST):
        sandbox.story("buy_pack", customer=ben, user_id="user_ben")
        sandbox.story("cancel", subscription=carlas["subscription"])
    sandbox.story("buy_pack", customer=ada, user_id="user_ada")
    sandbox.control("deliver")
    with sandbox.fault(**REFUSED):
        worker.drain()
    disagree(sandbox, endpoint)
    worker.drain()


def disagree(sandbox: Sandbox, endpoint: str) -> None:
    """What nobody notices until somebody writes: each is a finding of its own."""
    subscribe_twice(sandbox)
    grant_twice(sandbox, endpoint)
    lose_a_refund(sandbox)
    fail_a_claim(sandbox)


def subscribe_twice(sandbox: Sandbox) -> None:
    """Gina forgot that she had an account at Stripe, and pays for two subscriptions."""
    for email in ("gina@example.com", "gina.park@example.org"):
        customer = sandbox.customer("Gina Park", email, "user_gina")
        sandbox.story("subscribe", customer=customer, user_id="user_gina")
    sandbox.control("deliver")


def grant_twice(sandbox: Sandbox, endpoint: str) -> None:
    """A webhook is late, an agent grants the credits by hand, and then the webhook comes."""
    from django.core.management import call_command

    from billing.ingress import worker

    hugo = sandbox.customer("Hugo Weber", "hugo@example.com", "user_hugo")
    with sandbox.fault(**LOST):
        bought = sandbox.story("buy_pack", customer=hugo, user_id="user_hugo")
    worker.drain()
    why = {"reason": "Paid, and no webhook came", "actor": "demo", "stdout": io.StringIO()}
    call_command("grant_credits", "user_hugo", "10", **why)
    for event in bought["events"]:
        sandbox.redeliver(event, endpoint)


def lose_a_refund(sandbox: Sandbox) -> None:
    """Ines has her money back, and her credits too: nobody told us of the refund."""
    ines = sandbox.customer("Ines Duarte", "ines@example.com", "user_ines")
    bought = sandbox.story("buy_pack", customer=ines, user_id="user_ines")
    sandbox.control("deliver")
    with sandbox.fault(**LOST):
        sandbox.story("refund", charge=bought["charge"])


def fail_a_claim(sandbox: Sandbox) -> None:
    """Fred's lead was gone when he claimed it, and the marketplace kept his credits."""
    from django.db import transaction

    from billing.ingress import worker
    from billing.models import CreditEntry, LeadClaim, acting_as
    from billing.projection.ledger import Entry, post

    fred = sandbox.customer("Fred Novak", "fred@example.com", "user_fred")
    sandbox.story("buy_pack", customer=fred, user_id="user_fred")
    sandbox.control("deliver")
    worker.drain()
    claim = LeadClaim(user_id="user_fred", lead_id="lead_gone", credits_spent=3)
    claim.status, claim.failure_reason = LeadClaim.Status.FAILED, CLAIM_FAILURES[0]
    reason = f"Claimed {claim.lead_id}"
    with transaction.atomic(), acting_as("marketplace"):
        claim.save()
        post([Entry(claim.user_id, -3, CreditEntry.Kind.CLAIM, reason=reason)])


def buy_out_of_order(sandbox: Sandbox, endpoint: str, customer: str) -> None:
    """A purchase whose events all arrive in reverse, and the decisive one twice."""
    with sandbox.fault(**LOST):
        bought = sandbox.story("buy_pack", customer=customer, user_id="user_dora")
    for event in reversed(bought["events"]):
        sandbox.redeliver(event, endpoint)
    sandbox.redeliver(bought["events"][-1], endpoint)


def make_staff(passwords: dict[str, str], *, overwrite: bool) -> None:
    """One person for each role, named like it, with the passwords given.

    A person who exists keeps their password unless `overwrite`.
    """
    from django.contrib.auth.models import Group, User

    for role, password in passwords.items():
        user, is_new = User.objects.get_or_create(username=role, defaults={"is_staff": True})
        if is_new or overwrite:
            user.set_password(password)
            user.save()
        user.groups.add(Group.objects.get(name=role))


def claim_leads(rng: random.Random) -> None:
    """What people spent their credits on, as the marketplace itself would write it."""
    from django.db import transaction

    from billing.models import CreditEntry, LeadClaim, LeadCredits, acting_as
    from billing.projection.ledger import Entry, post

    users = LeadCredits.objects.filter(balance__gte=10).order_by("user_id")
    for number, credits_ in enumerate(users[:CLAIMANTS]):
        cost = rng.randint(1, 3)
        claims = [
            LeadClaim(user_id=credits_.user_id, lead_id=f"lead_{number:03d}{place}")
            for place in range(rng.randint(1, min(6, credits_.balance // cost)))
        ]
        for claim in claims:
            claim.credits_spent = cost
            if rng.random() < CLAIMS_FAILING:
                claim.credits_spent = 0
                claim.status = LeadClaim.Status.FAILED
                claim.failure_reason = rng.choice(CLAIM_FAILURES)
        with transaction.atomic(), acting_as("marketplace"):
            LeadClaim.objects.bulk_create(claims)
            post(
                [
                    Entry(
                        claim.user_id,
                        -claim.credits_spent,
                        CreditEntry.Kind.CLAIM,
                        reason=f"Claimed {claim.lead_id}",
                    )
                    for claim in claims
                ]
            )


def reconcile() -> None:
    """The first morning's comparison, which would otherwise wait for its hour."""
    from billing.ingress import worker
    from billing.reconciliation import runs

    worker.drain()
    # What went wrong a moment ago counts: in the demo nothing is on its way any more.
    runs.reconcile("daily", actor="cli:demo", grace=timedelta(seconds=-2))


def main(state_file: Path) -> None:
    """Fill the database: staff always, the rest once."""
    django.setup()
    from django.core.management import call_command
    from django.utils import timezone

    from billing.revenue import month_rows

    state = json.loads(state_file.read_text())
    make_staff(state["passwords"], overwrite=settings.EMBEDDED_POSTGRES)
    if state["is_built"]:
        return
    call_command("sync_from_stripe", all=True, reason="The demo's first sync", actor="demo")
    if state["endpoint"]:
        sandbox = Sandbox(settings.STRIPE_API_BASE, settings.STRIPE_SECRET_KEY)
        tell_stories(sandbox, state["endpoint"])
        claim_leads(random.Random(1))  # noqa: S311
        call_command("sync_balance", verbosity=0)
        call_command("finance_facts", "refresh", verbosity=0)
        month_rows.open_months(settings.REPORT_TIME_ZONE, timezone.now())
        reconcile()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

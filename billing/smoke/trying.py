"""A smoke test from its start to its end, kept as a row with every step.

A test cleans up after itself whatever happens to it, and after earlier ones that were killed.
Each has a user of its own, so that two at once do not disturb each other.
"""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta

from django.db import Error, connection
from django.utils import timezone

from billing.gateway.client import Gateway, GatewayError, gateway
from billing.models import SmokeTest
from billing.smoke.flows import Visit
from billing.smoke.looking import look
from billing.smoke.steps import Step, StuckError, Tell, open_page
from billing.smoke.tidying import Tidying
from billing.smoke.till import TEST_KEYS, Till
from billing.smoke.watching import Watch

SANDBOX, TEST_ACCOUNT, LIVE = "sandbox", "test account", "live"
STRIPES_OWN = "https://api.stripe.com"
LONGEST_STEP = 300.0  # seconds for which a step may wait
LONGEST_WATCH = 3600.0
# After this nobody is at a test any more: five steps, of which two wait twice, and the watch.
OVER_AFTER = timedelta(seconds=10 * LONGEST_STEP + LONGEST_WATCH)
INTERRUPTED = "interrupted"
WEBHOOKS_MAY_TAKE = 5.0  # seconds, where nothing got stuck


def mode_of(stripe: Gateway) -> str:
    """Where a test with this key would be. A key that is not of test mode counts as live."""
    if not stripe.api_key.startswith(TEST_KEYS):
        return LIVE
    return TEST_ACCOUNT if stripe.api_base == STRIPES_OWN else SANDBOX


def user_of(test: SmokeTest) -> str:
    """Our id for the customer of a test; a number alone could come again after a restore."""
    return f"smoke-{test.pk}-{test.started_at:%Y%m%d%H%M%S}"


def smoke(
    *, actor: str, timeout: float, watch: float, tell: Tell, only_look: bool = False
) -> SmokeTest:
    """Tries the flows, cleans up, watches; the row with every step, also if it was interrupted.

    `timeout` is how long a step may wait, `watch` how long to look for trouble afterwards, both
    in seconds. With a key of live mode, or `only_look`, it changes nothing at Stripe. Raises
    StripeNotConfiguredError without a key, and a database error where the row cannot be written.
    """
    stripe = gateway()
    test = SmokeTest.objects.create(actor=actor, mode=mode_of(stripe), started_at=timezone.now())
    trial = _Trial(test, stripe, timeout, tell)
    try:
        trial.go(watch, only_look=only_look or test.mode == LIVE)
    except KeyboardInterrupt:
        trial.add(Step(INTERRUPTED, False, 0, "Somebody stopped it before its end."))
    except Exception as error:
        trial.add(Step("failure", False, 0, f"{type(error).__name__}: {error}"))
        raise
    finally:
        trial.end()
    return test


class _Trial:
    """A test that is under way. `timeout` in seconds."""

    def __init__(self, test: SmokeTest, stripe: Gateway, timeout: float, tell: Tell) -> None:
        self.test = test
        self.stripe = stripe
        self.timeout = timeout
        self.tell = tell
        self.step = ""  # the one that is under way

    def go(self, watch_for: float, *, only_look: bool) -> None:
        watch = Watch.begin()
        if only_look:
            self.add_all(look(timeout=self.timeout, tell=self.tell))
        else:
            self.clean_up_after_killed_ones()
            self.go_through_flows()
        is_broken = any(not step["ok"] for step in self.test.steps)
        self.add_all(watch.run(0 if is_broken else watch_for, self.tell))
        self.test.watched_until = timezone.now()

    def go_through_flows(self) -> None:
        """One flow after another, up to one that gets stuck; then the cleaning up."""
        stuck = False
        try:
            visit = Visit(Till(self.stripe), user_of(self.test), self.timeout, self.tell_of_step)
            for name, flow in visit.flows:
                if stuck:
                    self.add(Step(name, False, 0, "Not tried: a step before it got stuck."))
                else:
                    stuck = not self.add(self.tried(name, flow)).ok
        finally:
            patience = 0 if stuck else WEBHOOKS_MAY_TAKE
            self.add(self.cleaned_up(self.test, "clean up", patience))

    def tell_of_step(self, what: str) -> None:
        self.tell(f"{self.step}: waiting for {what}")

    def tried(self, name: str, flow: Callable[[], str]) -> Step:
        """What came of one flow."""
        self.step = name
        self.tell(name)
        started = time.monotonic()
        try:
            said = flow()
            return Step(name, True, time.monotonic() - started, said)
        except StuckError as error:
            said, advice, page = error.detail, error.advice, error.page
        except GatewayError as error:
            said, page = str(error), ""
            advice = "Does the key work, may it do this, is Stripe reached? manage.py smoke"
            advice += " --live-check says more."
        except Error as error:
            connection.close()
            said, page = f"The database failed: {' '.join(str(error).split())}", ""
            advice = "Is PostgreSQL running, and does DATABASE_URL lead to it?"
        return Step(name, False, time.monotonic() - started, said, advice, page)

    def clean_up_after_killed_ones(self) -> None:
        """Earlier tests that did not come to their end, and by now never will."""
        over = timezone.now() - OVER_AFTER
        killed = SmokeTest.objects.filter(finished_at=None, started_at__lt=over).exclude(mode=LIVE)
        for test in killed.order_by("id"):
            step = self.add(self.cleaned_up(test, f"clean up after test {test.pk}", 0))
            if step.ok:
                test.steps = [*test.steps, step.as_dict()]
                test.ok, test.finished_at = False, timezone.now()
                test.save(update_fields=["steps", "ok", "finished_at"])

    def cleaned_up(self, test: SmokeTest, name: str, patience: float) -> Step:
        """Cleans up after a test, which may be an earlier one."""
        self.tell(name)
        started = time.monotonic()
        user = user_of(test)
        tidying = Tidying(Till(self.stripe), user, test.started_at, patience)
        tidying.run()
        seconds = time.monotonic() - started
        if not tidying.problems:
            said = f"Nothing is left of {user} at Stripe, and its balance here is 0."
            return Step(name, True, seconds, said)
        return Step(
            name,
            False,
            seconds,
            f"Something is left of {user}: {' '.join(dict.fromkeys(tidying.problems))}",
            f"Delete the test clock {user} at Stripe, refund and archive what bears this name,"
            f" then: manage.py sync_from_stripe --user {user} --reason 'Smoke test'.",
            open_page(user=user),
        )

    def add_all(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> Step:
        """Notes a step, in the row at once: a test that is killed has told how far it came."""
        self.test.steps = [*self.test.steps, step.as_dict()]
        self.save("steps")
        return step

    def end(self) -> None:
        self.test.ok = all(step["ok"] for step in self.test.steps)
        self.test.finished_at = timezone.now()
        self.save("steps", "ok", "finished_at", "watched_until")

    def save(self, *fields: str) -> None:
        """Writes the row; where the database is away, the caller still has all of it."""
        try:
            self.test.save(update_fields=fields)
        except Error:
            connection.close()

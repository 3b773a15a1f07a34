"""Who does something all the time: each in a thread of its own, until it is told to stop."""

import random
import re
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from html import unescape
from itertools import cycle
from typing import Any, ClassVar, TypeVar

import httpx
import psycopg
from django.urls import reverse

from backoffice.postgres import BASE_DIR
from billing.admin.cells import changelist_url
from billing.models import (
    AuditEvent,
    BillingCustomer,
    BillingInvoice,
    CreditEntry,
    FindingRecord,
    InboxEvent,
    OperationRecord,
)
from tests.admin.desk import PASSWORD
from tests.durability.traffic import Traffic

TOO_FEW_CREDITS = "LC001"
CLAIM = "SELECT claim_lead(%s, %s, 1)"
Answer = TypeVar("Answer")
TRIES = 5  # of a form, whose key makes it one grant
GIFT = 7  # credits: below what a second person has to approve


def pages() -> list[str]:
    """What operators look at."""
    lists = (InboxEvent, BillingCustomer, BillingInvoice, CreditEntry, FindingRecord, AuditEvent,
             OperationRecord)  # fmt: skip
    return [
        reverse("admin:index"),
        *(changelist_url(model) for model in lists),
        changelist_url(BillingCustomer, q="user-1@"),
        f"{reverse('admin:billing_search')}?q=user-1@example.com",
        *(reverse("admin_finance:report", args=[name]) for name in ("revenue", "credits")),
    ]


class Actor(ABC, threading.Thread):
    """Does one thing after another, with a pause in between; `done` counts them by kind."""

    pause: ClassVar[float] = 1.0

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.stopping = stopping
        self.done: Counter[str] = Counter()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.pause):
                self.act()
        except BaseException as error:
            self.error = error
            raise

    @abstractmethod
    def act(self) -> None: ...


class Buyers(Actor):
    """They buy, subscribe, renew, pay late, are refunded and dispute."""

    def __init__(self, stopping: threading.Event, traffic: Traffic, pause: float) -> None:
        super().__init__(stopping)
        self.traffic = traffic
        self.pause = pause  # type: ignore[misc]  # of this run

    def act(self) -> None:
        self.traffic.tell()
        self.done["stories"] += 1


class Marketplace(Actor):
    """It claims leads by the documented function, for whoever has credits."""

    pause = 0.2

    def __init__(self, stopping: threading.Event, url: str) -> None:
        super().__init__(stopping)
        self.url = url
        self.spent: Counter[str] = Counter()

    def act(self) -> None:
        lead = f"lead-{self.done['claims'] + 1}"
        user = self.again(self.somebody_rich)
        if user is None:
            return
        try:
            self.again(lambda connection: connection.execute(CLAIM, [user, lead]))
        except psycopg.DatabaseError as error:
            if error.sqlstate != TOO_FEW_CREDITS:
                raise
            return  # somebody's refund was quicker
        self.spent[user] += 1
        self.done["claims"] += 1

    def somebody_rich(self, connection: psycopg.Connection[Any]) -> str | None:
        found = connection.execute(
            "SELECT user_id FROM lead_credits WHERE balance > 0 ORDER BY random() LIMIT 1"
        ).fetchone()
        return found[0] if found else None

    def again(self, work: Callable[[psycopg.Connection[Any]], Answer]) -> Answer:
        """Until it is known what became of it, where a fault of ours ends the session: a claim of
        the same lead is the same claim."""
        while True:
            try:
                with psycopg.connect(self.url, autocommit=True) as connection:
                    return work(connection)
            except psycopg.OperationalError:
                time.sleep(0.1)


class Operators(Actor):
    """They open pages, and grant credits, by HTTP as a browser does."""

    pause = 0.5

    def __init__(self, stopping: threading.Event, url: str, name: str, seed: int) -> None:
        super().__init__(stopping)
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=60, follow_redirects=True)
        self.user = name
        self.random = random.Random(seed)
        self.pages = cycle(pages())
        self.form = reverse("admin:billing_operation", args=["grant-credits"])
        self.given: Counter[str] = Counter()
        self.times: list[float] = []

    def act(self) -> None:
        if "sessionid" not in self.client.cookies:
            self.log_in()
        if self.random.random() < 0.2:
            self.grant(f"user-{self.random.randint(1, 5)}")
        else:
            self.open(next(self.pages))

    def log_in(self) -> None:
        form = self.client.get("/admin/login/")
        self.client.post(
            str(form.url),
            data={"login": self.user, "password": PASSWORD, **tokens(form.text)},
            headers={"Referer": str(form.url)},
        ).raise_for_status()
        if "sessionid" not in self.client.cookies:
            raise AssertionError(f"{self.user} could not log in")

    def open(self, path: str) -> None:
        started = time.monotonic()
        answer = self.client.get(path)
        self.times.append(time.monotonic() - started)
        self.count(answer, "pages")

    def grant(self, user: str) -> None:
        form = self.client.get(self.form, params={"target": user, "amount": str(GIFT)})
        if not self.count(form, "pages"):
            return
        said = {"reason_code": "other", "reason": "A gift", "amount": str(GIFT), "target": user}
        data = {**tokens(form.text), **said, "_apply": "1"}
        for _ in range(TRIES):
            answer = self.client.post(self.form, data=data, headers={"Referer": str(form.url)})
            if self.count(answer, "grants"):
                break
        self.conclude(user, words(answer.text))

    def conclude(self, user: str, said: str) -> None:
        """What became of a grant, as the page says."""
        if "Something has changed since you looked" in said:
            self.done["grants that came too late"] += 1
        elif f"Granted {GIFT} credits" in said or "Already done" in said:
            self.given[user] += GIFT
        else:
            raise AssertionError(f"no grant to {user}: {said}")

    def count(self, answer: httpx.Response, kind: str) -> bool:
        """Whether it was answered; while sessions are ended some pages cannot be."""
        self.done[kind if answer.is_success else f"{kind} answered {answer.status_code}"] += 1
        return answer.is_success


def words(page: str) -> str:
    """What somebody reads there, for an error."""
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(text.split())[-1500:]


def tokens(page: str) -> dict[str, str]:
    """What a form has hidden: the CSRF token, the key of what it does."""
    return dict(hidden_fields(page))


def hidden_fields(page: str) -> Iterator[tuple[str, str]]:
    for tag in re.findall(r'<input[^>]*type="hidden"[^>]*>', page):
        name, value = (re.search(rf'{part}="([^"]*)"', tag) for part in ("name", "value"))
        if name and value:
            yield name[1], unescape(value[1])


class Command(Actor):
    """One of the product's commands, again and again."""

    def __init__(
        self, stopping: threading.Event, environment: dict[str, str], pause: float, *arguments: str
    ) -> None:
        super().__init__(stopping)
        self.environment, self.arguments = environment, arguments
        self.pause = pause  # type: ignore[misc]

    def act(self) -> None:
        done = subprocess.run(
            [sys.executable, "manage.py", *self.arguments],
            cwd=BASE_DIR, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.done[f"{self.arguments[0]} ended with {done.returncode}"] += 1


class Faults(Actor):
    """One after the other, and each mended before the next."""

    def __init__(self, stopping: threading.Event, office: Any, pause: float) -> None:
        super().__init__(stopping)
        self.office = office
        self.pause = pause  # type: ignore[misc]
        self.faults = cycle(
            (self.stripe_fails, self.kill_a_worker, self.lose_and_double, self.end_sessions)
        )

    def act(self) -> None:
        fault = next(self.faults)
        fault()
        self.done[fault.__name__] += 1

    def stripe_fails(self) -> None:
        for status in (429, 500):
            self.office.sandbox.control("faults", path="/v1/*", status=status, probability=0.05,
                                        seed=status)  # fmt: skip
        self.stopping.wait(self.pause / 2)
        self.office.sandbox.control("faults", http="DELETE")

    def lose_and_double(self) -> None:
        control = self.office.sandbox.control
        control("faults", types=["*"], drop_deliveries=True, probability=0.2)
        control("faults", types=["*"], duplicate_deliveries=2, probability=0.2)
        self.stopping.wait(self.pause / 2)
        control("faults", http="DELETE")

    def kill_a_worker(self) -> None:
        self.office.replace_worker()

    def end_sessions(self) -> None:
        with psycopg.connect(self.office.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

"""A stand-in for the marketplace: it claims leads by its own statements, and notes how it went."""

import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

DEBIT = (
    "UPDATE lead_credits SET balance = balance - 1, updated_at = now()"
    " WHERE user_id = %s AND balance >= 1"
)
CLAIM = "INSERT INTO lead_claims (user_id, lead_id, credits_spent) VALUES (%s, %s, 1)"
SIGN_UP = "INSERT INTO lead_credits (user_id, balance) VALUES (%s, 10)"


@dataclass
class Application:
    """Claims go round the users; now and then somebody signs up, and gets ten credits."""

    url: str
    users: list[str]
    claimed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=[stop])
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        with psycopg.connect(self.url, application_name="marketplace") as db:
            number = 0
            while not stop.wait(0.03):
                number += 1
                try:
                    self._act(db, number)
                    db.commit()
                except psycopg.Error as error:
                    self.failures.append(f"{error.sqlstate}: {error}")
                    db.rollback()

    def _act(self, db: psycopg.Connection, number: int) -> None:
        if number % 25 == 0:
            user = str(uuid.uuid4())
            db.execute(SIGN_UP, [user])
            self.users.append(user)
            return
        user = self.users[number % len(self.users)]
        if db.execute(DEBIT, [user]).rowcount:
            db.execute(CLAIM, [user, str(uuid.uuid4())])
            self.claimed[user] += 1

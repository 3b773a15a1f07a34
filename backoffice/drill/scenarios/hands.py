"""What people do to the database past the back office, in psql."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from backoffice.drill.faults import ANY, Names, Place, places
from backoffice.drill.life import Pack
from backoffice.drill.scenarios.base import NAMED, Scenario

ASSESSED = places(Place.ASSESSMENT, ANY)
OFF_LEDGER = places(Place.FINDING, "balance_differs")
# After a restore the balance is what the ledger adds up to, with what was forged.
FORGED = OFF_LEDGER | places(Place.FINDING, "granted_without_payment")
AUDITED = places(Place.AUDITED, ANY)


class Tampered(Scenario):
    """Somebody in psql changes, deletes and adds rows, with triggers and without."""

    name = "tampered"

    def __init__(self, *surroundings: Any) -> None:
        super().__init__(*surroundings)
        # What was here when the round began, whatever the worker has got to since: so the same
        # seed finds the same rows to change on any machine.
        self.users = set(self.life.customers)
        self.here = {pack.session for pack in self.life.packs}
        self.here |= {subscription.id for subscription in self.life.subscriptions}

    def steps(self) -> Iterator[None]:
        self.stand.settle()
        self.hit: set[str] = set()
        hands: list[Callable[[], None]] = [
            self.balance_raised,
            self.balance_changed,
            self.balance_past_triggers,
            self.entry_added,
            self.entry_deleted,
            self.subscription_changed,
            self.subscription_deleted,
            self.invoice_changed,
            self.payment_changed,
            self.customer_changed,
            self.inbox_deleted,
        ]
        self.engineer.is_suspicious = True
        for hand in self.random.sample(hands, self.random.randint(4, 6)):
            hand()
            yield

    # --- Whom it hits ------------------------------------------------------------------------

    def somebody(self, among: Iterable[str] | None = None) -> str | None:
        """A user to whom nothing was done yet in this way; None where all were."""
        users = self.users.intersection(among if among is not None else self.users)
        free = sorted(users - self.hit)
        if not free:
            return None
        user: str = self.random.choice(free)
        self.hit.add(user)
        return user

    def packs(self) -> dict[str, Pack]:
        """By user: one of which nothing was taken back, and which has long had its effect."""
        return {pack.user: pack for pack in self.life.packs if pack.session in self.here}

    @contextmanager
    def psql(self, *, past_triggers: bool = False) -> Iterator[psycopg.Connection[Any]]:
        """A session of somebody's, whose changes are one transaction."""
        with psycopg.connect(self.stand.url, application_name="psql") as connection:
            if past_triggers:
                connection.execute("SET LOCAL session_replication_role = replica")
            yield connection

    def changed(self, query: str, *values: Any, past_triggers: bool = False) -> int:
        """How many rows a statement has changed."""
        with self.psql(past_triggers=past_triggers) as connection:
            return connection.execute(query.encode(), values).rowcount

    def tampered(
        self, what: str, *about: str, shown: Names = NAMED, explains: Names = frozenset()
    ) -> None:
        also = explains | NAMED | ASSESSED | places(Place.ALERT, "ledger")
        self.judge.inject("tampered", what, about, shown=shown, explains=also)

    # --- Credits -----------------------------------------------------------------------------

    def balance_raised(self) -> None:
        if user := self.somebody():
            self.changed(
                "INSERT INTO lead_credits (user_id, balance) VALUES (%s, 1009) ON CONFLICT"
                " (user_id) DO UPDATE SET balance = lead_credits.balance + 1009",
                user,
            )
            self.tampered(f"1,009 credits for {user}", user)

    def balance_changed(self) -> None:
        """Whatever it is just now, it becomes another one, and none below 0."""
        if (user := self.somebody(self.packs())) and self.changed(
            "UPDATE lead_credits SET balance = abs(balance - 9) WHERE user_id = %s", user
        ):
            self.tampered(f"balance of {user} changed", user)

    def balance_past_triggers(self) -> None:
        if (user := self.somebody(self.packs())) and self.changed(
            "UPDATE lead_credits SET balance = balance + 501 WHERE user_id = %s",
            user,
            past_triggers=True,
        ):
            self.tampered(f"501 credits for {user}, past the triggers", user, shown=OFF_LEDGER)

    def entry_deleted(self) -> None:
        packs = self.packs()
        if (user := self.somebody(packs)) and self.changed(
            "DELETE FROM credit_entries WHERE source = %s",
            f"checkout:{packs[user].session}",
            past_triggers=True,
        ):
            self.life.packs.remove(packs[user])  # what is refunded now would take nothing back
            about = (user, packs[user].session)
            self.tampered(f"a grant of {user} deleted from the ledger", *about, shown=OFF_LEDGER)

    def entry_added(self) -> None:
        """The ledger has no other way to be put right than by further entries: this one stays."""
        if (user := self.somebody()) is None:
            return
        forged = f"cs_test_forged{len(self.judge.faults)}"
        with self.psql(past_triggers=True) as connection:
            [(entry,)] = connection.execute(
                "INSERT INTO credit_entries (user_id, delta, balance_after, kind, source, reason)"
                " VALUES (%s, 77, 77, 'pack', %s, 'Paid in checkout') RETURNING id",
                [user, f"checkout:{forged}"],
            ).fetchall()
        self.life.model.forged[forged] = str(entry)
        self.tampered(f"a grant of 77 credits for {user} forged", user, forged, shown=FORGED)

    # --- Rows that are Stripe's --------------------------------------------------------------

    def of_stripe(self, query: str, what: str) -> None:
        """Changes rows of a subscriber's; `query` takes the subscription's id."""
        living = {each.user: each for each in self.life.subscriptions if each.id in self.here}
        user = self.somebody(living)
        if user and self.changed(query, living[user].id):
            self.life.subscriptions.remove(living[user])  # no later event is to tell of it
            self.tampered(f"{what} of {user}", user, living[user].id, self.life.customers[user])

    def subscription_changed(self) -> None:
        status = self.random.choice(("canceled", "past_due", "unpaid"))
        self.of_stripe(
            f"UPDATE billing_subscriptions SET status = '{status}'"  # noqa: S608
            " WHERE stripe_subscription_id = %s",
            f"status {status} for the subscription",
        )

    def subscription_deleted(self) -> None:
        self.of_stripe(
            "DELETE FROM billing_subscriptions WHERE stripe_subscription_id = %s",
            "subscription deleted",
        )

    def invoice_changed(self) -> None:
        self.of_stripe(
            "UPDATE billing_invoices SET status = 'open', amount_paid = 0, paid_at = NULL"
            " WHERE stripe_subscription_id = %s",
            "invoices opened",
        )

    def customer_changed(self) -> None:
        user = self.somebody()
        if user and self.changed(
            "UPDATE billing_customers SET email = 'other@example.com'"
            " WHERE stripe_customer_id = %s",
            self.life.customers[user],
        ):
            self.tampered(f"address of {user} changed", user, self.life.customers[user])

    def payment_changed(self) -> None:
        self.of_pack(
            "UPDATE billing_payments SET amount = amount + 100 WHERE payment_intent_id = %s",
            "payment changed",
        )

    def purchase_deleted(self) -> None:
        self.of_pack(
            "DELETE FROM billing_purchases WHERE payment_intent_id = %s", "purchase deleted"
        )

    def of_pack(self, query: str, what: str) -> None:
        """Changes rows of a pack's; `query` takes its payment intent."""
        paid = self.packs()
        user = self.somebody(paid)
        if user and self.changed(query, paid[user].payment_intent):
            self.life.packs.remove(paid[user])
            about = (user, paid[user].payment_intent, paid[user].session)
            self.tampered(f"{what} of {user}", *about, self.life.customers[user])

    def inbox_deleted(self) -> None:
        """An event that had its effect is gone from the inbox."""
        user = self.somebody()
        if not user:
            return
        with self.psql() as connection:
            gone = connection.execute(
                "DELETE FROM billing_inbox WHERE id = (SELECT max(id) FROM billing_inbox"
                " WHERE customer_id = %s AND status = 'processed') RETURNING stripe_event_id",
                [self.life.customers[user]],
            ).fetchall()
        if gone:
            about = (user, self.life.customers[user], gone[0][0])
            self.tampered(f"an event of {user} deleted from the inbox", *about)

"""The database is damaged or gone, some time after the last backup."""

from collections.abc import Callable, Iterator

from django.conf import settings
from psycopg import sql

from backoffice.drill.faults import ANY, Names, Place, places
from backoffice.drill.scenarios.base import NAMED, Scenario
from backoffice.drill.scenarios.moments import RECOVERING

DAMAGED = places(Place.ASSESSMENT, ANY)
GONE = places(Place.COMMAND, "assess")  # it says that there is no database to look at
EXPLAINED = (
    NAMED | DAMAGED | places(Place.AUDIT, ANY) | places(Place.ALERT, "ledger", "workers", "backup")
)


class Restore(Scenario):
    """The database is dropped or damaged after a backup, with life in between, and is restored."""

    name = "restore"

    def steps(self) -> Iterator[None]:
        if not settings.BACKUP_FOLDER:  # otherwise there is one from the beginning
            self.stand.settle()
            self.engineer.back_up()
        for _ in range(self.random.randint(2, 4)):
            self.life.live(2)
            self.life.operate()
            yield

    def finish(self) -> None:
        """The worker dies with it, so that nothing is exported any more but what is here."""
        self.stand.settle()
        self.stand.kill("worker")
        self.life.operate()
        self.engineer.run("export_books", "--json")
        known = self.life.model.copy()
        if self.random.random() < 0.5:
            self.lose_for_good()
        what, damage, shown = self.random.choice(self.damages())
        damage()
        about = set(self.life.since_backup)
        self.judge.inject("database lost", what, about, shown=shown, explains=EXPLAINED)
        self.life.model = known
        self.engineer.is_told_of_damage = True
        if self.random.random() < 0.5:
            self.engineer.restores_killed.append(self.kill_at("restoring"))
        where = self.random.choice(RECOVERING)
        self.engineer.recoveries_killed.append(self.kill_at(where))

    def lose_for_good(self) -> None:
        """What nobody but the database knew when it was lost: no export, no Stripe."""
        self.life.claims_a_lead()
        self.life.operate()

    def damages(self) -> list[tuple[str, Callable[[], None], Names]]:
        return [
            ("dropped", self.dropped, GONE),
            ("audit events deleted", self.audit_deleted, DAMAGED),
            ("the ledger changed", self.ledger_changed, DAMAGED),
            ("tables emptied", self.emptied, DAMAGED),
        ]

    def dropped(self) -> None:
        with self.stand.admin() as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
            connection.execute(drop.format(sql.Identifier(self.stand.database)))

    def audit_deleted(self) -> None:
        self.past_triggers(
            "DELETE FROM billing_events WHERE id IN (SELECT id FROM billing_events"
            " WHERE type LIKE 'manual.%' OR type LIKE 'sql.%' ORDER BY id LIMIT 1)"
        )

    def ledger_changed(self) -> None:
        self.past_triggers("UPDATE credit_entries SET delta = delta + 5 WHERE id % 3 = 0")

    def emptied(self) -> None:
        self.past_triggers("DELETE FROM billing_purchases", "DELETE FROM djstripe_customer")

    def past_triggers(self, *statements: str) -> None:
        with self.stand.connect() as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            for statement in statements:
                connection.execute(statement.encode())

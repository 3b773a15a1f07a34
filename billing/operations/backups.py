"""Backups of the database as people ask for them."""

from typing import Any

from django.conf import settings
from django.db import connection, transaction

from billing.ingress.queue import defer_once, is_waiting
from billing.models import OperationRecord
from billing.operations.base import (
    CannotUndoError,
    InvalidInputError,
    Operation,
    Plan,
    Result,
)
from billing.permissions import MAKE_BACKUP

TASK = "billing.backup"
WHAT = "database"  # what there is to back up
NO_FOLDER = (
    "BACKUP_FOLDER is not set, so there is no place for backups: give it the path of a folder on"
    " another disk, for the worker, the web server and whoever runs manage.py."
)


class MakeBackup(Operation):
    """Has a backup of the database made: by the worker, or by who asks, where it says so."""

    name = "make_backup"
    title = "Make a backup"
    permission = MAKE_BACKUP
    audit_type = "manual.backup_started"
    target = "what"
    again = "Make another one"

    def __init__(
        self, *, what: str = WHAT, verifying: bool = True, by_worker: bool = True, **common: Any
    ) -> None:
        super().__init__(**common)
        self.what, self.verifying, self.by_worker = what, verifying, by_worker
        if what != WHAT:
            raise InvalidInputError(f"“{what[:60]}” cannot be backed up: only the {WHAT} can.")

    @property
    def subject(self) -> str:
        return "backup"

    def parameters(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "verifying": self.verifying,
            "by_worker": self.by_worker,
        }

    def plan(self) -> Plan:
        where = "in the background" if self.by_worker else "now"
        plan = Plan(
            f"Back up the database {own_database()} {where}, into {settings.BACKUP_FOLDER or '–'}."
            " It changes no row."
        )
        if not settings.BACKUP_FOLDER:
            plan.blocked = NO_FOLDER
        elif self.by_worker and is_waiting(TASK):
            plan.blocked = "One waits for the worker already. Is the worker running?"
        if not self.verifying:
            plan.warnings = ["It is not verified: nobody knows then whether it can be restored."]
        return plan

    def run(self, record: OperationRecord) -> Result:
        with self.committing(record) as commit:
            if self.by_worker:
                with transaction.atomic():
                    defer_once(
                        TASK, TASK, lock=TASK, actor=self.actor.name, verifying=self.verifying
                    )
            starts = "starts as soon as the worker is free" if self.by_worker else "starts"
            commit.result = result = Result(
                f"The backup of {own_database()} {starts}.",
                details={**self.parameters(), "database": own_database()},
            )
        return result

    def audit_payload(self, result: Result) -> dict[str, Any]:
        return result.details

    @classmethod
    def undoing(cls, record: OperationRecord, **common: Any) -> Operation:
        raise CannotUndoError("A backup changes nothing: there is nothing to take back.")


def own_database() -> str:
    """The name of the database that Django's connection leads to."""
    return str(connection.settings_dict["NAME"])

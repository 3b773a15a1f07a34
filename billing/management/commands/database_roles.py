"""`manage.py database_roles`."""

from typing import Any

from django.core.management.base import CommandParser
from django.db import ProgrammingError, connection, transaction

from billing.management.command import Answer, OperatorCommand
from billing.operations.base import InvalidInputError, OperationError
from billing.roles import grants
from billing.roles.wanted import APPLICATION, BACKOFFICE, OWNER, ROLES

NEXT = (
    "They are groups without a password. Let your log-ins be members of them:",
    f"  GRANT {BACKOFFICE} TO your_web_and_worker_login;",
    f"  GRANT {APPLICATION} TO your_application_login;",
    f"  GRANT {OWNER} TO your_deployer; ALTER ROLE your_deployer SET role = '{OWNER}';",
)


class Command(OperatorCommand):
    help = (
        f"The database's roles, with the least rights that each needs: {', '.join(ROLES)}."
        " --check (default) says what differs and ends with 1 if anything does, --print shows the"
        " SQL, --apply runs it. Run it again after each migrate or adopt: new tables need rights."
    )
    example = "database_roles --print"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--check", action="store_true", help="Say what differs (default).")
        what.add_argument(
            "--print", action="store_true", dest="print_sql", help="Show the SQL; do nothing."
        )
        what.add_argument("--apply", action="store_true", help="Run it, all or nothing.")

    def answer(self, options: dict[str, Any]) -> Answer:
        try:
            if options["apply"]:
                return applied()
            statements = planned()
        except ProgrammingError as error:
            raise OperationError(
                f"The database refused: {str(error).strip()}. Run it as a role that may make roles"
                " and owns the tables."
            ) from error
        document = {"statements": statements}
        if options["print_sql"]:
            return Answer(document, [f"{each};" for each in statements])
        lines = [f"  {each};" for each in statements] or ["All roles are as they should be."]
        said = f"{len(statements):,} statements would put it right: database_roles --apply."
        return Answer(document, lines, said if statements else "")


def planned() -> list[str]:
    """The statements, found out by running them and taking all of it back.

    Some rights can only be read once the roles are there.
    """
    done: list[str] = []
    with transaction.atomic():
        done = run()
        transaction.set_rollback(True)
    return done


def applied() -> Answer:
    with transaction.atomic():
        done = run()
    lines = [f"{len(done):,} statements were run.", *NEXT] if done else ["Nothing was to be done."]
    return Answer({"statements": done}, lines)


def run() -> list[str]:
    """Runs what is missing; what comes of one statement may show the next."""
    done: list[str] = []
    for _ in range(3):
        statements = grants.statements()
        if not statements:
            return done
        with connection.cursor() as cursor:
            for each in statements:
                cursor.execute(each)
        done += statements
    raise InvalidInputError("The rights change while they are set: look for who else sets them.")

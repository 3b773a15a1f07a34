"""`manage.py credit_usage`."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from billing.management.command import Answer, OperatorCommand
from billing.management.report import add_days, as_csv, shown_days, window
from billing.operations.base import InvalidInputError
from billing.revenue.usage import usage

COLUMNS = ("user_id", "claims", "credits", "mean", "spread", "periods", "direction")


class Command(OperatorCommand):
    help = (
        "Show who claimed most, and whose credits differ from what they themselves used in the"
        " eight periods before. Reads our own rows only, changes nothing, and ends with 0: an"
        " outlier is for a person to look at."
    )
    example = "credit_usage --from 2026-11-01 --to 2026-11-07"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_days(parser)
        parser.add_argument(
            "--csv", action="store_true", dest="as_csv", help="Answer with CSV, a line a user."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        if options["as_csv"] and options["as_json"]:
            raise InvalidInputError("Ask for --json or for --csv.")
        said = usage(**window(options))
        return Answer(said, csv_lines(said) if options["as_csv"] else list(text_lines(said)))


def text_lines(said: dict[str, Any]) -> Iterator[str]:
    totals, before = said["totals"], said["before"]
    yield shown_days(said)
    yield (
        f"Credits: {totals['credits']:,}, in the period before {before['credits']:,}."
        f" Claims: {totals['claims']:,}, and {totals['failed']:,} that failed."
        f" Users: {totals['users']:,}."
    )
    yield from ["", f"Users that used most: {len(said['top'])}"]
    yield from (_line(user) for user in said["top"])
    yield from ["", f"Users unlike their own weeks before: {said['outliers_found']}"]
    yield from (_line(user) for user in said["outliers"])
    if more := said["outliers_found"] - len(said["outliers"]):
        yield f"  and {more:,} more."


def _line(user: dict[str, Any]) -> str:
    usual = f"usually {user['mean']:,}" if user["periods"] else "new"
    unlike = f", {user['direction'].upper()}" if user["direction"] else ""
    claims = "1 claim" if user["claims"] == 1 else f"{user['claims']:,} claims"
    return f"  {user['user_id']}: {user['credits']:,} credits in {claims}, {usual}{unlike}"


def csv_lines(said: dict[str, Any]) -> list[str]:
    """A line for each user that is listed, each once."""
    listed = {user["user_id"]: user for user in [*said["top"], *said["outliers"]]}
    return as_csv(COLUMNS, ([user[name] for name in COLUMNS] for user in listed.values()))

"""`python -m tests.year.figures FIRST LAST ZONE DAY...`: finance's figures by its commands.

Ageing is asked for at the end of each DAY. One process for all; one JSON document.
"""

import io
import json
import os
import sys
from typing import Any

import django


def main(first: str, last: str, zone: str, *month_ends: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backoffice.settings")
    django.setup()
    from billing.revenue.credits.figures import proof

    days = ("--from", first, "--to", last, "--timezone", zone, "--by", "month")
    document = {
        "synced": told("sync_balance"),
        "refreshed": told("finance_facts", "refresh"),
        "checked": told("finance_facts", "check"),
        "revenue": told("revenue", *days),
        "by_kind": told("revenue", *days, "--split", "kind"),
        "by_country": told("revenue", *days, "--split", "country"),
        "by_price": told("revenue", *days, "--split", "price"),
        "mrr": told("mrr", *days),
        "failed": told("failed_payments", *days),
        "credits": told("credits", *days),
        "proof": proof(),
        "balance": told("balance", *days),
        "ageing": {day: told("ageing", "--to", day, "--timezone", zone) for day in month_ends},
    }
    sys.stdout.write(json.dumps(document))


def told(command: str, *arguments: str) -> Any:
    from django.core.management import call_command

    answer = io.StringIO()
    call_command(command, *arguments, "--json", stdout=answer)
    return json.loads(answer.getvalue())


if __name__ == "__main__":
    main(*sys.argv[1:])

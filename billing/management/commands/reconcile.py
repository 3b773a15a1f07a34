"""`manage.py reconcile`."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser

from billing.alerts import heartbeat
from billing.alerts.firing import counted
from billing.diagnosis.kinds import label_of
from billing.formatting import format_money, format_time, iso_time
from billing.management.command import USAGE, Answer, OperatorCommand
from billing.models import FindingRecord, ReconciliationRun
from billing.operations import inputs
from billing.operations.base import InvalidInputError
from billing.reconciliation import fixing, runs, worklist
from billing.reconciliation.lists import LISTS

MOST_GRACE = 24 * 60 * 60  # seconds
KINDS = [listed.kind for listed in LISTS]


class Command(OperatorCommand):
    help = (
        "Compare our books with Stripe's, both ways, and keep every difference as a finding:"
        " `daily` what was made since the last one, `weekly` a week with usage and revenue, `full`"
        " all of it, for use after an incident. A run that was interrupted goes on where it was."
        " Ends with 0 if nothing differs, 1 if something does, 2 if it could not finish."
    )
    example = "reconcile daily --fix"
    unfinished = USAGE

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("kind", choices=ReconciliationRun.Kind.values)
        parser.add_argument(
            "--fix",
            action="store_true",
            help="Then mend what can be mended safely: syncs, replays, and grants of purchases.",
        )
        parser.add_argument(
            "--since",
            metavar="TIME",
            help="Begin the window here (UTC), such as 2026-11-20 or 2026-11-20T13:00.",
        )
        parser.add_argument(
            "--grace",
            type=int,
            default=None,
            metavar="SECONDS",
            help="For how long an event may be on its way before its absence is a difference"
            " (default: 120). After an outage, once nothing is on its way any more: 0.",
        )
        parser.add_argument(
            "--actor", default=None, help="Who asks (default: the user of this system)."
        )

    def answer(self, options: dict[str, Any]) -> Answer:
        actor = self.actor(options)
        since = inputs.moment(options["since"]) if options["since"] else None
        grace = options["grace"]
        if grace is not None and not 0 <= grace <= MOST_GRACE:
            raise InvalidInputError(f"The grace is 0 to {MOST_GRACE:,} seconds.")
        if since and options["kind"] == ReconciliationRun.Kind.FULL:
            raise InvalidInputError("A full reconciliation is over all time: leave --since out.")
        try:
            with self.progress() as bars:
                bar = bars.add_task("Reconciling", total=None)

                def tell(said: str) -> None:
                    bars.update(bar, description=said)

                run = runs.reconcile(
                    options["kind"],
                    actor=actor.name,
                    since=since,
                    on_progress=tell,
                    grace=None if grace is None else timedelta(seconds=grace),
                )
                fixed = fixing.fix(run, actor, tell) if options["fix"] else fixing.Fixed()
        except runs.AlreadyRunningError as error:
            raise InvalidInputError(str(error)) from error
        if run.kind == ReconciliationRun.Kind.DAILY:
            heartbeat.beat()
        return answered(run, fixed)


def answered(run: ReconciliationRun, fixed: "fixing.Fixed") -> Answer:
    """What a run found, and what was mended of it."""
    found = list(FindingRecord.objects.filter(run=run).order_by(*worklist.GRAVEST_FIRST))
    open_ = worklist.open_findings().filter(run=run).count()
    document = {
        "run": run.pk,
        "window": {
            "kind": run.kind,
            "since": iso_time(run.since) if run.since else None,
            "until": iso_time(run.until),
        },
        "counts": run.counts,
        "findings": [worklist.as_dict(each) for each in found],
        "fixed": fixed.as_dicts(),
        "api_calls": run.api_calls,
        "measures": run.measures,
        "report": run.report,
        "seconds": round(run.seconds, 1),
        "in_flight": run.in_flight,
    }
    return Answer(
        document,
        [*_window(run), *_counted(run), *_listed(found), *_left_out(run), *fixed.lines()],
        _attention(open_),
    )


def _window(run: ReconciliationRun) -> list[str]:
    since = format_time(run.since) if run.since else "the beginning"
    said = (
        f"{run.get_kind_display()} reconciliation {run.pk}: from {since} to"
        f" {format_time(run.until)}, in {run.seconds:,.0f} s with {run.api_calls:,} requests."
    )
    return [said]


def _left_out(run: ReconciliationRun) -> list[str]:
    """That a run has not judged everything, where it has not."""
    if not run.in_flight:
        return []
    left = counted(run.in_flight, "object was", "objects were")
    return [f"{left} left for the next run: an event about each was still on its way."]


def _counted(run: ReconciliationRun) -> list[str]:
    """Both sides by kind, subscriptions by status, events by day: R1 and R2 of the runbook."""
    statuses = run.counts.get("subscription", {}).get("statuses", {})
    return [
        *_by_kind(run),
        *(
            f"  subscriptions {status}: {both['stripe']:,} at Stripe, {both['here']:,} here"
            for status, both in sorted(statuses.items())
        ),
        *_by_day(run),
    ]


def _by_day(run: ReconciliationRun) -> list[str]:
    days: dict[str, list[int]] = {}
    for hour, stripe, here in run.measures.get("events_by_hour", []):
        both = days.setdefault(hour[:10], [0, 0])
        both[0] += stripe
        both[1] += here
    return [
        f"  events of {day}: {stripe:,} at Stripe, {here:,} here"
        for day, (stripe, here) in days.items()
    ]


def _by_kind(run: ReconciliationRun) -> list[str]:
    return [
        f"  {kind}: {held['stripe']:,} at Stripe, {held['here']:,} here; {held['missing']:,}"
        f" missing here, {held['only_here']:,} only here, {held['differs']:,} different"
        for kind, held in sorted(run.counts.items(), key=lambda each: KINDS.index(each[0]))
    ]


def _listed(found: list[FindingRecord]) -> list[str]:
    if not found:
        return ["Nothing differs."]
    return [
        f"{each.pk}  {each.severity}  {label_of(each.kind)}: {each.subject}{_stake(each)}"
        f" ({each.get_state_display().lower()})"
        for each in found
    ]


def _stake(each: FindingRecord) -> str:
    amounts = [] if each.amount is None else [format_money(each.amount, each.currency)]
    credits_ = [] if each.credits is None else [f"{each.credits:,} credits"]
    at_stake = " and ".join(amounts + credits_)
    return f", {at_stake}" if at_stake else ""


def _attention(open_: int) -> str:
    if not open_:
        return ""
    said = counted(open_, "finding is", "findings are")
    return f"{said} open. By number: manage.py fix_finding, take_finding, accept_finding."

"""The last reconciliation, and how it went from day to day."""

from datetime import datetime, timedelta

from billing.admin import run_charts
from billing.admin.cells import EMPTY, changelist_url, page_url
from billing.admin.home.figures import Figure, Section
from billing.admin.home.findings import worth
from billing.admin.runs import progress_words
from billing.formatting import format_age, format_time
from billing.models import ReconciliationRun

LATE = timedelta(hours=26)  # a day, and two hours for the run itself

Status = ReconciliationRun.Status
START_IT = "Start it: manage.py reconcile daily."


def section(now: datetime) -> Section:
    """Do our books equal Stripe's, and has somebody looked?"""
    last = ReconciliationRun.objects.defer("counts", "report").first()
    daily = run_charts.previous(ReconciliationRun.Kind.DAILY)
    made = Section(
        "Reconciliation",
        {"success": "Done and in order", "warning": "Look at it", "danger": "It does not run"},
    )
    made.figures = [last_run(last, now)]
    if last:
        made.figures += [found(last), completeness(last), signed_off(last)]
    made.charts = [run_charts.differences(daily), run_charts.completeness(daily)]
    return made


def last_run(run: ReconciliationRun | None, now: datetime) -> Figure:
    title = "Last reconciliation"
    if run is None:
        url = changelist_url(ReconciliationRun)
        return Figure(title, "none yet", url, f"Nothing was compared. {START_IT}", "warning")
    value = f"{run.get_kind_display()}, {format_age(run.started_at, now)}"
    if run.status == Status.FAILED:
        return Figure(title, value, page_url(run), f"It failed: {run.error}", "danger")
    if run.status == Status.RUNNING:
        return Figure(title, value, page_url(run), progress_words(run))
    if now - run.started_at > LATE:
        return Figure(
            title, value, page_url(run), f"None for more than a day. {START_IT}", "danger"
        )
    return Figure(title, value, page_url(run), f"It looked up to {format_time(run.until)}.")


def found(run: ReconciliationRun) -> Figure:
    if run.status == Status.FAILED:
        return Figure("It found", EMPTY, page_url(run), "It did not come to its end: nobody knows.")
    if not run.found:
        words = "Nothing so far." if run.status == Status.RUNNING else "Nothing, as it should be."
        return Figure("It found", "0 differences", page_url(run), words)
    amounts = {name: amount for name, amount in run.at_stake.items() if name != "credits"}
    words = f"{worth(amounts, run.at_stake.get('credits', 0))} at stake."
    return Figure("It found", f"{run.found:,} differences", page_url(run), words, "warning")


def completeness(run: ReconciliationRun) -> Figure:
    """How much of what is at Stripe was here. 99.996 % is not rounded up to the whole."""
    title, share = "Completeness", run_charts.share(run, "completeness")
    if share is None:
        return Figure(title, EMPTY, page_url(run), "It was not measured.")
    value = f"{int(share * 10_000) / 100:g} %"
    if share < 1:
        return Figure(title, value, page_url(run), "Not all that is at Stripe was here.", "warning")
    return Figure(title, value, page_url(run), "All that is at Stripe was here.")


def signed_off(run: ReconciliationRun) -> Figure:
    title = "Signed off"
    if run.signed_off_at:
        words = f"At {format_time(run.signed_off_at)}: {run.sign_off}"
        return Figure(title, f"by {run.signed_off_by}", page_url(run), words)
    tone = "warning" if run.status == Status.DONE else "success"
    return Figure(title, "not yet", page_url(run), "Finance looks, and says so with a word.", tone)

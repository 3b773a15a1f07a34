"""What a recovery came to, or how far it is, in a sentence."""

from django.utils import timezone

from billing.admin.runs import duration_words
from billing.models import Recovery
from billing.recovery import reporting, words

Status = Recovery.Status


def progress_words(row: Recovery) -> str:
    """For how long it has been under way, what it is at, and how far."""
    stage, _, said = row.stage.partition(": ")
    running_for = duration_words((timezone.now() - row.started_at).total_seconds())
    return f"Running for {running_for}: {words.STAGES.get(stage, stage)}. {said}".rstrip()


def sentence_on(row: Recovery) -> tuple[str, str]:
    """What a recovery came to, and the tone of it."""
    if row.status == Status.FAILED:
        return f"It could not come to its end. {row.error} Start it again: it goes on.", "danger"
    if row.status == Status.RUNNING:
        return "", ""
    missed = row.report.get("missed", 0)
    if left := reporting.waiting_for_people(row):
        return f"{missed:,} events were missed; {left:,} things need a person.", "warning"
    said = "and the last look found nothing that differs" if row.run_id else "and all are done"
    return f"{missed:,} events were missed, {said}.", "success"

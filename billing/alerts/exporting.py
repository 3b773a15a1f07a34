"""Is what only we know in a safe place? A rule on the export of the books."""

from collections.abc import Iterator

from billing.alerts.firing import Firing, Look, list_page
from billing.formatting import format_age, format_time
from billing.models import Backup
from billing.recovery.export.state import status


def export(look: Look) -> Iterator[Firing]:
    """The export is more than ten minutes behind, fails, or has lost its address."""
    state = status()
    late = state.is_late(look.now)
    if not (late or state.error):
        return
    since = state.until
    when = (
        f"Everything up to {format_time(since)} is there, {format_age(since, look.now)}."
        if since
        else "It has not come to its end yet."
    )
    if state.is_stopped:
        title = "Nothing is exported any more"
        what = (
            "EXPORT_URL is not set any more. Set it again for the worker; or, if that is meant, end"
            " the export: manage.py export_books --stop."
        )
    elif state.error:
        title, what = "The export of the books fails", state.error
    else:
        title = "The export of the books is late"
        what = (
            "A transaction may be open for long, or the worker at something else. Try it by hand:"
            " manage.py export_books."
        )
    yield Firing(
        title,
        f"{what} {when} Were the database lost now, claims, grants and notes since then would be"
        " too. Nothing is lost while it stands: it is tried again every ten seconds.",
        list_page(Backup),
    )

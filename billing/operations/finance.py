"""What people do with reports: save a view of one, remove it, take rows away as a file.

None of it changes a figure. Each leaves an audit event.
"""

from typing import Any

from django.db import IntegrityError, transaction

from billing.models import BillingEvent, SavedView, acting_as
from billing.operations import inputs
from billing.operations.base import Actor, InvalidInputError, NotPermittedError
from billing.permissions import EXPORT, VIEW_FINANCE

MOST_QUERY = 2_000  # characters
MOST_NAME = 80


def record_export(actor: Actor, what: str, query: str, kind: str) -> None:
    """Writes down who takes which rows away, before the first of them goes.

    `what` is the table or report, `query` its filters as the address has them, `kind` the file's.
    """
    said = {"export": what, "filters": query[:MOST_QUERY], "file": kind, "admin": actor.name}
    _audit(actor, "manual.export", said, f"{what} was exported as {kind}.")


def save_view(actor: Actor, name: str, report: str, query: str) -> SavedView:
    """Keeps a report with its filters under a name. Raises InvalidInputError where it is taken."""
    _require(actor, VIEW_FINANCE)
    name = inputs.words(name, "The name", most=MOST_NAME)
    if len(query) > MOST_QUERY:
        raise InvalidInputError("These are too many filters to be saved.")
    try:
        with transaction.atomic():
            made = SavedView.objects.create(
                name=name, report=report, query=query, saved_by=actor.name
            )
            said = {"view": name, "report": report, "filters": query, "admin": actor.name}
            _audit(actor, "manual.view_saved", said, f"The view “{name}” was saved.")
    except IntegrityError as error:
        raise InvalidInputError(
            f"There is a view “{name}” already: choose another name."
        ) from error
    return made


def remove_view(actor: Actor, view: SavedView) -> None:
    """Removes a saved view: one's own, or anybody's for those who may export."""
    _require(actor, VIEW_FINANCE if view.saved_by == actor.name else EXPORT)
    with transaction.atomic():
        said = {
            "view": view.name, "report": view.report, "filters": view.query, "admin": actor.name,
        }  # fmt: skip
        _audit(actor, "manual.view_removed", said, f"The view “{view.name}” was removed.")
        view.delete()


def _require(actor: Actor, permission: str) -> None:
    if not actor.may(permission):
        raise NotPermittedError(f"{actor.name} may not do this.")


def _audit(actor: Actor, type_: str, said: dict[str, Any], summary: str) -> None:
    with transaction.atomic(), acting_as(actor.name):
        BillingEvent.objects.create(type=type_, payload=said | {"summary": summary})

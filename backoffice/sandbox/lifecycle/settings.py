"""What the account's owner sets in Stripe's dashboard."""

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

NAME = "settings"
AFTER_RETRIES = ("canceled", "unpaid", "past_due")
"""What can become of a subscription once every attempt to collect has failed."""


def shown(work: Work) -> Json:
    """The settings, by name."""
    return {"after_retries": AFTER_RETRIES[0], **work.remembered(NAME)}


def after_retries(work: Work) -> str:
    """What becomes of a subscription once every attempt to collect has failed."""
    return str(shown(work)["after_retries"])


def change(work: Work, changes: Json) -> Json:
    """Sets what `changes` names, and returns all settings; a 400 for what is none."""
    for name, value in changes.items():
        if name != "after_retries" or value not in AFTER_RETRIES:
            raise invalid(f"after_retries is one of {', '.join(AFTER_RETRIES)}.", name)
    changed = shown(work) | changes
    work.remember(NAME, changed)
    return changed

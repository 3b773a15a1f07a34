"""What the account's owner sets in Stripe's dashboard."""

from backoffice.sandbox.errors import invalid
from backoffice.sandbox.lifecycle import payouts
from backoffice.sandbox.types import Json
from backoffice.sandbox.work import Work

NAME = "settings"
CHOICES = {
    "after_retries": ("canceled", "unpaid", "past_due"),
    "payouts": ("manual", "daily"),
}
"""What can become of a subscription once every attempt to collect has failed, and when the
balance is paid out. What comes first is so until it is changed."""


def shown(work: Work) -> Json:
    """The settings, by name."""
    return {name: first for name, (first, *_) in CHOICES.items()} | work.remembered(NAME)


def after_retries(work: Work) -> str:
    """What becomes of a subscription once every attempt to collect has failed."""
    return str(shown(work)["after_retries"])


def change(work: Work, changes: Json) -> Json:
    """Sets what `changes` names, and returns all settings; a 400 for what is none."""
    for name, value in changes.items():
        if value not in CHOICES.get(name, ()):
            known = (f"{each} is one of {', '.join(values)}" for each, values in CHOICES.items())
            raise invalid(f"{'; '.join(known)}.", name)
    changed = shown(work) | changes
    work.remember(NAME, changed)
    if "payouts" in changes:
        payouts.set_schedule(work, daily=changed["payouts"] == "daily")
    return changed

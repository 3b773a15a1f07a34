"""Who looks after something: a user of the admin, by name."""

from django.contrib.auth import get_user_model

from billing.operations.base import CLI, Actor


def named_or(actor: Actor, owner: str | None) -> str:
    """The owner's name as it was given; who asks, where none was."""
    return (actor.name.removeprefix(CLI) if owner is None else owner).strip()


def objection(owner: str) -> str:
    """Why nobody of this name can own anything; '' where somebody can."""
    users = get_user_model()._default_manager.filter(is_active=True, is_staff=True)
    if users.filter(username=owner).exists():
        return ""
    return f"{owner} has no account here: name the user who is to own it."

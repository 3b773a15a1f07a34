"""How many credits one person may move alone, and what they moved already."""

from datetime import timedelta

from django.contrib.auth.models import PermissionsMixin
from django.db.models import BigIntegerField, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Abs, Cast, Now

from billing.models import OperationRecord
from billing.operations.base import Actor
from billing.permissions import COMMAND_LIMIT, CREDIT_LIMITS, CreditLimit

COUNTED = ("grant_credits", "correct_balance", "tie_out_balance")
A_DAY = timedelta(hours=24)


def approval(actor: Actor, amount: int) -> str:
    """Why a second person has to agree to so many credits; '' where nobody has to."""
    limit = limit_of(actor)
    if amount > limit.at_once:
        return (
            f"{amount:,} credits are more than {actor.name} may move at once"
            f" ({limit.at_once:,}): another person has to approve it."
        )
    moved = moved_lately(actor)
    if moved + amount > limit.a_day:
        return (
            f"With these {amount:,} credits {actor.name} would have moved {moved + amount:,} in"
            f" 24 hours, and may move {limit.a_day:,}: another person has to approve it."
        )
    return ""


def limit_of(actor: Actor) -> CreditLimit:
    """The widest limit among the actor's roles; the narrowest for one who has none."""
    if actor.user is None:
        return COMMAND_LIMIT
    user = actor.user
    assert isinstance(user, PermissionsMixin)  # noqa: S101  (narrows the type)
    if user.is_superuser:
        return COMMAND_LIMIT
    roles = set(user.groups.values_list("name", flat=True))
    limits = [limit for role, limit in CREDIT_LIMITS.items() if role in roles]
    if not limits:
        return min(CREDIT_LIMITS.values(), key=lambda limit: limit.at_once)
    return max(limits, key=lambda limit: limit.at_once)


def moved_lately(actor: Actor) -> int:
    """Credits that the actor granted or corrected without a second person, in 24 hours."""
    amount = Abs(Cast(KT("result__details__amount"), BigIntegerField()))
    found = OperationRecord.objects.filter(
        actor=actor.name,
        name__in=COUNTED,
        status=OperationRecord.Status.APPLIED,
        decided_by="",
        created_at__gte=Now() - A_DAY,
    ).aggregate(moved=Sum(amount))
    return found["moved"] or 0

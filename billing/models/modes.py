"""Stripe's two modes: which of them a row is of."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.functions import Cast
from django.db.models.lookups import Exact

_AS_NUMBER = Cast("livemode", models.IntegerField())


def in_mode(*, live: bool) -> models.Q:
    """Rows of one mode, as `mode_index` finds them."""
    return models.Q(Exact(_AS_NUMBER, int(live)))


def mode_index(name: str) -> models.Index:
    """Nearly all rows of a database are of one mode, and those of the other lie together: a few
    kilobytes say in which blocks. Booleans have no such index, numbers have."""
    return BrinIndex(_AS_NUMBER, autosummarize=True, name=name)

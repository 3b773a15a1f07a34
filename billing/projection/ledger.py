"""Posting to the credit ledger: the only code that changes `lead_credits`.

The entries themselves are written by the table's trigger, from what is announced here,
and only if it adds up (billing.models.credits).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connection

from billing.models import CreditEntry
from billing.models.context import set_setting

MAX_BALANCE = 2**62  # credits; what a bigint holds, with room for one more entry


class LedgerError(Exception):
    """An entry that cannot be posted. The text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Credits to give (`amount` above 0) or to take back (below 0), and why.

    `source` names what was bought, refunded or disputed: one source is posted once.
    """

    user_id: str
    amount: int
    kind: CreditEntry.Kind
    source: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Posted:
    """What an entry did: to the balance, and to what is owed."""

    entry: Entry
    delta: int
    owed_delta: int
    balance_after: int
    owed_after: int


def post(entries: Sequence[Entry]) -> list[Posted]:
    """Posts the entries in their order, leaving out those whose source stands already.

    What is given pays what is owed first. What is taken takes the balance to 0 at most;
    the rest is owed. Needs an open transaction with an actor; locks the users' rows in
    the order of their ids, so that two writers wait for each other instead of blocking.
    """
    wanted = [entry for entry in entries if entry.amount]
    accounts = _lock(entry.user_id for entry in wanted)
    taken = existing_sources([entry.source for entry in wanted if entry.source])
    posted: list[Posted] = []
    for entry in wanted:
        if entry.source in taken:
            continue
        if entry.source:
            taken.add(entry.source)
        balance, owed = accounts[entry.user_id]
        settled = _settle(entry, balance, owed)
        accounts[entry.user_id] = (settled.balance_after, settled.owed_after)
        posted.append(settled)
    _write(posted)
    return posted


def correct(
    user_id: str, balance: int, *, reason: str = "", source: str | None = None
) -> Posted | None:
    """Takes a balance to a value, the difference computed under the row's lock.

    None where it has that value already. What is owed stays as it is. Raises
    LedgerError for a negative value.
    """
    if not 0 <= balance <= MAX_BALANCE:
        raise LedgerError("A balance is a whole number from 0 up.")
    before, owed = _lock([user_id])[user_id]
    if before == balance or (source and existing_sources([source])):
        return None
    entry = Entry(user_id, balance - before, CreditEntry.Kind.CORRECTION, source, reason)
    posted = Posted(entry, balance - before, 0, balance, owed)
    _write([posted])
    return posted


def existing_sources(sources: Sequence[str]) -> set[str]:
    """Those of the sources that the ledger has an entry for."""
    if not sources:
        return set()
    with connection.cursor() as cursor:
        cursor.execute("SELECT source FROM credit_entries WHERE source = ANY(%s)", [list(sources)])
        return {row[0] for row in cursor.fetchall()}


def nominal_by_source(sources: Sequence[str]) -> dict[str, int]:
    """What was given or taken for each source, whatever part of it was owed."""
    rows = CreditEntry.objects.filter(source__in=sources).values_list(
        "source", "delta", "owed_delta"
    )
    return {source: delta - owed_delta for source, delta, owed_delta in rows if source}


def _settle(entry: Entry, balance: int, owed: int) -> Posted:
    if entry.amount > 0:
        pays = min(entry.amount, owed)
        delta, owed_delta = entry.amount - pays, -pays
    else:
        takes = min(-entry.amount, balance)
        delta, owed_delta = -takes, -entry.amount - takes
    if balance + delta > MAX_BALANCE or owed + owed_delta > MAX_BALANCE:
        raise LedgerError("That is more than a balance can hold.")
    return Posted(entry, delta, owed_delta, balance + delta, owed + owed_delta)


def _lock(user_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Locks these users' rows, made where missing; (balance, owed) by user."""
    ordered = sorted(set(user_ids))
    if not ordered:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lead_credits (user_id) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [ordered],
        )
        cursor.execute(
            "SELECT user_id, balance, owed FROM lead_credits WHERE user_id = ANY(%s)"
            " ORDER BY user_id FOR UPDATE",
            [ordered],
        )
        return {user_id: (balance, owed) for user_id, balance, owed in cursor.fetchall()}


def _write(posted: Sequence[Posted]) -> None:
    """One UPDATE for all balances; the trigger writes the entries announced to it."""
    if not posted:
        return
    final = {item.entry.user_id: item for item in posted}
    set_setting("billing.entries", json.dumps([_announced(item) for item in posted]))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE lead_credits AS c SET balance = n.balance, owed = n.owed, updated_at = now()
            FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS n(user_id, balance, owed)
            WHERE c.user_id = n.user_id
            """,
            [
                list(final),
                [item.balance_after for item in final.values()],
                [item.owed_after for item in final.values()],
            ],
        )
    set_setting("billing.entries", "")


def _announced(item: Posted) -> dict[str, str | int | None]:
    return {
        "user_id": item.entry.user_id,
        "delta": item.delta,
        "owed_delta": item.owed_delta,
        "balance_after": item.balance_after,
        "owed_after": item.owed_after,
        "kind": str(item.entry.kind),
        "source": item.entry.source,
        "reason": item.entry.reason,
    }

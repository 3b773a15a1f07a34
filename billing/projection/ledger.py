"""Posting to the credit ledger: the only code that changes `lead_credits`.

The entries themselves are written by the table's trigger, from what is announced here,
and only if it adds up (billing.models.credits).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from billing.database import TEXTS, as_json, cursor, recordset
from billing.models import CreditEntry
from billing.models.context import set_setting

UNSEEN = ":unseen"  # ends the source of an entry for what the ledger never saw
RESTORED = "restore:"  # begins the source of entries that a recovery after a restore wrote
IN_OPENING = "opening:"  # before the source of what an opening balance has already
MAX_BALANCE = 2**62  # credits; what a bigint holds, with room for one more entry


class LedgerError(Exception):
    """An entry that cannot be posted. The text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Credits to give (`amount` above 0) or to take back (below 0), and why.

    `source` names what was bought, refunded or disputed: one source is posted once.
    `covered_by` names another whose entry stands for this one too. With `in_opening` the balance
    has it already, since before it was adopted: a second entry takes it out again.
    """

    user_id: str
    amount: int
    kind: CreditEntry.Kind
    source: str | None = None
    reason: str = ""
    covered_by: str | None = None
    in_opening: bool = False


@dataclass(frozen=True, slots=True)
class Posted:
    """What an entry did: to the balance, and to what is owed."""

    entry: Entry
    delta: int
    owed_delta: int
    balance_after: int
    owed_after: int

    @property
    def changes(self) -> bool:
        """Whether there is anything to write at all."""
        return bool(self.delta or self.owed_delta)


def post(entries: Sequence[Entry]) -> list[Posted]:
    """Posts the entries in their order, leaving out those whose source stands already.

    What is given pays what is owed first. What is taken takes the balance to 0 at most;
    the rest is owed. Needs an open transaction with an actor; locks the users' rows in
    the order of their ids, so that two writers wait for each other instead of blocking.
    """
    wanted = [entry for entry in entries if entry.amount]
    accounts = _lock(entry.user_id for entry in wanted)
    sources = {source for entry in wanted for source in (entry.source, entry.covered_by)}
    taken = existing_sources(source for source in sources if source)
    posted: list[Posted] = []
    for entry in wanted:
        if entry.source in taken or entry.covered_by in taken:
            continue
        if entry.source:
            taken.add(entry.source)
        balance, owed = accounts[entry.user_id]
        if entry.in_opening:
            posted += _told(entry, balance, owed)
            continue
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


def recorded(user_id: str) -> tuple[int, int]:
    """What a user's entries add up to: their credits, and what they owe."""
    with cursor() as bound:
        bound.execute(
            "SELECT coalesce(sum(delta), 0)::bigint, coalesce(sum(owed_delta), 0)::bigint"
            " FROM credit_entries WHERE user_id = %s",
            [user_id],
        )
        balance, owed = bound.fetchone()
    return balance, owed


def ways_back(
    user_id: str, held: tuple[int, int], ledger: tuple[int, int], *, reason: str, source: str
) -> tuple[Posted, Posted]:
    """The two entries that tie a balance (`held`, with what is owed) out with its ledger.

    The first tells what the ledger never saw, the second takes the balance back to what
    the ledger said; where that was below 0, to 0. `source` keys the second.
    """
    unseen = (held[0] - ledger[0], held[1] - ledger[1])
    after = (max(ledger[0], 0), max(ledger[1], 0))
    back = (after[0] - held[0], after[1] - held[1])
    kind = CreditEntry.Kind.CORRECTION
    first = Entry(user_id, unseen[0] - unseen[1], kind, f"{source}{UNSEEN}", reason)
    second = Entry(user_id, back[0] - back[1], kind, source, reason)
    return Posted(first, *unseen, *held), Posted(second, *back, *after)


def tie_out(user_id: str, *, reason: str, source: str) -> tuple[Posted, Posted] | None:
    """Brings a balance that was written past the triggers back to what its ledger says.

    Both steps become entries (`ways_back`), computed under the row's lock. None where
    balance and ledger agree. Raises LedgerError where the triggers are still off.
    """
    held, ledger = _lock([user_id])[user_id], recorded(user_id)
    if held == ledger:
        return None
    unseen, back = ways_back(user_id, held, ledger, reason=reason, source=source)
    write_entries([unseen])
    if back.changes:
        _write([back])
    if recorded(user_id) != (back.balance_after, back.owed_after):
        raise LedgerError(
            "The triggers of lead_credits are off, so that the ledger sees no change: enable them"
            " (ALTER TABLE lead_credits ENABLE TRIGGER ALL), then try again."
        )
    return unseen, back


def move(from_user: str, to_user: str, *, reason: str, sources: tuple[str, str]) -> list[Posted]:
    """Moves all of a user's credits, and what they owe, to another user: one entry for each.

    What comes pays what is owed there first, as any grant does. `sources` key the two
    entries. Empty where there is nothing to move, or it was moved before.
    """
    accounts = _lock([from_user, to_user])
    (balance, owed), (own, own_owed) = accounts[from_user], accounts[to_user]
    if not (balance or owed) or existing_sources(sources):
        return []
    after, owed_after = settled(*settled(own, own_owed, balance), -owed)
    kind = CreditEntry.Kind.CORRECTION
    taken = Entry(from_user, owed - balance, kind, sources[0], reason)
    given = Entry(to_user, balance - owed, kind, sources[1], reason)
    posted = [
        Posted(taken, -balance, -owed, 0, 0),
        Posted(given, after - own, owed_after - own_owed, after, owed_after),
    ]
    _write(posted)
    return posted


def reverse(sources: Iterable[str], *, reason: str) -> list[Posted]:
    """Takes these entries back, exactly: each by one the other way, `<source>:reversed`.

    Raises LedgerError where the user's credits have moved since: then there is no way
    back that does not take somebody else's.
    """
    entries = list(CreditEntry.objects.filter(source__in=list(sources)).order_by("id"))
    accounts = _lock(entry.user_id for entry in entries)
    posted: list[Posted] = []
    for entry in entries:
        if CreditEntry.objects.filter(user_id=entry.user_id, id__gt=entry.pk).exists():
            raise LedgerError(f"Credits of user {entry.user_id} have moved since.")
        balance, owed = accounts[entry.user_id]
        back = Entry(
            entry.user_id,
            entry.owed_delta - entry.delta,
            CreditEntry.Kind.CORRECTION,
            f"{entry.source}:reversed",
            reason,
        )
        posted.append(
            Posted(
                back,
                -entry.delta,
                -entry.owed_delta,
                balance - entry.delta,
                owed - entry.owed_delta,
            )
        )
    _write(posted)
    return posted


def existing_sources(sources: Iterable[str]) -> set[str]:
    """Those of the sources that the ledger has an entry for."""
    wanted = as_json(sources)
    if wanted == "[]":
        return set()
    with cursor() as bound:
        bound.execute(f"SELECT source FROM credit_entries WHERE source = ANY({TEXTS})", [wanted])  # noqa: S608
        return {row[0] for row in bound.fetchall()}


def nominal_by_source(sources: Iterable[str]) -> dict[str, int]:
    """What was given or taken for each source, whatever part of it was owed."""
    with cursor() as bound:
        bound.execute(
            f"SELECT source, delta - owed_delta FROM credit_entries WHERE source = ANY({TEXTS})",  # noqa: S608
            [as_json(sources)],
        )
        return dict(bound.fetchall())


def settled(balance: int, owed: int, amount: int) -> tuple[int, int]:
    """Balance and what is owed after an amount came (above 0) or was taken (below 0).

    What comes pays what is owed first; what is taken takes the balance to 0 at most, and
    the rest is owed. Raises LedgerError for more than a balance can hold.
    """
    if amount > 0:
        pays = min(amount, owed)
        after = (balance + amount - pays, owed - pays)
    else:
        takes = min(-amount, balance)
        after = (balance - takes, owed - amount - takes)
    if max(after) > MAX_BALANCE:
        raise LedgerError("That is more than a balance can hold.")
    return after


def _settle(entry: Entry, balance: int, owed: int) -> Posted:
    after, owed_after = settled(balance, owed, entry.amount)
    return Posted(entry, after - balance, owed_after - owed, after, owed_after)


def _told(entry: Entry, balance: int, owed: int) -> list[Posted]:
    """An entry whose credits the opening balance has, and what takes them out of it."""
    out = Entry(
        entry.user_id, -entry.amount, CreditEntry.Kind.OPENING, f"{IN_OPENING}{entry.source}",
        "The opening balance has it already",
    )  # fmt: skip
    return [
        Posted(entry, entry.amount, 0, balance + entry.amount, owed),
        Posted(out, -entry.amount, 0, balance, owed),
    ]


def _lock(user_ids: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Locks these users' rows, made where missing; (balance, owed) by user."""
    ordered = sorted(set(user_ids))
    if not ordered:
        return {}
    users = as_json(ordered)
    with cursor() as bound:
        bound.execute(
            "INSERT INTO lead_credits (user_id)"
            " SELECT json_array_elements_text(%s::json) ON CONFLICT DO NOTHING",
            [users],
        )
        bound.execute(
            f"SELECT user_id, balance, owed FROM lead_credits WHERE user_id = ANY({TEXTS})"  # noqa: S608
            " ORDER BY user_id FOR UPDATE",
            [users],
        )
        return {user_id: (balance, owed) for user_id, balance, owed in bound.fetchall()}


def _write(posted: Sequence[Posted]) -> None:
    """One UPDATE for all balances; the trigger writes the entries announced to it."""
    if not posted:
        return
    final = {item.entry.user_id: item for item in posted}
    columns = {"user_id": "text", "balance": "bigint", "owed": "bigint"}
    rows = [
        {"user_id": user_id, "balance": item.balance_after, "owed": item.owed_after}
        for user_id, item in final.items()
    ]
    set_setting("billing.entries", json.dumps([_announced(item) for item in posted]))
    with cursor() as bound:
        bound.execute(
            f"""
            UPDATE lead_credits AS c SET balance = n.balance, owed = n.owed, updated_at = now()
            FROM {recordset(columns)} WHERE c.user_id = n.user_id
            """,  # noqa: S608  (the columns are named above)
            [as_json(rows)],
        )
    set_setting("billing.entries", "")


def write_entries(posted: Iterable[Posted]) -> None:
    """The entries alone, for balances that say so already or are written next."""
    for item in posted:
        CreditEntry.objects.create(**_announced(item))


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

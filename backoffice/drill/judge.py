"""What was broken, what the product said of it, and whether all is as it must be in the end."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from backoffice.drill import books
from backoffice.drill.books import Books, Stripe
from backoffice.drill.faults import Fault, Names, Place, Word, mentions
from backoffice.drill.life import Life
from backoffice.drill.stand import Stand
from billing.ingress.handled import HANDLED


@dataclass
class Compared:
    """How the books differ from what they must be. Each difference is a line for people."""

    differences: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.differences or self.lost or self.doubled)

    def lines(self) -> list[str]:
        named = (("lost", self.lost), ("doubled", self.doubled), ("differs", self.differences))
        return [f"{name}: {line}" for name, lines in named for line in lines]


class Judge:
    """Of one seed. It reads the back office's database and the sandbox, and writes nothing."""

    def __init__(self, stand: Stand, life: Life) -> None:
        self.stand = stand
        self.life = life
        self.faults: list[Fault] = []
        self.unexplained: list[Word] = []
        # Purchases that nobody made, with the ids of the forged entries that name them. The ledger
        # takes no entry away: what they gave is taken back by another one, and they stay in it.
        self.scars: dict[str, str] = {}
        self.round = ""
        self.compared = Compared()

    # --- What was broken, and what was said --------------------------------------------------

    def inject(
        self,
        kind: str,
        what: str,
        about: Iterable[str] = (),
        *,
        shown: Names = frozenset(),
        explains: Names = frozenset(),
    ) -> Fault:
        """Notes what was broken just now."""
        number = len(self.faults) + 1
        fault = Fault(number, kind, what, frozenset(about), self.round, shown, explains)
        self.faults.append(fault)
        self.stand.say(f"  fault {number}: {kind}: {what}")
        return fault

    def hear(self, words: Iterable[Word]) -> None:
        """What the product says to be wrong; the same word twice is one."""
        for word in words:
            explained = [fault for fault in self.faults if fault.hear(word)]
            if not explained and not self.is_life(word) and word not in self.unexplained:
                self.unexplained.append(word)
                self.stand.say(f"  nothing explains: {word}")

    def hear_of_raw_sql(self) -> None:
        """What the audit log has of raw SQL. The marketplace's own is there, too."""
        rows = self.stand.rows(
            "SELECT type, payload FROM billing_events WHERE type LIKE 'sql.%%' ORDER BY id"
        )
        for kind, payload in rows:
            about = frozenset(str(payload.get(n)) for n in ("user_id", "subscription", "customer"))
            for fault in self.faults:
                fault.hear(Word(Place.AUDITED, kind, about))

    def is_life(self, word: Word) -> bool:
        """Whether what customers do by themselves is why it is said."""
        if word.place is not Place.FINDING:
            return False
        match word.name:
            case "claim_debited":
                return bool(word.about & self.life.failed_claims)
            case "payment_unattributed":
                return bool(word.about & self.life.guests)
        return False

    # --- What must be true -------------------------------------------------------------------

    def compare(self) -> Compared:
        """The back office's books beside those of the sandbox and the model."""
        stripe = Stripe(self.stand.sandbox, self.life.model)
        self.compared = compared = Compared()
        mine, theirs = books.found(self.stand.url), stripe.books()
        mine |= books.mirrored(self.stand.url)
        theirs |= stripe.mirrored()
        for scar in self.scars.keys() - theirs["credit_entries"].keys():
            mine["credit_entries"].pop(scar, None)
        compared.differences += books.differences(mine, theirs)
        for table, expected in theirs.items():
            only = expected.keys() - mine[table].keys()
            compared.lost += [f"{table} {key}: {expected[key]}" for key in sorted(only)]
        for table in ("lead_credits", "credit_entries"):
            compared.doubled += doubled(table, mine, theirs)
        compared.differences += [
            f"lead_credits {user}: the ledger does not add up"
            for user in books.off_the_ledger(self.stand.url)
        ]
        self.compare_events(compared)
        self.compare_ours(compared)
        return compared

    def is_scarred(self, ids: Iterable[str]) -> bool:
        """Whether these rows are all entries that were forged, and that stay for a good reason."""
        named = set(ids)
        return bool(named) and named <= set(self.scars.values())

    def compare_events(self, compared: Compared) -> None:
        """Every event of a type that we handle is here, logged once, and had its effect."""
        theirs = {
            made["id"]: made["type"]
            for made in books.listed(self.stand.sandbox, "events")
            if made["type"] in HANDLED
        }
        status = dict(self.stand.rows("SELECT stripe_event_id, status FROM billing_inbox"))
        logged = Counter(
            event
            for (event,) in self.stand.rows(
                "SELECT stripe_event_id FROM billing_events WHERE stripe_event_id IS NOT NULL"
            )
        )
        for event, kind in theirs.items():
            if event not in status or not logged[event]:
                compared.lost.append(f"billing_inbox {event}: {kind}")
            elif status[event] not in ("processed", "ignored"):
                compared.differences.append(f"billing_inbox {event}: {kind} is {status[event]}")
        compared.differences += [
            f"billing_events {event}: logged {count} times"
            for event, count in logged.items()
            if count > 1
        ]

    def compare_ours(self, compared: Compared) -> None:
        """What only we know: claims, notes, operations and their audit events."""
        model = self.life.model
        claims = {
            lead: (user, credits_, status == "failed")
            for lead, user, credits_, status in self.stand.rows(
                "SELECT lead_id, user_id, credits_spent, status FROM lead_claims"
            )
        }
        wanted = {
            lead: (claim.user_id, claim.credits, claim.has_failed)
            for lead, claim in model.claims.items()
        }
        self.compare_rows(compared, "lead_claims", claims, wanted)
        notes = Counter(self.stand.rows("SELECT user_id, text FROM billing_notes"))
        self.compare_rows(compared, "billing_notes", notes, Counter(model.notes))
        audited = Counter(
            key
            for (key,) in self.stand.rows(
                "SELECT payload->>'operation' FROM billing_events WHERE type LIKE 'manual.%%'"
                " AND payload->>'operation' <> ''",
            )
        )
        counted = {key: audited[key] for key in model.operations if audited[key]}
        expected = dict.fromkeys(model.operations, 1)
        self.compare_rows(compared, "audit event of operation", counted, expected)

    def compare_rows(
        self, compared: Compared, table: str, mine: dict[Any, Any], theirs: dict[Any, Any]
    ) -> None:
        for key in sorted(mine.keys() | theirs.keys(), key=str):
            if key not in mine:
                compared.lost.append(f"{table} {key}: {theirs[key]}")
            elif mine[key] != theirs.get(key):
                compared.differences.append(f"{table} {key}: {mine[key]}, not {theirs.get(key)}")

    def look_before(self) -> None:
        """Which faults of this round are over already: nothing differs of what they hit."""
        lines = self.compare().lines()
        for line in lines:
            self.stand.say(f"  before: {line[:150]}")
        for fault in self.faults:
            if fault.round == self.round:
                fault.is_over = not any(mentions(line, fault.about) for line in lines)

    # --- The verdict -------------------------------------------------------------------------

    def settle(self) -> None:
        """Says of every fault of the round that is over whether it was repaired."""
        lines = self.compared.lines()
        open_ = [fault for fault in self.faults if not fault.is_repaired]
        blamed = [f for f in open_ if any(mentions(line, f.about) for line in lines)]
        for fault in open_:
            fault.is_repaired = not lines or (bool(blamed) and fault not in blamed)

    def said_of_round(self) -> str:
        """The round in a few words."""
        faults = [fault for fault in self.faults if fault.round == self.round]
        good = sum(fault.is_found and fault.is_repaired for fault in faults)
        said = f"{good} of {len(faults)} faults found and repaired"
        wrong = len(self.compared.lines())
        return f"{said}, {wrong} things differ" if wrong else said

    @property
    def is_passed(self) -> bool:
        return (
            self.compared.is_clean
            and not self.unexplained
            and all(fault.is_found and fault.is_repaired for fault in self.faults)
        )

    def document(self, seed: int) -> dict[str, int]:
        return {
            "seed": seed,
            "faults": len(self.faults),
            "found": sum(fault.is_found for fault in self.faults),
            "repaired": sum(fault.is_repaired for fault in self.faults),
            "wrongly_reported": len(self.unexplained),
            "credits_doubled": len(self.compared.doubled),
            "rows_lost": len(self.compared.lost),
        }


def doubled(table: str, mine: Books, theirs: Books) -> list[str]:
    """Purchases that were granted more than they are worth, users who hold more than is theirs."""
    return [
        f"{table} {key}: {held} credits, and {theirs[table].get(key, 0)} would be right"
        for key, held in mine[table].items()
        if held > theirs[table].get(key, 0)
    ]

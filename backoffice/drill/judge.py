"""What was broken, what the product said of it, and whether all is as it must be in the end."""

from collections.abc import Iterable

from backoffice.drill.comparing import Compared, compare
from backoffice.drill.faults import Fault, Names, Place, Word, mentions
from backoffice.drill.life import Life
from backoffice.drill.stand import Stand


class Judge:
    """Of one seed. It reads the back office's database and the sandbox, and writes nothing."""

    def __init__(self, stand: Stand, life: Life) -> None:
        self.stand = stand
        self.life = life
        self.faults: list[Fault] = []
        self.unexplained: list[Word] = []
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
        self.compared = compare(self.stand.url, self.stand.sandbox, self.life.model)
        return self.compared

    def is_scarred(self, ids: Iterable[str]) -> bool:
        """Whether these rows are all entries that were forged, and that stay for a good reason."""
        named = set(ids)
        return bool(named) and named <= set(self.life.model.forged.values())

    def look_before(self) -> None:
        """Which faults of this round are over already: nothing differs of what they hit, or events
        about it are under way, which undo it before anybody can look."""
        to_be_shown = [f for f in self.faults if f.round == self.round and not f.is_absorbed]
        coming = self.stand.under_way() if to_be_shown else set()
        lines = self.compare().lines() if to_be_shown else []
        for fault in to_be_shown:
            differs = any(mentions(line, fault.about) for line in lines)
            fault.is_over = not differs or bool(coming & fault.about)

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

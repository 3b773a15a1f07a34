"""What was broken, and where the product has to say so."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

ANY = "*"


class Place(StrEnum):
    """Where the product speaks."""

    FINDING = "finding"  # of a reconciliation; its kind
    ALERT = "alert"  # its rule
    WEBHOOKS = "webhooks"  # check_webhooks; the check that failed
    REFUSED = "refused"  # requests that the webhook refused; the reason
    RECOVERY = "recovery"  # an event that a recovery has listed as missed; how it was missed
    ASSESSMENT = "assessment"  # assess; the check that is not well
    AUDIT = "audit"  # verify_audit
    AUDITED = "audited"  # what raw SQL did, as the audit log has it; the event's type
    COMMAND = "command"  # a command that ended with 2; its name


@dataclass(frozen=True)
class Word:
    """One thing that the product said to be wrong. `about` are the ids that it names."""

    place: Place
    name: str
    about: frozenset[str] = frozenset()
    text: str = ""

    def __str__(self) -> str:
        named = ", ".join(sorted(self.about)[:3])
        return f"{self.place} {self.name} {named} {self.text}".strip()


Names = frozenset[tuple[Place, str]]


@dataclass
class Fault:
    """One thing that was broken.

    `about` are ids of what it hit. The product must have shown it in one of `shown`, places with
    the name under which; it may besides in those of `explains`. One that is absorbed need not be
    shown at all: nobody is to notice it, and the comparison in the end says whether that was so. So
    it is with one that was over before anybody looked, such as a row that a later event restored.
    """

    number: int
    kind: str
    what: str
    about: frozenset[str]
    round: str
    shown: Names = frozenset()
    explains: Names = frozenset()
    words: list[Word] = field(default_factory=list)
    is_over: bool = False  # before anybody was called: what came later has undone it
    is_repaired: bool = False

    @property
    def is_absorbed(self) -> bool:
        return not self.shown or (self.is_over and not self.words)

    @property
    def is_found(self) -> bool:
        return bool(self.words) or (self.is_absorbed and self.is_repaired)

    def hear(self, word: Word) -> bool:
        """Whether this fault is why the product said so; it is found, if it had to be."""
        if word.about and not word.about & self.about:
            return False
        if is_among(word, self.shown):
            self.words.append(word)
            return True
        return is_among(word, self.explains)

    def __str__(self) -> str:
        if self.is_absorbed:
            found = "absorbed" if self.is_repaired else "NOT ABSORBED"
        else:
            found = (
                f"shown by {self.words[0].place} {self.words[0].name}"
                if self.words
                else "NOT FOUND"
            )
        repaired = "repaired" if self.is_repaired else "NOT REPAIRED"
        return f"{self.number:3d}  {self.kind}: {self.what}. {found}, {repaired}"


def is_among(word: Word, names: Names) -> bool:
    return (word.place, word.name) in names or (word.place, ANY) in names


def places(place: Place, *names: str) -> Names:
    return frozenset((place, name) for name in names)


def mentions(line: str, ids: Iterable[str]) -> bool:
    """Whether a line names one of these ids, as a whole."""
    words = set(line.replace("'", " ").replace(",", " ").replace(":", " ").split())
    return any(each in words for each in ids)

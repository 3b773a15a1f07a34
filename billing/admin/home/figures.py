"""What the home page is made of: sections, each with an answer, its figures and its charts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from billing.admin.charts import Chart
from billing.admin.related import Table

TONES = ("danger", "warning", "success")  # what needs a person first


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, where it leads, and whether it is as it should be: in words, and a tone."""

    title: str
    value: str
    url: str
    verdict: str
    tone: str = "success"

    @property
    def is_good(self) -> bool:
        return self.tone == "success"


@dataclass(slots=True)
class Section:
    """One question, what shows the answer, and the answer: the worst tone of its figures."""

    title: str
    answers: Mapping[str, str]  # by tone; none where nothing is good or bad
    figures: list[Figure] = field(default_factory=list)
    table: Table | None = None
    charts: Sequence[Chart] = ()
    note: str = ""

    @property
    def tone(self) -> str:
        tones = {figure.tone for figure in self.figures}
        return next((tone for tone in TONES if tone in tones), "success")

    @property
    def answer(self) -> str:
        return self.answers.get(self.tone, "")

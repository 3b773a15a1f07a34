"""What a drill is asked for: handed from the command to the drill's own process as JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """`rounds` is how many are played, 0 for as many as there are scenarios; with `minutes` it goes
    on until these are over. `without` are steps that the engineer leaves out."""

    seeds: tuple[int, ...]
    scenarios: tuple[str, ...]
    minutes: float = 0
    rounds: int = 0
    as_json: bool = False
    keep: bool = False
    verbosity: int = 1
    without: tuple[str, ...] = ()

    def as_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Options":
        given: Any = json.loads(text)
        return cls(**{**given, **{n: tuple(v) for n, v in given.items() if isinstance(v, list)}})

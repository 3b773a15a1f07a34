"""Spans of what takes time, for whoever collects traces; nothing at all where nobody does."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Value = str | int | float | bool


class Span(Protocol):
    """What is told of a span while it lasts."""

    def set_attribute(self, key: str, value: Value) -> None: ...


class Tracer(Protocol):
    """OpenTelemetry's, as far as it is used."""

    def start_as_current_span(
        self,
        name: str,
        *,
        attributes: dict[str, Value],
        record_exception: bool,
        set_status_on_exception: bool,
    ) -> AbstractContextManager[Span]: ...


class _Untold:
    def set_attribute(self, key: str, value: Value) -> None:
        """Nobody listens."""


_tracers: list[Tracer] = []


def trace_with(tracer: Tracer | None) -> None:
    """From now on, spans go there; nowhere for None."""
    _tracers[:] = [tracer] if tracer else []


@contextmanager
def span(name: str, **attributes: Value) -> Iterator[Span]:
    """What happens within it. Attributes are ids, counts and routes: never an address or a body.

    Of an error its type alone is told: what it says may quote somebody.
    """
    if not _tracers:
        yield _Untold()
        return
    with _tracers[0].start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as began:
        try:
            yield began
        except Exception as error:
            began.set_attribute("error.type", type(error).__name__)
            raise

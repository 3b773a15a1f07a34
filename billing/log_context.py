"""What the log lines of this moment are about: the ids that lead from a line to its page."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Context:
    """A request's id, a Stripe event's, and an operation's key; '' where it is about none."""

    request: str = ""
    event: str = ""
    operation: str = ""


_context: ContextVar[Context] = ContextVar("billing.log_context", default=Context())  # noqa: B039


def log_context() -> Context:
    return _context.get()


@contextmanager
def about(**ids: str) -> Iterator[None]:
    """Within it, log lines carry these ids beside those that they carried before."""
    token = _context.set(replace(_context.get(), **ids))
    try:
        yield
    finally:
        _context.reset(token)

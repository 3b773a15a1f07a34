"""How many events are a batch: whoever needs an object of it waits until it is written."""

from hypothesis import given
from hypothesis import strategies as st

from billing.ingress.worker import BATCH, SMALL, SPAN, Pace

SLOW, QUICK = SPAN * 2, SPAN / 4


def test_a_batch_that_takes_too_long_is_followed_by_half_of_it() -> None:
    pace = Pace(BATCH)
    pace.note(BATCH, SLOW)
    assert pace.size == BATCH // 2
    pace.note(8, SLOW)
    assert pace.size == SMALL


def test_full_batches_that_are_quick_grow_again() -> None:
    pace = Pace(size=40)
    pace.note(39, QUICK)
    assert pace.size == 40
    pace.note(40, SPAN)
    assert pace.size == 40
    pace.note(40, QUICK)
    assert pace.size == 80
    pace.note(80, QUICK)
    assert pace.size == BATCH


@given(st.lists(st.tuples(st.integers(1, BATCH), st.floats(0, 100 * SPAN))))
def test_it_stays_within_its_bounds(taken: list[tuple[int, float]]) -> None:
    pace = Pace()
    for events, seconds in taken:
        pace.note(events, seconds)
        assert SMALL <= pace.size <= BATCH

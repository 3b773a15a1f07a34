"""Collecting figures: each by its name, with what it means, and a value for its labels."""

from collections.abc import Callable, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    Metric,
)

Add = Callable[..., None]
"""Takes a value, and then one text for each label."""


class Figures:
    """Families of figures by their names. One without any value is exposed all the same."""

    def __init__(self) -> None:
        self.families: dict[str, Metric] = {}

    def gauge(self, name: str, meaning: str, *labels: str) -> Add:
        return self._add(GaugeMetricFamily(name, meaning, labels=labels))

    def counter(self, name: str, meaning: str, *labels: str) -> Add:
        """`name` ends in `_total`."""
        return self._add(CounterMetricFamily(name, meaning, labels=labels))

    def histogram(
        self, name: str, meaning: str, counts: Mapping[float, int], total: int, sum_: float
    ) -> None:
        """Of a span of time, not of all time: `counts` has how many were at most so much."""
        buckets = [*((f"{bound:g}", count) for bound, count in counts.items()), ("+Inf", total)]
        self._add(GaugeHistogramMetricFamily(name, meaning, buckets=buckets, gsum_value=sum_))

    def _add(self, family: Metric) -> Add:
        self.families[family.name] = family

        def add(value: float, *labels: str) -> None:
            family.add_metric(list(labels), value)  # type: ignore[attr-defined]  # of its subclasses

        return add


def seconds(value: object) -> float:
    """A span that the database gave, in seconds, and no less than none."""
    return max(0.0, float(value))  # type: ignore[arg-type]

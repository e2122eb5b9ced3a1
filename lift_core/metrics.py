"""The registry's figures in the text format that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from lift_core.registry import AdapterRegistry
from lift_core.registry.figures import Figure, Sample

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(registry: AdapterRegistry) -> bytes:
    """All figures of this moment as Prometheus's text format 0.0.4.

    Raises:
        ServiceUnavailableError: the registry is away. There is no text of half the figures.
    """
    collected = CollectorRegistry(auto_describe=False)
    collected.register(_Read(registry.figures()))
    return generate_latest(collected)


class _Read:
    """Figures that were read, as the library wants to collect them."""

    def __init__(self, figures: list[tuple[Figure, list[Sample]]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """The metrics with their samples."""
        for figure, samples in self._figures:
            yield _family(figure, samples)


def _family(figure: Figure, samples: list[Sample]) -> Metric:
    if figure.kind == "summary":
        summary = SummaryMetricFamily(figure.name, figure.help, labels=figure.labels)
        for each in samples:
            count, total = each.values
            summary.add_metric(each.labels, count_value=int(count), sum_value=total)
        return summary
    kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
    family = kind(figure.name, figure.help, labels=figure.labels)
    for each in samples:
        family.add_metric(each.labels, each.values[0])
    return family

"""The figures of /metrics: counters of all processes added up, everything else of this process."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample


class _Everything(Collector):
    """This process's metrics, with the counters of ours replaced by everybody's."""

    def __init__(self, totals: Mapping[str, Sequence[Sample]]) -> None:
        self._totals = totals

    def collect(self) -> Iterable[Metric]:
        for family in REGISTRY.collect():
            if family.type == "counter" and family.name in self._totals:
                family.samples = list(self._totals[family.name])
            yield family


def render(totals: Sequence[Sample]) -> bytes:
    """The page in Prometheus' text format; without totals, this process's own counters."""
    by_family: dict[str, list[Sample]] = {}
    for sample in totals:
        by_family.setdefault(sample.name.removesuffix("_total"), []).append(sample)
    registry = CollectorRegistry()
    registry.register(_Everything(by_family))
    return generate_latest(registry)

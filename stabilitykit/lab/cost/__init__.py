"""What a transformer costs: operations, bytes, memory, and the least time a machine takes for them.

Names are loaded when first used. What is predicted comes from the configuration alone.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.lab.cost.comparisons import COMPARISONS, compared, variants
    from stabilitykit.lab.cost.counted.count import Count
    from stabilitykit.lab.cost.measured.variant import Variant
    from stabilitykit.lab.cost.memory import memory_available, require_memory
    from stabilitykit.lab.cost.operation import Operation, Work
    from stabilitykit.lab.cost.peaks import Peaks, measure_peaks
    from stabilitykit.lab.cost.predicted.prediction import Prediction, predict
    from stabilitykit.lab.cost.pricing import Priced, cost_document, priced
    from stabilitykit.lab.cost.profiling import profile
    from stabilitykit.lab.cost.workload import Workload

_ROOMS = {
    "COMPARISONS": "comparisons",
    "Count": "counted.count",
    "Operation": "operation",
    "Peaks": "peaks",
    "Prediction": "predicted.prediction",
    "Priced": "pricing",
    "Variant": "measured.variant",
    "Work": "operation",
    "Workload": "workload",
    "compared": "comparisons",
    "cost_document": "pricing",
    "measure_peaks": "peaks",
    "memory_available": "memory",
    "predict": "predicted.prediction",
    "priced": "pricing",
    "profile": "profiling",
    "require_memory": "memory",
    "variants": "comparisons",
}

__all__ = [
    "COMPARISONS",
    "Count",
    "Operation",
    "Peaks",
    "Prediction",
    "Priced",
    "Variant",
    "Work",
    "Workload",
    "compared",
    "cost_document",
    "measure_peaks",
    "memory_available",
    "predict",
    "priced",
    "profile",
    "require_memory",
    "variants",
]

__getattr__ = lazy(__name__, {name: f"stabilitykit.lab.cost.{room}" for name, room in _ROOMS.items()})


def __dir__() -> list[str]:
    return sorted(__all__)

"""What a transformer costs: operations, bytes, memory, and the least time a machine takes for them.

Names are loaded when first used. What is predicted comes from the configuration alone.
"""

from typing import TYPE_CHECKING

from stabilitykit.lazy import lazy

if TYPE_CHECKING:
    from stabilitykit.cost.comparisons import COMPARISONS, Variant, compared, variants
    from stabilitykit.cost.counted.count import Count
    from stabilitykit.cost.memory import memory_available, require_memory
    from stabilitykit.cost.operation import Operation, Work
    from stabilitykit.cost.peaks import Peaks, measure_peaks
    from stabilitykit.cost.predicted.prediction import Prediction, predict
    from stabilitykit.cost.pricing import Priced, document, priced
    from stabilitykit.cost.profiling import profile
    from stabilitykit.cost.workload import Workload

_ROOMS = {
    "COMPARISONS": "comparisons",
    "Count": "counted.count",
    "Operation": "operation",
    "Peaks": "peaks",
    "Prediction": "predicted.prediction",
    "Priced": "pricing",
    "Variant": "comparisons",
    "Work": "operation",
    "Workload": "workload",
    "compared": "comparisons",
    "document": "pricing",
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
    "document",
    "measure_peaks",
    "memory_available",
    "predict",
    "priced",
    "profile",
    "require_memory",
    "variants",
]

__getattr__ = lazy(__name__, {name: f"stabilitykit.cost.{room}" for name, room in _ROOMS.items()})


def __dir__() -> list[str]:
    return sorted(__all__)
